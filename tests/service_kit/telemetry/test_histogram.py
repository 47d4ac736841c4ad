from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry  # fmt: skip
from prometheus_client import Histogram as Reference

from service_kit.telemetry.histogram import LONG_SECONDS, SECONDS, Histogram


@pytest.mark.parametrize("bounds", [SECONDS, LONG_SECONDS])
def test_bounds_ascend(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


@given(st.lists(st.floats(0, 1000) | st.sampled_from(SECONDS)))
def test_counts_as_the_metrics_library_does(values: list[float]) -> None:
    ours = Histogram(SECONDS)
    registry = CollectorRegistry()
    reference = Reference("seconds", "Seconds.", buckets=SECONDS, registry=registry)
    for value in values:
        ours.add(value)
        reference.observe(value)
    for bound, count in ours.buckets():
        assert registry.get_sample_value("seconds_bucket", {"le": bound}) == count
    assert ours.total == pytest.approx(registry.get_sample_value("seconds_sum"))


def test_a_value_may_count_many_times() -> None:
    sizes = Histogram((1, 2))
    sizes.add(2, times=3)
    assert (sizes.buckets(), sizes.total) == ([("1", 0), ("2", 3), ("+Inf", 3)], 6)
