"""Where a conversion's time goes, for those who count."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from exporter_service.specs.progress import Progress, Report, Step
from service_kit import errors

OK = "OK"


@dataclass(frozen=True, slots=True)
class StepTime:
    """A step that has ended: `began` in seconds after the conversion did, and how it ended."""

    step: Step
    began: float
    seconds: float
    result: str


@dataclass(frozen=True, slots=True)
class FinishedConversion:
    """A conversion that has ended; `result` is OK or the reason of the failure.

    Attributes:
        kind: `convert` or `adopt`.
        model: as it was asked for.
        steps: in their order; only the last one can have failed.
    """

    kind: str
    model: str
    result: str
    seconds: float
    steps: Sequence[StepTime]


Observer = Callable[[FinishedConversion], None]


class ConversionWatch:
    """Times the conversions of one exporter. Belongs to the event loop."""

    def __init__(
        self, observers: Sequence[Observer] = (), *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Tells `observers` of each conversion at its end, in its own context.

        Args:
            observers: must not raise or block.
            clock: seconds.
        """
        self._observers = observers
        self._clock = clock
        # Conversions that run or wait.
        self.running = 0

    @contextlib.contextmanager
    def over(self, kind: str, model: str, report: Report) -> Iterator[Report]:
        """Times what is reported to the yielded function, which hands it on to `report`."""
        timer = _StepTimer(report, self._clock)
        result = OK
        self.running += 1
        try:
            yield timer.report
        except errors.PbserveError as error:
            result = error.reason
            raise
        except asyncio.CancelledError:
            result = "CANCELLED"
            raise
        except BaseException:
            result = "INTERNAL_ERROR"
            raise
        finally:
            self.running -= 1
            steps = timer.end_step(result)
            finished = FinishedConversion(kind, model, result, timer.seconds, steps)
            for observe in self._observers:
                observe(finished)


class _StepTimer:
    """Times the steps of one conversion."""

    def __init__(self, report: Report, clock: Callable[[], float]) -> None:
        self._report = report
        self._clock = clock
        self._began = clock()
        self._steps: list[StepTime] = []
        self._step: tuple[Step, float] | None = None

    @property
    def seconds(self) -> float:
        """Since its beginning."""
        return self._clock() - self._began

    def report(self, progress: Progress) -> None:
        """A step begins, and the one before it has gone well."""
        self.end_step(OK)
        self._step = progress.step, self.seconds
        self._report(progress)

    def end_step(self, result: str) -> Sequence[StepTime]:
        """Ends the step of this moment; returns all that have ended."""
        if self._step:
            step, began = self._step
            self._steps.append(StepTime(step, began, self.seconds - began, result))
            self._step = None
        return self._steps
