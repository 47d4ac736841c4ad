"""Where the lines of small charts go. Values in, values out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from inference_service.cards.batch_limit import BatchTiming
from inference_service.status_page.number_text import rate_text

# Units of the drawing, which the page scales.
WIDTH, HEIGHT = 280.0, 120.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 34.0, 270.0, 16.0, 98.0
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Point:
    """A measurement: where it is drawn, and what it says."""

    x: float
    y: float
    batch_size: int
    images_per_second: float
    chosen: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """A number beside an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Curve:
    """Images per second over batch size, the latter on a logarithmic axis.

    Attributes:
        points: in order of batch size.
        limit_x: where the chosen limit is.
        limit: the chosen limit itself, in images.
        rates: numbers beside the vertical axis.
        words: what the chart shows, for who does not see it.
    """

    points: tuple[Point, ...]
    limit_x: float
    limit: int
    rates: tuple[Tick, ...]
    words: str

    @property
    def line(self) -> str:
        """The points as SVG wants them."""
        return " ".join(f"{one.x:g},{one.y:g}" for one in self.points)


def batch_curve(timings: Sequence[BatchTiming], limit: int) -> Curve | None:
    """Returns the curve of what warming measured; None when nothing can be drawn.

    Args:
        timings: smallest batch first.
        limit: images in a card's largest batch, which need not be among the measured ones.
    """
    drawn = [one for one in timings if math.isfinite(one.images_per_second)]
    if not drawn or limit < 1:
        return None
    sizes = [*(one.batch_size for one in drawn), limit]
    top = _round_up(max(one.images_per_second for one in drawn))
    x_of = _Axis(math.log2(min(sizes)), math.log2(max(sizes)), _LEFT, _RIGHT)
    y_of = _Axis(0.0, top, _BOTTOM, _TOP)
    points = tuple(
        Point(
            x=x_of(math.log2(one.batch_size)),
            y=y_of(one.images_per_second),
            batch_size=one.batch_size,
            images_per_second=one.images_per_second,
            chosen=one.batch_size == limit,
        )
        for one in drawn
    )
    return Curve(
        points=points,
        limit_x=x_of(math.log2(limit)),
        limit=limit,
        rates=tuple(Tick(y_of(value), _tick_text(value)) for value in (0.0, top / 2, top)),
        words=_words(drawn, limit),
    )


def sparkline(values: Sequence[float], width: float, height: float) -> str:
    """Returns the points of a line that ends at the right edge, newest last; empty: no line."""
    if len(values) < 2:
        return ""
    top = max(*values, 1e-9)
    step = width / 59
    return " ".join(
        f"{width - step * back:.1f},{height - 1 - (height - 2) * value / top:.1f}"
        for back, value in zip(range(len(values) - 1, -1, -1), values, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Axis:
    """From values to places; a single value is in the middle."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        if self.high == self.low:
            return round((self.start + self.end) / 2, 1)
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def _round_up(value: float) -> float:
    """Returns the next number that reads well beside an axis."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in _STEPS if step * power >= value * (1 - 1e-9))


def _words(timings: Sequence[BatchTiming], limit: int) -> str:
    measured = ", ".join(f"{one.batch_size}: {rate_text(one.images_per_second)}" for one in timings)
    return f"Images per second by batch size: {measured}. The limit is {limit}."


def _tick_text(value: float) -> str:
    """Returns a number that has little room: `2.5`, `5,000`, `25k`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if unit == 'k' else size):g}{unit}"
    return f"{value:,g}"
