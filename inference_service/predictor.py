"""From a question to an answer, without the wire: lease, check, dispatch, wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from inference_service.registry import Registry
from inference_service.signature import check_inputs
from service_kit import errors
from service_kit.manifest import TensorSpec

Tensors = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Question:
    """Images for a model; version 0 means the newest, card None the least busy one."""

    model: str
    version: int
    label: str
    card: int | None
    inputs: Tensors
    request_id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Outputs by semantic name, who computed them, and how long that took (seconds)."""

    request_id: str
    model: str
    version: int
    card: int
    outputs: Tensors
    batch_size: int
    queue_seconds: float
    compute_seconds: float


class Predictor:
    """Answers questions from what a registry serves. Belongs to the event loop."""

    def __init__(self, registry: Registry, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Answers from `registry`; `clock` must be the cards' clock, in seconds."""
        self._registry = registry
        self._clock = clock

    async def answer(self, question: Question, seconds_left: float | None) -> Answer:
        """Returns the answer of one card.

        Args:
            question: what is asked.
            seconds_left: until nobody waits for the answer any more; None: no limit.

        Raises:
            NotFound: no such model, version, label or card.
            ModelUnavailable: the model is not served at the moment.
            InvalidTensor: the inputs are not what the card takes.
            QueueFull, DeadlineExpired, EngineFailed: see `Card`.
        """
        deadline = None if seconds_left is None else self._clock() + seconds_left
        with self._registry.lease(question.model, question.version, question.label) as servable:
            card = servable.card(question.card)
            images = check_inputs(question.inputs, card.tower.inputs)
            if deadline is not None and deadline <= self._clock():
                raise errors.DeadlineExpired("the deadline had passed on arrival")
            if images == 0:
                outputs = {spec.name: _nothing(spec) for spec in card.tower.outputs}
                batch_size, queued, computed = 0, 0.0, 0.0
            else:
                # The one crossing from the event loop to a card's thread.
                done = await asyncio.wrap_future(card.submit(question.inputs, images, deadline))
                outputs, batch_size = dict(done.outputs), done.batch_size
                queued, computed = done.queue_seconds, done.compute_seconds
            return Answer(
                request_id=question.request_id,
                model=servable.model,
                version=servable.version,
                card=card.index,
                outputs=outputs,
                batch_size=batch_size,
                queue_seconds=queued,
                compute_seconds=computed,
            )


def _nothing(spec: TensorSpec) -> npt.NDArray[Any]:
    """Returns an output for no images."""
    return np.zeros([0, *(max(size, 0) for size in spec.shape[1:])], spec.dtype)
