"""What is measured while a load runs. Many threads add to it."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from inference_service.cli.bench.latencies import Latencies, Percentiles
from inference_service.client.results import Prediction


@dataclass(frozen=True, slots=True)
class Span:
    """The time that is measured, in seconds of the load's clock."""

    begins: float
    ends: float

    def holds(self, at: float) -> bool:
        """Whether a moment is in it."""
        return self.begins <= at < self.ends


@dataclass(frozen=True, slots=True)
class Interval:
    """What came since the interval before."""

    images: int
    errors: int
    latency: Percentiles | None


@dataclass(frozen=True, slots=True)
class Totals:
    """What came of the requests that were due in the span.

    Attributes:
        requests: answered ones; images are theirs.
        images_in_span: images whose answer came within the span, whenever they were sent: divided
            by its seconds, that is what the server does a second.
        errors: requests that failed, by the error's name; UNANSWERED: nothing came in time.
        latency: from the moment when a request was due until its answer was read.
        mean_queue_ms: in the server's queue, by its own clock.
        mean_compute_ms: in the engine, by the server's clock.
        mean_batch_size: images in the batches that the answers came from.
        cards: answered requests by their first card.
        versions: answered requests by version.
        images_in_time: of `images_in_span`, those whose answer came before its deadline: divided
            by the span's seconds, the goodput.
    """

    requests: int
    images: int
    images_in_span: int
    errors: Mapping[str, int]
    latency: Percentiles | None
    mean_queue_ms: float
    mean_compute_ms: float
    mean_batch_size: float
    cards: Mapping[int, int]
    versions: Mapping[int, int]
    images_in_time: int = 0


class Tally:
    """Counts; everything that grows with time is in buckets."""

    def __init__(self, span: Span, deadline: float | None = None) -> None:
        """Measures requests that are due within a span.

        Args:
            span: see there.
            deadline: seconds from the moment when a request is due; None: it has none.
        """
        self._span = span
        self._deadline = math.inf if deadline is None else deadline
        self._lock = threading.Lock()
        self._all, self._new = Latencies(), Latencies()
        self._requests = self._images = self._images_in_span = self._images_in_time = 0
        self._new_images = self._new_errors = 0
        self._errors: Counter[str] = Counter()
        self._cards: Counter[int] = Counter()
        self._versions: Counter[int] = Counter()
        self._queue = self._compute = self._batch = 0.0

    def answered(self, due: float, now: float, images: int, prediction: Prediction) -> None:
        """Counts an answer to a request that was due at one moment and answered at the other."""
        with self._lock:
            self._new_images += images
            self._new.add(now - due)
            if self._span.holds(now):
                self._images_in_span += images
                self._images_in_time += images if now - due <= self._deadline else 0
            if not self._span.holds(due):
                return
            self._all.add(now - due)
            self._requests += 1
            self._images += images
            self._cards[prediction.card] += 1
            self._versions[prediction.version] += 1
            self._queue += prediction.queue_seconds
            self._compute += prediction.compute_seconds
            self._batch += prediction.batch_size

    def failed(self, due: float, kind: str) -> None:
        """Counts a request that has no answer."""
        with self._lock:
            self._new_errors += 1
            if self._span.holds(due):
                self._errors[kind] += 1

    def interval(self) -> Interval:
        """Returns what came since the last call."""
        with self._lock:
            found = Interval(self._new_images, self._new_errors, self._new.percentiles())
            self._new_images = self._new_errors = 0
            self._new.clear()
            return found

    def totals(self) -> Totals:
        """Returns what came so far."""
        with self._lock:
            requests = max(self._requests, 1)
            return Totals(
                requests=self._requests,
                images=self._images,
                images_in_span=self._images_in_span,
                images_in_time=self._images_in_time,
                errors=dict(self._errors),
                latency=self._all.percentiles(),
                mean_queue_ms=self._queue / requests * 1e3,
                mean_compute_ms=self._compute / requests * 1e3,
                mean_batch_size=self._batch / requests,
                cards=dict(sorted(self._cards.items())),
                versions=dict(sorted(self._versions.items())),
            )
