"""What a value of a training graph says of the input."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Origin(IntEnum):
    """What a value says of the input, from nothing to everything.

    AVERAGED: no more than averages over training's batches; REDUCED: a statistic of one batch;
    EXAMPLE: its examples.
    """

    FIXED = 0
    AVERAGED = 1
    REDUCED = 2
    EXAMPLE = 3


class Content(NamedTuple):
    """An origin, and for EXAMPLE the axis of the examples; None: not known."""

    origin: Origin
    axis: int | None = None


FIXED, AVERAGED = Content(Origin.FIXED), Content(Origin.AVERAGED)
REDUCED = Content(Origin.REDUCED)
SOMEWHERE = Content(Origin.EXAMPLE)
