"""Latencies counted in buckets: any number of them in the same memory."""

from __future__ import annotations

from dataclasses import dataclass

from service_kit import errors

_MICROSECONDS = 1_000_000
# From a microsecond to an hour, each bucket within 0.1% of its values.
_LOWEST, _HIGHEST, _DIGITS = 1, 3600 * _MICROSECONDS, 3


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds that so many percent of the answers took at most."""

    p50: float
    p90: float
    p95: float
    p99: float
    max: float
    mean: float


class Latencies:
    """A High Dynamic Range histogram (http://hdrhistogram.org), exact to three digits."""

    def __init__(self) -> None:
        """Begins without any.

        Raises:
            Unsupported: the library is not there, as on machines that it has no wheel for.
        """
        try:
            from hdrh.histogram import HdrHistogram
        except ImportError as error:
            raise errors.Unsupported(
                "`pip install hdrhistogram` with a C compiler, since it has no wheel for this "
                "machine: percentiles are counted by it"
            ) from error
        self._histogram = HdrHistogram(_LOWEST, _HIGHEST, _DIGITS)

    def add(self, seconds: float) -> None:
        """Counts one; what is longer than an hour counts as an hour."""
        microseconds = round(seconds * _MICROSECONDS)
        self._histogram.record_value(min(max(microseconds, _LOWEST), _HIGHEST))

    def clear(self) -> None:
        """Forgets all."""
        self._histogram.reset()

    def percentiles(self) -> Percentiles | None:
        """Returns what was measured; None for nothing."""
        if not self._histogram.get_total_count():
            return None
        found = self._histogram.get_percentile_to_value_dict([50, 90, 95, 99])
        values = [
            *(found[percent] for percent in (50, 90, 95, 99)),
            self._histogram.get_max_value(),
            self._histogram.get_mean_value(),
        ]
        return Percentiles(*(value / 1000 for value in values))
