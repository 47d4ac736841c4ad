"""Requests straight to a card, without a model around it."""

from __future__ import annotations

from concurrent.futures import Future

from inference_service.cards.batch_tensors import Tensors, size_in_bytes
from inference_service.cards.batching import Priority
from inference_service.cards.card import Card
from inference_service.cards.queued_request import CardAnswer, QueuedRequest


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
    return request.answer
