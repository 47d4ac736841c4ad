from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.models.load_record import LoadFailures
from inference_service.models.publication import Publication
from service_kit import errors

ONE = Publication("m", 1, "a")
STORE = errors.StoreUnavailable("timeout")
ENGINE = errors.EngineFailed("out of memory")
DAMAGED = errors.ArtifactCorrupt("digest")


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (STORE, [1, 2, 4, 8, 16, 32, 60, 60]),
        (ENGINE, [30, 60, 120, 240, 480, 900, 900]),
        (ZeroDivisionError(), [30, 60, 120, 240, 480, 900, 900]),
        (DAMAGED, [None, None]),
        (errors.ArtifactNotFound("gone"), [None]),
        (errors.ServerStopping("bye"), [None]),
    ],
)
def test_the_wait_grows_by_what_went_wrong(error: Exception, waits: list[float | None]) -> None:
    failures = LoadFailures()
    assert [failures.record(ONE, error, 5) for _ in waits] == waits


def test_it_waits_until_the_time_has_come() -> None:
    failures = LoadFailures()
    failures.record(ONE, STORE, 10)
    assert [failures.retry_in(ONE, now) for now in (10, 10.25, 11, 99)] == [1, 0.75, 0, 0]
    assert failures.waiting(10.75) == {ONE}
    assert failures.waiting(11) == set()


def test_what_has_not_failed_may_be_tried_now() -> None:
    failures = LoadFailures()
    assert failures.waiting(0) == set()
    assert failures.retry_in(ONE, 0) == 0


def test_what_will_not_change_by_itself_waits_for_ever() -> None:
    failures = LoadFailures()
    failures.record(ONE, DAMAGED, 0)
    assert failures.waiting(1e12) == {ONE}
    assert failures.retry_in(ONE, 1e12) is None


def test_a_number_that_is_published_again_is_another_publication() -> None:
    failures = LoadFailures()
    failures.record(ONE, DAMAGED, 0)
    again = Publication("m", 1, "b")
    assert again not in failures.waiting(0)
    assert failures.retry_in(again, 0) == 0


def test_the_count_goes_on_over_different_errors() -> None:
    failures = LoadFailures()
    assert [failures.record(ONE, one, 0) for one in (STORE, STORE, ENGINE)] == [1, 2, 120]


def test_only_what_is_still_published_is_remembered() -> None:
    failures, other = LoadFailures(), Publication("m", 2, "a")
    for publication in (ONE, other):
        failures.record(publication, STORE, 0)
    failures.keep([other])
    assert failures.waiting(0) == {other}
    assert failures.record(ONE, STORE, 0) == 1
    assert failures.record(other, STORE, 0) == 2


def test_a_model_that_is_asked_for_again_begins_anew() -> None:
    failures, other = LoadFailures(), Publication("n", 1, "a")
    for publication in (ONE, Publication("m", 2, "a"), other):
        failures.record(publication, DAMAGED, 0)
    failures.forget("m")
    assert failures.waiting(0) == {other}
    assert failures.record(ONE, ENGINE, 0) == 30


@given(
    st.lists(st.tuples(st.sampled_from([STORE, ENGINE, OSError()]), st.floats(0, 1e6)), max_size=9)
)
def test_the_next_try_is_when_it_was_said_to_be(failed: list[tuple[Exception, float]]) -> None:
    failures = LoadFailures()
    for error, now in failed:
        wait = failures.record(ONE, error, now)
        assert wait is not None
        assert failures.waiting(now) == {ONE}
        assert failures.retry_in(ONE, now) == pytest.approx(wait)
        assert failures.waiting(now + wait) == set()


def test_failing_for_years_is_no_different() -> None:
    failures = LoadFailures()
    assert {failures.record(ONE, STORE, 0) for _ in range(3000)} == {1, 2, 4, 8, 16, 32, 60}
