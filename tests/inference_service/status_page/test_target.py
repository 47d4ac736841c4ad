from __future__ import annotations

import pytest

from inference_service.status_page.report import ModelReport, VersionReport
from inference_service.status_page.target import Target, choices, max_cards, parse_target
from service_kit import errors


def version(number: int, state: str = "AVAILABLE") -> VersionReport:
    return VersionReport(
        version=number,
        state=state,
        reason="",
        retry_in_seconds=None,
        is_default=False,
        labels=(),
        leases=0,
        load_seconds=None,
        cards=(),
        artifact=None,
    )


def test_what_is_served_is_offered_by_default_label_and_version() -> None:
    versions = (version(1), version(2), version(3, "LOADING"), version(4, "FAILED"))
    model = ModelReport("digits", 2, {"stable": 1, "next": 3}, versions)
    assert [(one.value, one.text) for one in choices(model)] == [
        ("digits", "default (version 2)"),
        ("digits label stable", "label stable (version 1)"),
        ("digits version 1", "version 1"),
        ("digits version 2", "version 2"),
    ]


def test_a_model_without_a_served_version_offers_nothing() -> None:
    model = ModelReport("digits", 0, {}, (version(1, "LOADING"),))
    assert choices(model) == ()
    assert max_cards([model]) == 0


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("digits", Target("digits")),
        ("digits version 3", Target("digits", version=3)),
        ("digits label 3", Target("digits", label="3")),
        ("digits label stable", Target("digits", label="stable")),
    ],
)
def test_every_choice_comes_back_as_what_it_offered(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text", ["", " ", "two words", "digits version", "digits version x", "digits version 3 4",
             "digits label", "digits version " + "9" * 30, "digits\nversion 3"],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="choose one of the list"):
        parse_target(text)
