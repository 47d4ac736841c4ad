from __future__ import annotations

from inference_service.cards.card_answer import CardAnswer
from inference_service.models.request_counts import RequestCounts


def test_a_request_that_was_spread_counts_once_with_its_longest_times() -> None:
    counts = RequestCounts()
    shares = [CardAnswer({}, 0, 4, 1.0, 5.0, 0.1, 0.4), CardAnswer({}, 1, 4, 2.0, 3.0, 0.2, 0.3)]
    counts.count_answered(shares, 8, 7.0, now=1000.0)
    counts.count_failed(0.5)
    assert counts == RequestCounts(
        answered=1,
        answered_images=8,
        failed=1,
        answered_seconds=7.0,
        failed_seconds=0.5,
        queue_seconds=2.0,
        input_seconds=0.2,
        compute_seconds=5.0,
        output_seconds=0.4,
        last_answered=1000.0,
    )
