"""From a question to an answer, without the wire: lease, decode, check, dispatch, wait, select."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
import numpy.typing as npt

from inference_service.batch_tensors import Tensors, joined
from inference_service.images import decode_images
from inference_service.pending import CardAnswer
from inference_service.question import Answer, Question
from inference_service.registry import Registry
from inference_service.servable import Servable
from inference_service.signature import check_inputs
from inference_service.top_classes import scored_output, top_classes
from service_kit import errors
from service_kit.manifest import TensorSpec


class Predictor:
    """Answers questions from what a registry serves. Belongs to the event loop."""

    def __init__(
        self,
        registry: Registry,
        decoders: Executor,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Answers from `registry`.

        Args:
            registry: what is served.
            decoders: threads that decode images.
            clock: must be the cards' clock, in seconds.
        """
        self._registry = registry
        self._decoders = decoders
        self._clock = clock

    async def answer(self, question: Question, seconds_left: float | None) -> Answer:
        """Returns the answer of a card, or of several for many images.

        Args:
            question: what is asked.
            seconds_left: until nobody waits for the answer any more; None: no limit.

        Raises:
            NotFound: no such model, version, label or card.
            ModelUnavailable: the model is not served at the moment.
            InvalidRequest: there is no such output.
            InvalidTensor: the inputs are not what the card takes.
            QueueFull, DeadlineExpired, CardOutOfOrder, EngineFailed: see `Card`.
        """
        deadline = None if seconds_left is None else self._clock() + seconds_left
        with self._registry.lease(question.model, question.version, question.label) as servable:
            card = servable.card(question.card)
            specs = card.lane.tower.outputs
            names = _wanted_outputs(question, specs)
            ranked = scored_output(specs) if question.top else ""
            inputs = await self._inputs(question, card.lane.tower.inputs)
            images = check_inputs(inputs, card.lane.tower.inputs)
            if deadline is not None and deadline <= self._clock():
                card.count_expired()
                raise errors.DeadlineExpired("the deadline had passed on arrival")
            if not images:
                done = [CardAnswer(_nothing(specs), card.index, 0, 0.0, 0.0)]
            else:
                done = await _all_of(
                    servable.submit(
                        inputs,
                        images,
                        card=question.card,
                        deadline=deadline,
                        priority=question.priority,
                    )
                )
            return _answered(question, servable, done, names, ranked)

    async def _inputs(self, question: Question, specs: Sequence[TensorSpec]) -> Tensors:
        if not question.encoded:
            return question.inputs
        inputs: dict[str, npt.NDArray[Any]] = dict(question.inputs)
        loop = asyncio.get_running_loop()
        for spec in specs:
            if spec.name in question.encoded:
                inputs[spec.name] = await loop.run_in_executor(
                    self._decoders, decode_images, question.encoded[spec.name], spec, question.fit
                )
        # What is left has a name that the model does not know, which the check says.
        unknown = {name: np.zeros(0) for name in question.encoded if name not in inputs}
        return {**inputs, **unknown}


async def _all_of(answers: Sequence[Future[CardAnswer]]) -> list[CardAnswer]:
    """Returns the cards' answers; if one fails, or nobody waits any more, the rest is cancelled."""
    # The one crossing from the cards' threads to the event loop.
    waiting = [asyncio.wrap_future(answer) for answer in answers]
    if len(waiting) == 1:
        return [await waiting[0]]
    try:
        return list(await asyncio.gather(*waiting))
    except BaseException:
        for one in waiting:
            one.cancel()
        # Their errors are of the same request, which has one already.
        await asyncio.gather(*waiting, return_exceptions=True)
        raise


def _answered(
    question: Question,
    servable: Servable,
    done: Sequence[CardAnswer],
    names: Sequence[str],
    ranked: str,
) -> Answer:
    outputs = joined([one.outputs for one in done])
    labels = servable.manifest.class_labels
    return Answer(
        request_id=question.request_id,
        model=servable.model,
        version=servable.version,
        graph_sha256=servable.manifest.graph.sha256,
        cards=[one.card for one in done],
        outputs={name: outputs[name] for name in names},
        batch_size=max(one.batch_size for one in done),
        queue_seconds=max(one.queue_seconds for one in done),
        compute_seconds=max(one.compute_seconds for one in done),
        top=top_classes(outputs[ranked], question.top, labels) if ranked else (),
    )


def _wanted_outputs(question: Question, specs: Sequence[TensorSpec]) -> Sequence[str]:
    known = [spec.name for spec in specs]
    for name in question.output_names:
        if name not in known:
            raise errors.InvalidRequest(
                f"model {question.model} has no output {name!r}; it has {', '.join(known)}"
            )
    if question.output_names or question.top:
        return list(dict.fromkeys(question.output_names))
    return known


def _nothing(specs: Sequence[TensorSpec]) -> Tensors:
    """Returns outputs for no images."""
    return {
        spec.name: np.zeros([0, *(max(size, 0) for size in spec.shape[1:])], spec.dtype)
        for spec in specs
    }
