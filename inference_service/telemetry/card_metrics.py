"""The cards: what they do now, and their batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import Metric

from inference_service.cards.status import CardStatus, RunCounts
from inference_service.models.registry import Registry
from service_kit.telemetry.histogram import Histogram
from service_kit.telemetry.metric import MetricName

# Images in a batch.
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

_CARD = ("model", "version", "card")
_HEALTHY = MetricName(
    "pbserve_card_healthy",
    "gauge",
    (*_CARD, "device"),
    "1 while the card takes requests, 0 while it is out of order and probed.",
)
_BUSY = MetricName(
    "pbserve_card_busy_seconds_total",
    "counter",
    _CARD,
    "Seconds that the engine has run batches; its rate is the busy fraction.",
)
_BATCHES = MetricName(
    "pbserve_batch_images", "histogram", _CARD, "Batches by their number of images, unpadded."
)
_WAITING = MetricName(
    "pbserve_queue_images", "gauge", _CARD, "Images that wait for a batch: the queue's depth."
)
_OUTSTANDING = MetricName(
    "pbserve_card_outstanding_images", "gauge", _CARD, "Images that wait or run."
)
_OUTSTANDING_BYTES = MetricName(
    "pbserve_card_outstanding_bytes", "gauge", _CARD, "Bytes of the inputs of these images."
)
_LIMIT = MetricName(
    "pbserve_card_outstanding_images_limit",
    "gauge",
    _CARD,
    "Images that may be outstanding before requests are refused.",
)
_FAILURES = MetricName(
    "pbserve_card_unanswered_total",
    "counter",
    (*_CARD, "reason"),
    "Shares of requests that the card did not answer: refused, expired, cancelled or failed.",
)
_NON_FINITE = MetricName(
    "pbserve_non_finite_images_total",
    "counter",
    (*_CARD, "side"),
    "Images with NaN or infinity in the input or the output.",
)

_Labels = tuple[str, str, str]


class CardMetrics:
    """Reads the counts that the cards keep. Belongs to the event loop."""

    def __init__(self, registry: Registry) -> None:
        """Reads the cards of what `registry` serves or still drains."""
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """See `Measured`."""
        cards = self._cards()
        yield _HEALTHY.family(
            ((*labels, str(card.spec.placement.device)), float(card.healthy))
            for labels, card in cards
        )
        yield _BUSY.family((labels, card.counts.runs.busy_seconds) for labels, card in cards)
        yield _BATCHES.family((labels, _batches(card.counts.runs)) for labels, card in cards)
        yield _WAITING.family((labels, card.waiting_images) for labels, card in cards)
        yield _OUTSTANDING.family((labels, card.outstanding_images) for labels, card in cards)
        yield _OUTSTANDING_BYTES.family((labels, card.outstanding_bytes) for labels, card in cards)
        yield _LIMIT.family((labels, card.limits.queue_images) for labels, card in cards)
        yield _FAILURES.family(
            ((*labels, reason), number)
            for labels, card in cards
            for reason, number in (
                ("refused", card.counts.refused_requests),
                ("expired", card.counts.expired_requests),
                ("cancelled", card.counts.cancelled_requests),
                ("failed", card.counts.failed_requests),
            )
        )
        yield _NON_FINITE.family(
            ((*labels, side), number)
            for labels, card in cards
            for side, number in (
                ("input", card.counts.runs.non_finite_inputs),
                ("output", card.counts.runs.non_finite_outputs),
            )
        )

    def _cards(self) -> Sequence[tuple[_Labels, CardStatus]]:
        """Looks at every card once: all families tell of the same moment."""
        return [
            ((model.name, str(version.version), str(card.index)), card.status())
            for model in self._registry.statuses()
            for version in model.versions
            if version.servable
            for card in version.servable.cards
        ]


def _batches(runs: RunCounts) -> Histogram:
    batches = Histogram(_SIZES)
    for images, counts in runs.by_size.items():
        batches.add(images, counts.batches)
    return batches
