from __future__ import annotations

import pickle

import pytest

from service_kit import errors


def test_the_reason_is_the_class_name_in_upper_snake_case() -> None:
    assert errors.MovingAverageMissing("x").reason == "MOVING_AVERAGE_MISSING"


@pytest.mark.parametrize("retry_after", [None, 0.5])
def test_an_error_survives_the_way_from_another_process(retry_after: float | None) -> None:
    error = pickle.loads(pickle.dumps(errors.QueueFull("full", retry_after=retry_after)))  # noqa: S301
    assert type(error) is errors.QueueFull
    assert (str(error), error.retry_after) == ("full", retry_after)
