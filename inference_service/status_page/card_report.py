"""What a page shows of a card."""

from __future__ import annotations

from dataclasses import dataclass

from inference_service.cards.status import CardStatus
from inference_service.status_page.rates import CardRates


@dataclass(frozen=True, slots=True)
class TimingReport:
    """A batch size, and the images per second that warming measured with it."""

    batch_size: int
    seconds: float
    images_per_second: float


@dataclass(frozen=True, slots=True)
class CardReport:
    """A card now; counts are since it was loaded, `busy` is the share of the last seconds.

    `history` are the images per second of the last minute, oldest first.
    """

    index: int
    device: str
    tower: int
    shares_device_with: tuple[int, ...]
    healthy: bool
    last_error: str
    images_per_second: float
    busy: float
    history: tuple[float, ...]
    answered_images: int
    batches: int
    failed_requests: int
    expired_requests: int
    cancelled_requests: int
    refused_requests: int
    non_finite_inputs: int
    non_finite_outputs: int
    busy_seconds: float
    outstanding_images: int
    outstanding_bytes: int
    queue_images: int
    queue_bytes: int
    max_queue_delay: float
    batch_limit: int
    timings: tuple[TimingReport, ...]


def card_report(card: CardStatus, rates: CardRates) -> CardReport:
    """Returns a card's report."""
    spec, counts, limits = card.spec, card.counts, card.limits
    return CardReport(
        index=card.index,
        device=str(spec.placement.device),
        tower=spec.placement.tower,
        shares_device_with=spec.placement.shares_with,
        healthy=card.healthy,
        last_error=card.last_error,
        images_per_second=rates.now.images_per_second,
        busy=rates.now.busy,
        history=rates.history,
        answered_images=counts.answered_images,
        batches=counts.runs.batches,
        failed_requests=counts.failed_requests,
        expired_requests=counts.expired_requests,
        cancelled_requests=counts.cancelled_requests,
        refused_requests=counts.refused_requests,
        non_finite_inputs=counts.runs.non_finite_inputs,
        non_finite_outputs=counts.runs.non_finite_outputs,
        busy_seconds=counts.runs.busy_seconds,
        outstanding_images=card.outstanding_images,
        outstanding_bytes=card.outstanding_bytes,
        queue_images=limits.queue_images,
        queue_bytes=limits.queue_bytes,
        max_queue_delay=limits.max_queue_delay,
        batch_limit=limits.batch,
        timings=tuple(
            TimingReport(one.batch_size, one.seconds, one.images_per_second) for one in spec.timings
        ),
    )
