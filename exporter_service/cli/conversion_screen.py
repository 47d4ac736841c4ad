"""A conversion as it goes on, on standard error: a bar, every step, or the lines of a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from exporter_service.client.calls import ConversionProgress
from service_kit import errors
from service_kit.artifacts.manifest import Manifest
from service_kit.cli.console import notices
from service_kit.terminal_text import printable

_BAR_CELLS = 40
_FRAMES_A_SECOND = 8

Event = ConversionProgress | Manifest


def followed(events: Iterable[Event], *, every_step: bool) -> Manifest:
    """Shows a conversion until it has ended, and returns its manifest.

    Args:
        events: of the client.
        every_step: keeps all steps on the screen, each with its seconds; else one line has a bar
            and the step that runs.

    Raises:
        PbserveError: the conversion failed.
    """
    if not notices.is_terminal:
        return _logged(events, every_step=every_step)
    return _drawn(events) if every_step else _with_bar(events)


@dataclass(frozen=True, slots=True)
class StepTime:
    """A step, and the second of the conversion in which it began."""

    text: str
    began: float


class Steps:
    """The steps so far. When the exporter begins anew, so do they."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begins without steps."""
        self._clock = clock
        self._steps: list[StepTime] = []
        # The exporter's time and ours, when the last step began.
        self._told = clock()
        self._ended: float | None = None
        self._fraction = 0.0
        self._spinner = Spinner("dots", style="cyan")

    def begin(self, event: ConversionProgress) -> StepTime | None:
        """Takes a step that begins; returns the one that it ends."""
        before = self._steps[-1] if self._steps else None
        if before and event.elapsed < before.began:
            self._steps, before = [], None
        self._told = self._clock()
        self._fraction = event.fraction
        self._steps = [*self._steps, StepTime(step_text(event), event.elapsed)]
        return before

    def end(self) -> None:
        """Ends the last step."""
        self._ended = self.elapsed

    @property
    def elapsed(self) -> float:
        """Seconds since the conversion was asked for."""
        if self._ended is not None:
            return self._ended
        since = self._clock() - self._told
        return self._steps[-1].began + since if self._steps else since

    def lines(self) -> list[tuple[str, float]]:
        """Returns the steps and their seconds, the running one's so far."""
        # The screen is drawn in another thread than that in which steps begin.
        steps = self._steps
        ends = [*(step.began for step in steps[1:]), self.elapsed]
        return [
            (step.text, max(0.0, end - step.began)) for step, end in zip(steps, ends, strict=False)
        ]

    def __rich__(self) -> RenderableType:
        grid = Table.grid(padding=(0, 1))
        grid.add_column()
        grid.add_column(overflow="fold")
        grid.add_column(justify="right", no_wrap=True)
        lines = self.lines()
        for number, (text, seconds) in enumerate(lines, 1):
            runs = number == len(lines) and self._ended is None
            mark: RenderableType = self._spinner if runs else Text("✓", style="green")
            grid.add_row(mark, Text(text), f"{seconds:.1f} s")
        done = 1.0 if self._ended is not None else self._fraction
        foot = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=1.0, completed=done, width=_BAR_CELLS)
        foot.add_row(bar, f"{done:4.0%}", f"{self.elapsed:.1f} s")
        return Group(grid, foot)


def step_text(event: ConversionProgress) -> str:
    """Returns a step for people."""
    text = event.step.value
    return printable(f"{text}: {event.message}" if event.message else text)


def _drawn(events: Iterable[Event]) -> Manifest:
    steps = Steps()
    with Live(steps, console=notices, refresh_per_second=_FRAMES_A_SECOND):
        for event in events:
            if isinstance(event, Manifest):
                steps.end()
                return event
            steps.begin(event)
    raise _nothing()


def _with_bar(events: Iterable[Event]) -> Manifest:
    columns = (
        BarColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=notices) as bar:
        task = bar.add_task("connects", total=1.0)
        for event in events:
            if isinstance(event, Manifest):
                bar.update(task, completed=1.0, description="done")
                return event
            bar.update(task, completed=event.fraction, description=step_text(event))
    raise _nothing()


def _logged(events: Iterable[Event], *, every_step: bool) -> Manifest:
    """Prints a line when a step begins, or, with its seconds, when it has ended."""
    steps = Steps()
    for event in events:
        if isinstance(event, Manifest):
            steps.end()
            if every_step:
                _print_ended(steps)
            return event
        if not every_step:
            _print(f"{event.elapsed:6.1f} s  {step_text(event)}")
        elif steps.begin(event):
            _print_ended(steps, before_last=True)
    raise _nothing()


def _print_ended(steps: Steps, *, before_last: bool = False) -> None:
    lines = steps.lines()
    if len(lines) > before_last:
        text, seconds = lines[-2 if before_last else -1]
        _print(f"{seconds:6.1f} s  {text}")


def _print(line: str) -> None:
    notices.print(line, markup=False, highlight=False, soft_wrap=True)


def _nothing() -> errors.PbserveError:
    return errors.RemoteError("the exporter ended the conversion without a manifest")
