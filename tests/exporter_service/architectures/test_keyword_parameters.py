from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest
from pydantic import ValidationError

from exporter_service.architectures.keyword_parameters import parameters_of

if TYPE_CHECKING:
    import tensorflow as tf


def build(
    images: tf.Tensor,
    *,
    classes: int,
    width: int = 32,
    blocks: tuple[int, ...] = (1, 2),
    pool: Literal["max", "mean"] = "max",
) -> Any:
    """Its annotations are strings, and the first one is of a name that is not there."""


def test_keyword_only_arguments_become_parameters() -> None:
    model = parameters_of(build)
    schema = model.model_json_schema()
    assert schema["required"] == ["classes"]
    assert schema["properties"]["blocks"]["default"] == [1, 2]
    assert schema["properties"]["pool"]["enum"] == ["max", "mean"]
    assert schema["additionalProperties"] is False
    parsed = model.model_validate_json('{"classes": 3, "blocks": [4]}')
    assert parsed.model_dump() == {"classes": 3, "width": 32, "blocks": (4,), "pool": "max"}


@pytest.mark.parametrize("given", ['{"classes": 2.5}', '{"classes": true}', '{"classes": "3"}'])
def test_they_are_strict(given: str) -> None:
    with pytest.raises(ValidationError):
        parameters_of(build).model_validate_json(given)


def positional(images: Any, classes: int = 10) -> Any: ...


def catch_all(images: Any, **options: int) -> Any: ...


def unannotated(images: Any, *, classes=10) -> Any: ...  # type: ignore[no-untyped-def] # noqa: ANN001


def no_images(*, classes: int = 10) -> Any: ...


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (positional, "argument classes: 'int' = 10 is not keyword-only"),
        (catch_all, r"\*\*options: 'int' is not keyword-only"),
        (unannotated, "argument classes has no annotation"),
        (no_images, "first argument must take the images"),
    ],
)
def test_other_signatures_are_refused(function: Any, problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        parameters_of(function)
