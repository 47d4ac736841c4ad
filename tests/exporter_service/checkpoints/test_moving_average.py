from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter_service.checkpoints.moving_average import (
    SHADOW_SUFFIX,
    VariableKeys,
    plan_keys,
    plan_restore,
    shadowed_key,
)
from service_kit import errors
from service_kit.artifacts.manifest import MovingAverageMode

AUTO, REQUIRED, OFF = MovingAverageMode.AUTO, MovingAverageMode.REQUIRED, MovingAverageMode.OFF
W, MEAN = "net/weights", "net/moving_mean"
VARIABLES = {W: True, MEAN: False}


@pytest.mark.parametrize(
    ("mode", "shadows", "averaged"),
    [
        (AUTO, [W], [W]),
        (AUTO, [W, MEAN], [W, MEAN]),  # some trainers average the statistics too
        (AUTO, [], []),
        (REQUIRED, [W], [W]),
        (REQUIRED, [W, MEAN], [W, MEAN]),
        (OFF, [W, MEAN], []),
    ],
)
def test_the_keys_decide(mode: MovingAverageMode, shadows: list[str], averaged: list[str]) -> None:
    keys = {*VARIABLES, *(name + SHADOW_SUFFIX for name in shadows)}
    plan = plan_restore(VARIABLES, keys, mode)
    assert plan.key_of == {
        name: name + SHADOW_SUFFIX if name in averaged else name for name in VARIABLES
    }
    assert plan.report.from_shadow == len(averaged)


def test_the_report_says_why_a_variable_keeps_its_own_value() -> None:
    plan = plan_restore(VARIABLES, set(VARIABLES), AUTO)
    assert plan.report.own_key_reasons == {
        "a moving statistic of batch norm, kept without a shadow": 1,
        "the checkpoint has no shadow of it": 1,
    }


def test_required_averages_that_are_absent_are_listed() -> None:
    variables = {f"v{number}": True for number in range(12)} | {"m": False}
    with pytest.raises(errors.MovingAverageMissing) as caught:
        plan_restore(variables, {*variables, "v0" + SHADOW_SUFFIX}, REQUIRED)
    message = str(caught.value)
    assert "of 12 trainable variables these have no ExponentialMovingAverage" in message
    assert "11: v1, v2, " in message
    assert "and 1 more" in message


@given(
    st.dictionaries(st.text("ab/", min_size=1), st.booleans()),
    st.sets(st.text("ab/", min_size=1)),
    st.sampled_from([AUTO, OFF]),
)
def test_every_variable_gets_exactly_one_key_and_is_counted_once(
    variables: dict[str, bool], shadowed: set[str], mode: MovingAverageMode
) -> None:
    keys = {*variables, *(name + SHADOW_SUFFIX for name in shadowed)}
    plan = plan_restore(variables, keys, mode)
    assert plan.key_of.keys() == variables.keys()
    report = plan.report
    assert report.from_shadow + report.from_own_key == len(variables)
    assert sum(report.own_key_reasons.values()) == report.from_own_key
    assert all(key in keys for key in plan.key_of.values())


def test_averages_of_some_variables_only_are_warned_of() -> None:
    variables = {f"v{number}": True for number in range(12)} | {"m": False}
    plan = plan_restore(variables, {*variables, "v0" + SHADOW_SUFFIX}, AUTO)
    (warning,) = plan.warnings
    assert "of 12 trainable variables these have no ExponentialMovingAverage" in warning
    assert "11: v1, v2, v3, v4, v5, v6, v7, v8, v9, v10 and 1 more; use moving average" in warning


@pytest.mark.parametrize(
    ("mode", "shadowed"),
    [(AUTO, []), (AUTO, ["a", "b"]), (AUTO, ["m"]), (OFF, ["a"]), (REQUIRED, ["a", "b"])],
)
def test_all_or_no_averages_are_not_warned_of(mode: MovingAverageMode, shadowed: list[str]) -> None:
    variables = {"a": True, "b": True, "m": False}
    keys = {*variables, *(name + SHADOW_SUFFIX for name in shadowed)}
    assert plan_restore(variables, keys, mode).warnings == ()


def test_keys_that_the_caller_knows_are_chosen_from() -> None:
    variables = {
        "a": VariableKeys("A", "ema/A", trainable=True),
        "b": VariableKeys("B", None, trainable=True),
        "m": VariableKeys("M", "ema/M", trainable=False),
    }
    # Keys that only the naming would lead to are not taken.
    keys = {"A", "B", "M", "ema/A", "b" + SHADOW_SUFFIX, "a" + SHADOW_SUFFIX}
    plan = plan_keys(variables, keys, AUTO)
    assert plan.key_of == {"a": "ema/A", "b": "B", "m": "M"}
    assert (plan.report.from_shadow, plan.report.from_own_key) == (1, 2)
    assert len(plan.warnings) == 1
    assert plan_keys(variables, keys, OFF).key_of == {"a": "A", "b": "B", "m": "M"}
    with pytest.raises(errors.MovingAverageMissing, match=r"of 2 trainable .*: 1: b;"):
        plan_keys(variables, keys, REQUIRED)


@pytest.mark.parametrize(
    ("key", "owner"),
    [
        ("w" + SHADOW_SUFFIX, "w"),
        (f"w{SHADOW_SUFFIX}:0", "w:0"),
        (f"w:0{SHADOW_SUFFIX}", "w:0"),
        ("w", None),
        ("w:0", None),
        (SHADOW_SUFFIX, None),
        (f"w{SHADOW_SUFFIX}/Adam", None),
    ],
)
def test_a_shadow_says_whose_it_is(key: str, owner: str | None) -> None:
    assert shadowed_key(key) == owner
