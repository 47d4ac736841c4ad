from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service_kit import errors
from service_kit.client.retry import RetryPolicy, passes, pause_before_retry

PAUSES = st.floats(0, 100)
POLICIES = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 50),
    first_pause=PAUSES,
    longest_pause=PAUSES,
    patience=PAUSES,
)
STOPPING = errors.ServerStopping("away")


def pause(
    policy: RetryPolicy,
    failed: int,
    error: errors.PbserveError = STOPPING,
    left: float = math.inf,
    random: float = 1.0,
) -> float | None:
    return pause_before_retry(
        policy, failed, error, attempts=policy.attempts, left=left, random=lambda: random
    )


@given(POLICIES, st.integers(1, 10**6), st.floats(0, 1), st.floats(0, 1000))
def test_a_pause_is_bounded_and_ends_before_the_deadline(
    policy: RetryPolicy, failed: int, random: float, left: float
) -> None:
    found = pause(policy, failed, left=left, random=random)
    if failed >= policy.attempts:
        assert found is None
    elif found is not None:
        assert 0 <= found <= policy.longest_pause
        assert found < left


@given(POLICIES, st.integers(1, 40), st.floats(0, 1), st.floats(0, 200))
def test_a_server_is_never_asked_again_before_it_wants_to_be(
    policy: RetryPolicy, failed: int, random: float, asked: float
) -> None:
    found = pause(policy, failed, errors.QueueFull("full", retry_after=asked), random=random)
    if asked > policy.patience or failed >= policy.attempts:
        assert found is None
    else:
        assert found is not None
        assert asked <= found <= asked + policy.longest_pause


@given(POLICIES, st.integers(1, 40))
def test_the_jitter_is_full_and_its_bound_doubles(policy: RetryPolicy, failed: int) -> None:
    if failed < policy.attempts:
        bound = min(policy.first_pause * 2 ** (failed - 1), policy.longest_pause)
        assert pause(policy, failed, random=0.0) == 0
        assert pause(policy, failed, random=1.0) == pytest.approx(bound)
        assert pause(policy, failed, random=0.25) == pytest.approx(bound / 4)


def test_a_server_that_asks_for_the_past_is_not_followed() -> None:
    error = errors.QueueFull("full", retry_after=-5.0)
    assert pause(RetryPolicy(), 1, error, random=0.0) == 0


def test_the_default_schedule_gives_up_soon_on_a_call_and_late_on_a_stream() -> None:
    policy = RetryPolicy()
    call = [pause(policy, failed) for failed in range(1, 6)]
    assert call == [0.1, 0.2, 0.4, 0.8, None]
    stream = [
        pause_before_retry(
            policy, n, STOPPING, attempts=policy.stream_attempts, left=math.inf, random=lambda: 1.0
        )
        for n in range(1, 13)
    ]
    assert stream[-1] is None
    assert sum(one for one in stream if one is not None) == pytest.approx(31.3)


@pytest.mark.parametrize(
    "error",
    [
        errors.ServerStopping("x"),
        errors.ModelUnavailable("x"),
        errors.CardOutOfOrder("x", retry_after=1),
        errors.StoreUnavailable("x"),
        errors.QueueFull("x", retry_after=1),
        errors.RemoteError("RESOURCE_EXHAUSTED: x", retry_after=1),
    ],
)
def test_what_passes_is_tried_again(error: errors.PbserveError) -> None:
    assert passes(error)
    assert pause(RetryPolicy(), 1, error) is not None


@pytest.mark.parametrize(
    "error",
    [
        # Larger than a queue may be: it would be refused for ever.
        errors.QueueFull("x"),
        errors.ConversionTooLarge("x"),
        errors.RemoteError("CANCELLED: x"),
        errors.InvalidTensor("x"),
        errors.ModelNotFound("x"),
        errors.EngineFailed("x"),
        errors.InternalError("x"),
        errors.DeadlineExpired("x"),
        errors.ConversionCrashed("x"),
    ],
)
def test_what_would_be_the_same_again_is_not(error: errors.PbserveError) -> None:
    assert not passes(error)
    assert pause(RetryPolicy(), 1, error) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"attempts": 0},
        {"stream_attempts": 0},
        {"first_pause": -1},
        {"longest_pause": math.inf},
        {"patience": math.nan},
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(errors.InvalidRequest):
        RetryPolicy(**fields)  # type: ignore[arg-type]
