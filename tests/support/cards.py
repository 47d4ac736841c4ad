"""Requests straight to a card, without a model around it."""

from __future__ import annotations

from concurrent.futures import Future

from inference_service.cards.batch_tensors import Tensors, size_in_bytes
from inference_service.cards.batching import Priority
from inference_service.cards.card import Card
from inference_service.cards.queued_request import CardAnswer


def submit(
    card: Card,
    inputs: Tensors,
    deadline: float | None = None,
    *,
    priority: Priority = Priority.INTERACTIVE,
    pinned: bool = True,
) -> Future[CardAnswer]:
    """Takes a place for inputs that are there already, queues them and returns their answer."""
    images = len(next(iter(inputs.values())))
    request = card.reserve(
        images, size_in_bytes(inputs), deadline, priority=priority, pinned=pinned
    )
    card.fill(request, inputs)
    return request.answer
