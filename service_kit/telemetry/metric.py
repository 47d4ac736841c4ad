"""A metric as its table in the documentation says it, and its samples at one moment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from service_kit.telemetry.histogram import Histogram

Kind = Literal["counter", "gauge", "histogram"]
Value = float | Histogram


@dataclass(frozen=True, slots=True)
class MetricName:
    """What a metric is called and means.

    Attributes:
        name: as queries have it; that of a counter ends with `_total`.
        labels: in the order in which samples have their values.
        meaning: one line.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str

    def family(self, samples: Iterable[tuple[tuple[str, ...], Value]]) -> Metric:
        """Returns the metric with samples: values of the labels, and the value."""
        if self.kind == "histogram":
            histograms = HistogramMetricFamily(self.name, self.meaning, labels=self.labels)
            for labels, value in samples:
                assert isinstance(value, Histogram)
                histograms.add_metric(labels, value.buckets(), value.total)
            return histograms
        make = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        family = make(self.name, self.meaning, labels=self.labels)
        for labels, value in samples:
            assert not isinstance(value, Histogram)
            family.add_metric(labels, value)
        return family


class Measured(Protocol):
    """A part of the server that can be counted."""

    def collect(self) -> Iterator[Metric]:
        """Yields its metrics as of now; all of them always, with or without samples."""
