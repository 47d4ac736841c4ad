"""The answers to many images, printed as they come: tables, JSON, CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from rich.table import Table
from rich.text import Text

from inference_service.cli.inputs.image_stream import ImageAnswer
from inference_service.client.results import Prediction
from service_kit.cli.console import lean_table, print_json, results
from service_kit.terminal_text import printable

# A table is printed when it has so many images; the next ones have another.
_TABLE_IMAGES = 1000
# An output with more elements is summed up.
_SHOWN_ELEMENTS = 6
# The time is that in the engine.
_WHO = ("card", "version", "ms")


class Report(Protocol):
    """Where answers go, in their order."""

    def add(self, answer: ImageAnswer) -> None:
        """Takes the next one."""

    def end(self) -> None:
        """Shows what is left."""


class JsonReport:
    """An object a line and image; a failed image has `error` in it."""

    def add(self, answer: ImageAnswer) -> None:
        """Prints it."""
        first = {"index": answer.index, "name": answer.name}
        if answer.error:
            said = {"reason": answer.error.reason, "message": answer.error.message}
            print_json({**first, "error": said})
        elif answer.prediction:
            print_json({**first, **_described(answer.prediction)})

    def end(self) -> None:
        """Has nothing left."""


class CsvReport:
    """A line a class, best first, or, where classes are not asked for, a line an element."""

    def __init__(self, *, ranked: bool) -> None:
        """Prints the names of the columns."""
        self._ranked = ranked
        self._writer = csv.writer(sys.stdout, lineterminator="\n")
        what = ("rank", "class", "label", "score") if ranked else ("output", "element", "value")
        self._writer.writerow(["name", *what, "card", "version", "compute_ms"])

    def add(self, answer: ImageAnswer) -> None:
        """Prints it; a failed image has no lines."""
        prediction = answer.prediction
        if not prediction:
            return
        name, who = printable(answer.name), _who(prediction)
        if self._ranked:
            for rank, one in enumerate(prediction.top[0], 1):
                self._writer.writerow([name, rank, one.index, one.label, one.score, *who])
        else:
            for output, values in prediction.outputs.items():
                for element, value in enumerate(values[0].ravel().tolist()):
                    self._writer.writerow([name, output, element, value, *who])
        sys.stdout.flush()

    def end(self) -> None:
        """Has nothing left."""


class TableReport:
    """Tables for people, of as many images as are worth one."""

    def __init__(self, paused: Callable[[], AbstractContextManager[None]], *, score: str) -> None:
        """Begins a table.

        Args:
            paused: keeps a progress bar off the screen while a table is printed.
            score: what the values of the classes are called; "": classes are not asked for.
        """
        self._paused = paused
        self._score = score
        self._images = 0
        self._table = self._empty()

    def add(self, answer: ImageAnswer) -> None:
        """Adds its lines; a failed image has one that says so."""
        name, prediction = _text(answer.name), answer.prediction
        if not prediction:
            self._table.add_row(name, *([""] * (1 if self._score else 0)), "failed")
        elif self._score:
            for rank, one in enumerate(prediction.top[0]):
                ranked = (str(one.index), _text(one.label), f"{one.score:.5f}")
                self._row(prediction, name, ranked, first=not rank)
        else:
            for position, (output, values) in enumerate(prediction.outputs.items()):
                what = (_text(output), _summed_up(values[0]))
                self._row(prediction, name, what, first=not position)
        self._images += 1
        if self._images == _TABLE_IMAGES:
            self.end()

    def end(self) -> None:
        """Prints the table."""
        if self._images:
            with self._paused():
                results.print(self._table)
        self._table, self._images = self._empty(), 0

    def _row(
        self, prediction: Prediction, name: Text, what: Sequence[str | Text], *, first: bool
    ) -> None:
        self._table.add_row(name if first else "", *what, *(_who(prediction) if first else ()))

    def _empty(self) -> Table:
        what = ("class", "label", self._score) if self._score else ("output", "values")
        return lean_table("image", *what, *_WHO, words=("image", "label", "output", "values"))


def _described(prediction: Prediction) -> dict[str, Any]:
    top = {"top": prediction.top[0]} if prediction.top else {}
    return {
        "outputs": {name: output[0].tolist() for name, output in prediction.outputs.items()},
        **top,
        "card": prediction.card,
        "version": prediction.version,
        "batch_size": prediction.batch_size,
        "queue_seconds": prediction.queue_seconds,
        "compute_seconds": prediction.compute_seconds,
    }


def _who(prediction: Prediction) -> list[str]:
    compute_ms = prediction.compute_seconds * 1e3
    return [str(prediction.card), str(prediction.version), f"{compute_ms:.1f}"]


def _summed_up(values: npt.NDArray[Any]) -> str:
    if values.size <= _SHOWN_ELEMENTS:
        return np.array2string(values, precision=5, separator=", ", max_line_width=1000)
    shape = "x".join(map(str, values.shape))
    numbers = values.astype(np.float64)
    spread = f"{numbers.min():.5g} to {numbers.max():.5g}, mean {numbers.mean():.5g}"
    return f"{values.dtype.name} {shape}: {spread}"


def _text(words: str) -> Text:
    """Returns words as they are: a name may hold what would be markup."""
    return Text(printable(words))
