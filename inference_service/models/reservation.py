"""The places of one request on cards, from before its inputs are there until it is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from inference_service.cards.batch_tensors import Tensors, part
from inference_service.cards.card import Card
from inference_service.cards.card_answer import CardAnswer
from inference_service.cards.queued_request import QueuedRequest
from inference_service.models.dispatch import Share
from service_kit import errors


class ReservedShare(NamedTuple):
    """A share of a request's images, its card, and what waits there."""

    card: Card
    share: Share
    request: QueuedRequest


@dataclass(slots=True)
class Reservation:
    """All shares, in the order of the images. Every method may be called from any thread.

    `is_filled`: whether the inputs are queued.
    """

    shares: Sequence[ReservedShare]
    is_filled: bool = False

    def is_wanted(self) -> bool:
        """Whether somebody still waits for all of it."""
        return all(one.request.is_wanted for one in self.shares)

    def fill(self, inputs: Tensors) -> None:
        """Queues the request; `inputs` are arrays by semantic name, checked against the towers."""
        self.is_filled = True
        for one in self.shares:
            alone = len(self.shares) == 1
            taken = inputs if alone else part(inputs, one.share.start, one.share.stop)
            one.card.fill(one.request, taken)

    def answers(self, now: float) -> list[CardAnswer]:
        """Returns what the cards have answered, all of them; the clock says `now`.

        Raises:
            PbserveError: the first of the shares that has failed.
        """
        results = [one.request.result for one in self.shares]
        for result in results:
            if isinstance(result, errors.PbserveError):
                raise result
        answers = [result for result in results if isinstance(result, CardAnswer)]
        if self.shares[0].request.deadline is not None:
            # The way of the last one tells how long it is.
            last = max(range(len(answers)), key=lambda at: answers[at].ended)
            self.shares[last].card.came_back(answers[last].ended, now)
        return answers

    def expiry(self, now: float) -> errors.DeadlineExpired:
        """Returns the error of a deadline that passes now, wherever the request has got to."""
        return self.shares[0].request.expiry(now, self.shares[0].card.index)

    def refuse(self, error: errors.PbserveError) -> None:
        """Answers with an error of the request's own; the cards do not count it."""
        for one in self.shares:
            one.request.refuse(error)

    def cancel(self) -> None:
        """Gives up what has no answer yet."""
        for one in self.shares:
            one.request.cancel()
