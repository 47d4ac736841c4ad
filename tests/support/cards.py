"""Requests straight to a card, without a model around it."""

from __future__ import annotations

from collections.abc import Hashable
from concurrent.futures import Future
from typing import NamedTuple

from inference_service.cards.batch_tensors import Tensors, size_in_bytes
from inference_service.cards.batching import Priority
from inference_service.cards.card import Card
from inference_service.cards.card_answer import CardAnswer
from inference_service.cards.queued_request import QueuedRequest
from service_kit import errors


class Waiting(NamedTuple):
    """A request as the batching sees it."""

    images: int
    done: int
    kind: Hashable


class ThreadAnswer(Future[CardAnswer]):
    """Hears of one request's result, for a thread that blocks."""

    request: QueuedRequest

    def hear(self, request: QueuedRequest) -> None:
        """See `Asker`."""
        if isinstance(request.result, errors.PbserveError):
            self.set_exception(request.result)
        elif request.result:
            self.set_result(request.result)

    def cancel(self) -> bool:
        """Cancels the request, too."""
        return self.request.cancel() and super().cancel()


class ThreadAnswers:
    """Hears of the results of many requests, for threads that block."""

    def __init__(self) -> None:
        self._answers: dict[QueuedRequest, ThreadAnswer] = {}

    def hear(self, request: QueuedRequest) -> None:
        """See `Asker`."""
        self.of(request).hear(request)

    def of(self, request: QueuedRequest) -> ThreadAnswer:
        """Returns the answer to come of a request, which may be there."""
        answer = self._answers.setdefault(request, ThreadAnswer())
        answer.request = request
        return answer


def asked(request: QueuedRequest) -> ThreadAnswer:
    """Returns the answer to come of a request that nobody waits for yet."""
    answer = ThreadAnswer()
    answer.request, request.asker = request, answer
    return answer


def answer_of(request: QueuedRequest) -> ThreadAnswer:
    """Returns what `asked` has returned of a request."""
    assert isinstance(request.asker, ThreadAnswer)
    return request.asker


def reserve(
    card: Card,
    images: int,
    size: int,
    deadline: float | None = None,
    *,
    priority: Priority = Priority.INTERACTIVE,
    pinned: bool = True,
    now: float = 0.0,
    elsewhere: bool = False,
) -> QueuedRequest:
    """Takes a place for inputs that come later."""
    request = QueuedRequest({}, images, None, priority, now, deadline, pinned, size)
    asked(request)
    card.admit(request, elsewhere=elsewhere)
    return request


def submit(
    card: Card,
    inputs: Tensors,
    deadline: float | None = None,
    *,
    priority: Priority = Priority.INTERACTIVE,
    pinned: bool = True,
    now: float = 0.0,
) -> Future[CardAnswer]:
    """Takes a place for inputs that are there already, queues them and returns their answer.

    `now` is that of the card's clock, which matters with a deadline.
    """
    images = len(next(iter(inputs.values())))
    size = size_in_bytes(inputs)
    request = reserve(card, images, size, deadline, priority=priority, pinned=pinned, now=now)
    card.fill(request, inputs)
    return answer_of(request)
