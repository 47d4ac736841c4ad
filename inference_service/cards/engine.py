"""A card's engine under watch: what it runs, since when, and whether it can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import structlog

from inference_service.cards.batch_run import BatchRun, TracedPart
from inference_service.cards.batch_tensors import (
    Tensors,
    check_outputs,
    has_non_finite,
    non_finite_images,
    part,
    size_in_bytes,
    stack_tensors,
)
from inference_service.cards.batching import Slice, padded_size
from inference_service.cards.card_spec import CardSpec
from inference_service.cards.health import CardHealth, run_allowance, seconds_an_image
from inference_service.cards.queued_request import QueuedRequest
from inference_service.cards.run_times import RunTimes
from inference_service.cards.status import Ending, RunCounter, RunCounts
from service_kit import errors

_log = structlog.get_logger(__name__)
Batch = Sequence[tuple[QueuedRequest, Slice]]


class CardEngine:
    """Runs batches on the card's thread; what it says of itself may be asked on any thread."""

    def __init__(
        self,
        spec: CardSpec,
        lock: AbstractContextManager[object],
        tell: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        """Runs nothing yet.

        Args:
            spec: what the card is made of.
            lock: the card's.
            tell: is called, with the lock, when the engine is out of order.
            clock: seconds.
        """
        self._spec = spec
        self._lock = lock
        self._tell = tell
        self._clock = clock
        self.times = RunTimes(spec.timings)
        self._counts = RunCounter()
        self._health = CardHealth()
        self._running: Batch = ()
        self._image_seconds = seconds_an_image(spec.timings)
        # Bytes of one image as warming ran it.
        self._image_bytes = max(1, size_in_bytes(spec.blank))

    @property
    def counts(self) -> RunCounts:
        """What it has computed. Whoever asks holds the card's lock."""
        return self._counts.counts()

    @property
    def healthy(self) -> bool:
        """Whether it can be trusted with requests."""
        return self._health.is_healthy(self._clock())

    @property
    def last_error(self) -> str:
        """What it failed with last; empty: it never did."""
        if not self._health.last_error and not self.healthy:
            return "a run does not end"
        return self._health.last_error

    @property
    def probe_at(self) -> float | None:
        """When to probe an engine that is out of order; None: it is not, or still runs."""
        return self._health.probe_at

    @property
    def overdue_in(self) -> float | None:
        """Seconds until the run of this moment is overdue; negative: it is; None: nothing runs."""
        at = self._health.overdue_at
        return None if at is None else at - self._clock()

    @property
    def abandoned(self) -> int:
        """Images that run though nobody waits for them any more."""
        running = self._running
        if not running:
            return 0
        return sum([one.images for request, one in running if not request.has_place])

    def out_of_order(self) -> errors.CardOutOfOrder:
        """Returns what requests are told that cannot run here."""
        index = self._spec.placement.card
        return errors.CardOutOfOrder(
            f"card {index} is out of order, and is being probed: leave the card out, or try again; "
            f"its last error: {self.last_error}",
            retry_after=self._health.retry_after(self._clock()),
        )

    def suspend(self) -> list[QueuedRequest] | None:
        """Gives up on a run that is overdue, and returns who waits for it; None: there is none.

        The engine is out of order then, until the run ends and a probe succeeds.
        """
        with self._lock:
            # One that is out of order already has nobody waiting.
            if self.healthy or self._health.probe_at is not None:
                return None
            self._health.suspended(self._clock())
            waiting = [request for request, _ in self._running]
            self._tell()
        _log.warning("card_out_of_order", card=self._spec.placement.card, error=self.last_error)
        return waiting

    def answer(self, batch: Batch, padded_sizes: Sequence[int]) -> bool:
        """Answers a batch; one that fails is tried again request by request.

        Returns False when the engine is out of order; then some may have no answer.
        """
        # Whatever happens costs these requests; the card's thread lives.
        try:
            self._compute(batch, padded_sizes)
        except Exception as error:
            failure = _as_failure(error)
        else:
            self._health.succeeded()
            return True
        suspicious = self._health.failed(str(failure))
        if suspicious and not self.probe():
            return False
        if len(batch) > 1:
            return all(self.answer([one], padded_sizes) for one in batch if one[0].is_wanted)
        batch[0][0].refuse(failure, Ending.FAILED)
        return True

    def probe(self) -> bool:
        """Runs the blank image that the card was warmed with; returns whether it is healthy."""
        error = None
        try:
            self._run(self._spec.blank)
        except Exception as failure:
            error = str(_as_failure(failure))
        with self._lock:
            was_healthy = self.healthy
            self._health.probed(self._clock(), error)
        if was_healthy != self.healthy:
            _log.warning(
                "card_back" if self.healthy else "card_out_of_order",
                card=self._spec.placement.card,
                error=error,
            )
        return self.healthy

    def _compute(self, batch: Batch, padded_sizes: Sequence[int]) -> None:
        images = sum(one.images for _, one in batch)
        size = padded_size(images, padded_sizes)
        run = BatchRun(self._spec.placement.card, images, size, began=self._clock())
        with self._lock:
            self.times.began(run.began, size, batch[0][0].weight)
        try:
            parts = [
                request.inputs
                if one.images == request.images
                else part(request.inputs, one.start, one.stop)
                for request, one in batch
            ]
            inputs = stack_tensors(parts, self._spec.tower.inputs, size)
            run.stacked = self._clock()
            outputs = self._run(inputs, batch)
            run.computed = self._clock()
            non_finite_inputs = non_finite_images(inputs, images)
            if self._spec.whole:
                non_finite_outputs = has_non_finite(outputs) * images
            else:
                check_outputs(outputs, size)
                non_finite_outputs = non_finite_images(outputs, images)
        except BaseException as error:
            # Not the error itself, whose frames have the images.
            run.error, run.error_type = str(error), errors.reason_of(error)
            run.ended = self._clock()
            with self._lock:
                self.times.ended(run.ended, ran=False)
            _write(run, batch)
            raise
        run.ended = self._clock()
        # Before the answers: who gets one finds its trace whole.
        _write(run, batch)
        self._hand_out(batch, outputs, run, (non_finite_inputs, non_finite_outputs))

    def _hand_out(
        self, batch: Batch, outputs: Tensors, run: BatchRun, non_finite: tuple[int, int]
    ) -> None:
        """Gives each request its outputs: those that are complete leave, then their askers hear."""
        complete = []
        position = 0
        try:
            for request, one in batch:
                # A request that gets its outputs whole is alone in its batch.
                alone = self._spec.whole or one.images == run.size
                taken = outputs if alone else part(outputs, position, position + one.images)
                position += one.images
                if request.take(taken, run):
                    complete.append(request)
        finally:
            # Of all in one step, and then of all in one crossing to the event loop.
            with self._lock:
                self.times.ended(run.ended, ran=True)
                self._counts.add(run, *non_finite)
                for request in complete:
                    request.leave(Ending.ANSWERED)
            for request in complete:
                request.asker.hear(request)

    def _run(self, inputs: Tensors, batch: Batch = ()) -> Tensors:
        spec = self._spec
        # In images of warming's size; others may be a multiple of them.
        images = size_in_bytes(inputs) / self._image_bytes
        # Without the lock, which the event loop may hold: others see all of it or nothing.
        self._running = batch
        self._health.began(self._clock(), run_allowance(self._image_seconds, images))
        try:
            return spec.run(inputs)
        finally:
            self._running = ()
            self._health.ended(self._clock())


def _write(run: BatchRun, batch: Batch) -> None:
    traced = [
        TracedPart(request.trace, one.images) for request, one in batch if request.trace is not None
    ]
    if traced:
        traced[0].trace.write(run, traced)


def _as_failure(error: Exception) -> errors.PbserveError:
    if isinstance(error, errors.PbserveError):
        return error
    _log.error("engine_raised", exc_info=error)
    return errors.EngineFailed(f"the engine failed: {type(error).__name__}: {error}")
