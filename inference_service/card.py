"""One tower at run time: a queue of requests, and one thread that runs batches of them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from inference_service.batching import Slice, Waiting, next_batch
from service_kit import errors
from service_kit.manifest import Tower

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]
_log = structlog.get_logger(__name__)

# What a caller is told to wait before it tries a full queue again.
_RETRY_AFTER_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class CardAnswer:
    """Outputs by semantic name, and how they came about (times in seconds)."""

    outputs: Tensors
    batch_size: int
    queue_seconds: float
    compute_seconds: float


@dataclass(slots=True)
class _Pending:
    """A request on its way through the card."""

    inputs: Tensors
    images: int
    kind: Any
    deadline: float | None
    arrived: float
    answer: Future[CardAnswer]
    done: int = 0
    began: float | None = None
    computed: float = 0.0
    batch_size: int = 0
    parts: list[Tensors] = field(default_factory=list)


class Card:
    """A queue and the thread that empties it; every method may be called from any thread."""

    def __init__(
        self,
        tower: Tower,
        run: Callable[[Tensors], Tensors],
        *,
        max_batch_size: int,
        queue_images: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts the card's thread.

        Args:
            tower: what the card feeds and fetches.
            run: computes outputs by semantic name from inputs in the tower's dtypes; only the
                card's own thread calls it.
            max_batch_size: images that `run` gets at most.
            queue_images: images that may be outstanding; a larger single request is taken
                when nothing else is.
            clock: seconds, as for the deadlines given to `submit`.
        """
        self.tower = tower
        self.max_batch_size = max_batch_size
        self._run_engine = run
        self._queue_images = queue_images
        self._clock = clock
        self._queue: deque[_Pending] = deque()
        self._changed = threading.Condition()
        self._outstanding = 0
        self._answered = 0
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"card-{tower.index}", daemon=True)
        self._thread.start()

    @property
    def index(self) -> int:
        """The card's number in requests."""
        return self.tower.index

    @property
    def outstanding(self) -> int:
        """Images that wait or run."""
        return self._outstanding

    @property
    def answered(self) -> int:
        """Images answered so far."""
        return self._answered

    def submit(
        self, inputs: Tensors, images: int, deadline: float | None = None
    ) -> Future[CardAnswer]:
        """Queues a request and returns its future answer; cancelling that frees its place.

        Args:
            inputs: arrays by semantic name, checked against the tower; `images` each.
            images: at least 1.
            deadline: a time of the card's clock after which nobody waits for the answer.

        Raises:
            QueueFull: too many images are outstanding.
            ServerStopping: the card is closed.

        The future raises DeadlineExpired or EngineFailed.
        """
        kind = tuple((name, array.shape[1:], array.dtype) for name, array in sorted(inputs.items()))
        pending = _Pending(inputs, images, kind, deadline, self._clock(), Future())
        with self._changed:
            if self._closed:
                raise errors.ServerStopping("the model's version is being unloaded: try again")
            if self._outstanding and self._outstanding + images > self._queue_images:
                raise errors.QueueFull(
                    f"card {self.index} has {self._outstanding} images outstanding, and takes "
                    f"{self._queue_images}: send {images} more later, or to another card",
                    retry_after=_RETRY_AFTER_SECONDS,
                )
            self._outstanding += images
            self._queue.append(pending)
            self._changed.notify()
        pending.answer.add_done_callback(
            lambda answer: self._free(images) if answer.cancelled() else None
        )
        return pending.answer

    def close(self) -> None:
        """Answers what is queued, then ends the thread. Blocks until that is done."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _free(self, images: int) -> None:
        with self._changed:
            self._outstanding -= images

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closed:
                    self._changed.wait()
                batch = self._take()
                if not batch and not self._queue and self._closed:
                    return
            if batch:
                self._compute(batch)

    def _take(self) -> list[tuple[_Pending, Slice]]:
        """Takes the next batch off the queue, leaving out what nobody waits for any more."""
        self._queue = deque(filter(self._is_wanted, self._queue))
        waiting = (Waiting(p.images, p.done, p.kind) for p in self._queue)
        batch = [(self._queue[s.position], s) for s in next_batch(waiting, self.max_batch_size)]
        for pending, part in batch:
            pending.done = part.stop
        while self._queue and self._queue[0].done == self._queue[0].images:
            self._queue.popleft()
        return batch

    def _is_wanted(self, pending: _Pending) -> bool:
        """Whether somebody still waits; checked again for every part of a split request."""
        if pending.answer.done():
            return False
        if pending.deadline is not None and pending.deadline < self._clock():
            waited = self._clock() - pending.arrived
            self._refuse(
                pending,
                errors.DeadlineExpired(
                    f"the deadline passed after {waited:.3f} s on card {self.index}, with "
                    f"{pending.done} of {pending.images} images computed"
                ),
            )
            return False
        return True

    def _refuse(self, pending: _Pending, error: errors.PbserveError) -> None:
        # False when it was cancelled, which has freed its place already.
        if pending.answer.set_running_or_notify_cancel():
            self._free(pending.images)
            pending.answer.set_exception(error)

    def _compute(self, batch: Sequence[tuple[_Pending, Slice]]) -> None:
        live = [(pending, part) for pending, part in batch if not pending.answer.done()]
        if not live:
            return
        images = sum(part.images for _, part in live)
        began = self._clock()
        try:
            outputs = self._run_engine(self._stacked(live, images))
            self._check(outputs, images)
            seconds = self._clock() - began
            position = 0
            for pending, part in live:
                taken = {n: o[position : position + part.images] for n, o in outputs.items()}
                position += part.images
                self._deliver(pending, taken, images, began, seconds)
        # Whatever happens costs these requests; the card's thread lives.
        except Exception as error:
            failure = _as_failure(error)
            for pending, _ in live:
                if not pending.answer.done():
                    self._refuse(pending, failure)

    def _deliver(
        self, pending: _Pending, part: Tensors, batch_size: int, began: float, seconds: float
    ) -> None:
        pending.parts.append(part)
        pending.began = began if pending.began is None else pending.began
        pending.computed += seconds
        pending.batch_size = max(pending.batch_size, batch_size)
        if pending.done < pending.images:
            return
        answer = CardAnswer(
            outputs=_joined(pending.parts),
            batch_size=pending.batch_size,
            queue_seconds=pending.began - pending.arrived,
            compute_seconds=pending.computed,
        )
        if not pending.answer.done() and pending.answer.set_running_or_notify_cancel():
            # Its place is free before anybody learns of the answer.
            self._answered += pending.images
            self._free(pending.images)
            pending.answer.set_result(answer)

    def _stacked(self, live: Sequence[tuple[_Pending, Slice]], images: int) -> Tensors:
        """Returns the batch's inputs in the tower's dtypes; a lone request is not copied."""
        stacked = {}
        for spec in self.tower.inputs:
            pieces = [pending.inputs[spec.name][s.start : s.stop] for pending, s in live]
            if len(pieces) == 1:
                stacked[spec.name] = pieces[0].astype(spec.dtype, copy=False)
                continue
            whole = np.empty((images, *pieces[0].shape[1:]), spec.dtype)
            np.concatenate(pieces, out=whole, casting="safe")
            stacked[spec.name] = whole
        return stacked

    def _check(self, outputs: Tensors, images: int) -> None:
        for name, output in outputs.items():
            if output.ndim == 0 or output.shape[0] != images:
                raise errors.EngineFailed(
                    f"output {name!r} has shape {list(output.shape)} for {images} images: the "
                    "graph does not keep images apart"
                )


def _joined(parts: Sequence[Tensors]) -> Tensors:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _as_failure(error: Exception) -> errors.PbserveError:
    if isinstance(error, errors.PbserveError):
        return error
    _log.error("engine_raised", exc_info=error)
    return errors.EngineFailed(f"the engine failed: {type(error).__name__}: {error}")
