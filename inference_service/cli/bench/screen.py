"""A load for people: what it does now, and what came of it."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from inference_service.cli.bench.latencies import Percentiles
from inference_service.cli.bench.tally import Interval, Totals
from service_kit.cli.console import lean_table

# As many seconds of curves as fit beside their names in 80 columns.
_CURVE_SECONDS = 50
_BAR_CELLS = 24
_BLOCKS = "▁▂▃▄▅▆▇█"
_ROWS = ("p50", "p90", "p95", "p99", "max", "mean")


class BenchScreen:
    """Remembers the last seconds and draws them."""

    def __init__(self, title: str, seconds: float) -> None:
        """Draws a load of so many seconds, warm-up included."""
        self._title, self._seconds = title, seconds
        self._rates: deque[float] = deque(maxlen=_CURVE_SECONDS)
        self._slowest: deque[float] = deque(maxlen=_CURVE_SECONDS)
        self._last: Interval | None = None

    def add(self, interval: Interval, seconds: float) -> None:
        """Takes what came within the last `seconds`."""
        self._last = interval
        self._rates.append(interval.images / max(seconds, 1e-9))
        self._slowest.append(interval.latency.p99 if interval.latency else 0.0)

    def drawn(self, elapsed: float, totals: Totals) -> Group:
        """Returns the screen after so many seconds."""
        at = Table.grid(padding=(0, 1))
        at.add_row(
            Text(f"{min(elapsed, self._seconds):.0f} of {self._seconds:g} s"),
            ProgressBar(total=self._seconds, completed=min(elapsed, self._seconds), width=40),
        )
        curves = Table.grid(padding=(0, 1))
        for name, values in (("images/s", self._rates), ("p99 ms", self._slowest)):
            now = values[-1] if values else 0.0
            curves.add_row(name, f"{now:8.1f}", Text(curve(values), style="cyan"))
        latency = self._last.latency if self._last else None
        parts: list[RenderableType] = [
            Text(self._title, style="bold"),
            at,
            curves,
            latency_table(latency, totals),
        ]
        if totals.errors:
            parts.append(Text(errors_text(totals.errors.items()), style="red"))
        return Group(*parts)


def interval_line(elapsed: float, interval: Interval, seconds: float) -> str:
    """Returns a second of the load as a line of a log."""
    latency = interval.latency
    times = "no answers"
    if latency:
        times = (
            f"p50 {latency.p50:.1f}  p90 {latency.p90:.1f}  p99 {latency.p99:.1f}  "
            f"max {latency.max:.1f} ms"
        )
    return (
        f"{elapsed:5.0f} s  {interval.images / max(seconds, 1e-9):9.1f} images/s  {times}  "
        f"errors {interval.errors}"
    )


def latency_table(last: Percentiles | None, totals: Totals) -> Table:
    """Returns latencies of the last second and of all, with bars for all."""
    table = lean_table("latency", "last s, ms", "all, ms", "")
    table.columns[-1].justify, table.columns[-1].width = "left", _BAR_CELLS
    whole = totals.latency
    for row in _ROWS:
        now = f"{getattr(last, row):.1f}" if last else ""
        value = getattr(whole, row) if whole else 0.0
        share = value / whole.max if whole and whole.max else 0.0
        bar = Text("█" * max(round(share * _BAR_CELLS), 1 if value else 0), style="cyan")
        table.add_row(row, now, f"{value:.1f}" if whole else "", bar)
    return table


def totals_table(title: str, totals: Totals, seconds: float) -> Table:
    """Returns what came of a load that measured so many seconds."""
    table = lean_table("", "", words=("",), show_header=False, title=title, title_justify="left")
    images = totals.images_in_span / seconds
    good = totals.images_in_time / seconds
    table.add_row("images/s", f"{images:.1f}, in time {good:.1f} (goodput)")
    table.add_row("requests", f"{totals.requests:,} answered, {totals.images:,} images")
    if totals.latency:
        values = dataclasses.asdict(totals.latency)
        table.add_row("latency, ms", "  ".join(f"{row} {values[row]:.1f}" for row in _ROWS))
        table.add_row(
            "in the server",
            f"{totals.mean_queue_ms:.1f} ms queue + {totals.mean_compute_ms:.1f} ms compute, "
            f"batches of {totals.mean_batch_size:.1f} (means)",
        )
        table.add_row("cards", _shares(totals.cards.items()))
        table.add_row("versions", _shares(totals.versions.items()))
    table.add_row("errors", errors_text(totals.errors.items()) or "none")
    return table


def errors_text(found: Iterable[tuple[str, int]]) -> str:
    """Returns how many there were of each kind."""
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(found))


def curve(values: Sequence[float] | deque[float]) -> str:
    """Returns values as blocks of an eighth to a whole line; the largest fills it."""
    highest = max(values, default=0.0)
    if highest <= 0:
        return _BLOCKS[0] * len(values)
    return "".join(_BLOCKS[round(value / highest * (len(_BLOCKS) - 1))] for value in values)


def _shares(counts: Iterable[tuple[int, int]]) -> str:
    return ", ".join(f"{name}: {count:,} requests" for name, count in counts)
