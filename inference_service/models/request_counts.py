"""What became of the requests of one version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inference_service.cards.card_answer import CardAnswer, slowest


@dataclass(slots=True)
class RequestCounts:
    """Requests that were given to the cards; one that was spread over several counts once.

    Belongs to the event loop. Refused and expired requests have failed; cancelled ones count as
    neither. Times are sums in seconds: from the cards' taking a request to its answer or failure,
    and of what was answered the parts of that.

    Attributes:
        last_answered: seconds since 1970; 0: nothing was answered.
    """

    answered: int = 0
    answered_images: int = 0
    failed: int = 0
    answered_seconds: float = 0.0
    failed_seconds: float = 0.0
    queue_seconds: float = 0.0
    input_seconds: float = 0.0
    compute_seconds: float = 0.0
    output_seconds: float = 0.0
    last_answered: float = 0.0

    def count_answered(
        self, shares: Sequence[CardAnswer], images: int, seconds: float, now: float
    ) -> None:
        """Counts a request, with the times of the share that took longest in each.

        Args:
            shares: what the cards answered, at least one.
            images: of all shares.
            seconds: how long the caller waited for them.
            now: seconds since 1970.
        """
        self.answered += 1
        self.answered_images += images
        self.answered_seconds += seconds
        longest = slowest(shares)
        self.queue_seconds += longest.queue_seconds
        self.input_seconds += longest.input_seconds
        self.compute_seconds += longest.compute_seconds
        self.output_seconds += longest.output_seconds
        self.last_answered = now

    def count_failed(self, seconds: float) -> None:
        """Counts a request that got an error after so many seconds."""
        self.failed += 1
        self.failed_seconds += seconds
