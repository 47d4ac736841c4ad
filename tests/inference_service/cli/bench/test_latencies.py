from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.cli.bench.latencies import Latencies


@given(st.lists(st.floats(1e-6, 3600), min_size=1, max_size=300))
def test_percentiles_are_those_of_the_sorted_values_to_three_digits(seconds: list[float]) -> None:
    latencies = Latencies()
    for one in seconds:
        latencies.add(one)
    found = latencies.percentiles()
    assert found is not None
    milliseconds = np.array(seconds) * 1e3
    for percent, value in ((50, found.p50), (90, found.p90), (95, found.p95), (99, found.p99)):
        exact = np.percentile(milliseconds, percent, method="inverted_cdf")
        # A histogram counts up to half a percentile's rank more or less.
        below = np.percentile(milliseconds, max(percent - 1, 0), method="lower")
        above = np.percentile(milliseconds, min(percent + 1, 100), method="higher")
        assert min(exact, below) * 0.998 - 0.001 <= value <= max(exact, above) * 1.002 + 0.001
    assert found.max == pytest.approx(milliseconds.max(), rel=2e-3, abs=1e-3)
    assert found.mean == pytest.approx(milliseconds.mean(), rel=2e-3, abs=1e-3)


def test_one_slow_answer_in_a_hundred_is_seen_at_p99_and_not_below() -> None:
    latencies = Latencies()
    for _ in range(98):
        latencies.add(0.010)
    latencies.add(2.0)
    latencies.add(2.0)
    found = latencies.percentiles()
    assert found is not None
    assert found.p50 == pytest.approx(10, rel=1e-3)
    assert found.p95 == pytest.approx(10, rel=1e-3)
    assert found.p99 == pytest.approx(2000, rel=1e-3)
    assert found.max == pytest.approx(2000, rel=1e-3)


def test_nothing_has_no_percentiles_and_clearing_forgets() -> None:
    latencies = Latencies()
    assert latencies.percentiles() is None
    latencies.add(1.0)
    latencies.clear()
    assert latencies.percentiles() is None


def test_what_is_out_of_range_counts_as_the_nearest_that_is_not() -> None:
    latencies = Latencies()
    latencies.add(-1.0)
    latencies.add(1e9)
    found = latencies.percentiles()
    assert found is not None
    assert found.p50 == pytest.approx(0.001)
    assert found.max == pytest.approx(3_600_000, rel=2e-3)
