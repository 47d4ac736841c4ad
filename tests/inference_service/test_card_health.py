from __future__ import annotations

from inference_service.card_health import CardHealth


def test_the_third_failure_in_a_row_makes_a_card_suspicious() -> None:
    health = CardHealth()
    assert [health.failed("x"), health.failed("x")] == [False, False]
    health.succeeded()
    assert [health.failed("x"), health.failed("x"), health.failed("y")] == [False, False, True]
    assert health.healthy
    assert health.last_error == "y"


def test_only_a_probe_that_fails_takes_it_out_and_probes_get_rarer() -> None:
    health = CardHealth()
    for _ in range(3):
        health.failed("x")
    health.probed(100.0, None)
    assert health.healthy
    pauses: list[float] = []
    now = 100.0
    for _ in range(9):
        health.probed(now, "gone")
        assert not health.healthy
        assert health.probe_at is not None
        pauses.append(health.probe_at - now)
        now = health.probe_at
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert health.last_error == "gone"


def test_a_probe_that_succeeds_brings_it_back_as_new() -> None:
    health = CardHealth()
    health.probed(0.0, "gone")
    health.probed(1.0, "gone")
    health.probed(3.0, None)
    assert health.healthy
    assert not health.failed("x")
    health.probed(10.0, "gone")
    assert health.probe_at == 11.0


def test_a_probe_that_succeeds_lays_the_blame_on_the_requests() -> None:
    health = CardHealth()
    assert [health.failed("x") for _ in range(3)] == [False, False, True]
    health.probed(0.0, None)
    assert [health.failed("x") for _ in range(3)] == [False, False, True]
