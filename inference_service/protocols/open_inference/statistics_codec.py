"""What a version has answered: `ModelStatistics`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from tritonclient.grpc import service_pb2 as pb

from inference_service.cards.status import BatchCounts, CardStatus
from inference_service.models.servable import Servable


def statistics_message(servable: Servable, cards: Sequence[CardStatus]) -> pb.ModelStatistics:
    """Returns the counts of a version since it was loaded, over all cards.

    A request counts once, whatever it was divided into; `fail` has those that were refused or
    expired, too, and not those that were cancelled. The parts of a request's time are those of its
    share that took longest in each.

    Args:
        servable: the version.
        cards: the status of all its cards.
    """
    requests = servable.requests
    return pb.ModelStatistics(
        name=servable.model,
        version=str(servable.version),
        last_inference=round(requests.last_answered * 1e3),
        inference_count=requests.answered_images,
        execution_count=sum(card.counts.runs.batches for card in cards),
        inference_stats=pb.InferStatistics(
            success=_duration(requests.answered, requests.answered_seconds),
            fail=_duration(requests.failed, requests.failed_seconds),
            queue=_duration(requests.answered, requests.queue_seconds),
            compute_input=_duration(requests.answered, requests.input_seconds),
            compute_infer=_duration(requests.answered, requests.compute_seconds),
            compute_output=_duration(requests.answered, requests.output_seconds),
            cache_hit=_duration(0, 0.0),
            cache_miss=_duration(0, 0.0),
        ),
        batch_stats=[_batch_message(*one) for one in sorted(_by_size(cards).items())],
    )


def _by_size(cards: Sequence[CardStatus]) -> dict[int, BatchCounts]:
    total: defaultdict[int, BatchCounts] = defaultdict(BatchCounts)
    for card in cards:
        for size, counts in card.counts.runs.by_size.items():
            total[size] += counts
    return total


def _batch_message(size: int, counts: BatchCounts) -> pb.InferBatchStatistics:
    return pb.InferBatchStatistics(
        batch_size=size,
        compute_input=_duration(counts.batches, counts.input_seconds),
        compute_infer=_duration(counts.batches, counts.compute_seconds),
        compute_output=_duration(counts.batches, counts.output_seconds),
    )


def _duration(count: int, seconds: float) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=count, ns=round(seconds * 1e9))
