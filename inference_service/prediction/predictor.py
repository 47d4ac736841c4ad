"""From a request to its result, without the wire: lease, check, reserve, decode, wait, select."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from inference_service.cards.batch_tensors import Tensors, size_in_bytes
from inference_service.cards.card import Card
from inference_service.cards.card_answer import CardAnswer
from inference_service.cards.queued_request import is_expired
from inference_service.images.decoders import Decoders
from inference_service.images.decoding import ImageDecoding, too_many_elements
from inference_service.models.registry import Registry
from inference_service.models.reservation import Reservation
from inference_service.models.servable import Servable
from inference_service.prediction.answers import Answers, Crossing
from inference_service.prediction.input_check import check_inputs
from inference_service.prediction.outcome import BeginTrace, Observer, RequestOutcome
from inference_service.prediction.outputs import make_result, no_outputs, takes_long, wanted_outputs
from inference_service.prediction.request import InferenceRequest, InferenceResult
from inference_service.prediction.top_classes import scored_output
from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec


class Predictor:
    """Answers requests from what a registry serves. Belongs to the event loop."""

    def __init__(
        self,
        registry: Registry,
        decoders: Decoders,
        *,
        max_request_images: int | None = None,
        observers: Sequence[Observer] = (),
        begin_trace: BeginTrace | None = None,
        clock: Callable[[], float] = time.monotonic,
        calendar: Callable[[], float] = time.time,
    ) -> None:
        """Answers from `registry`.

        Args:
            registry: what is served.
            decoders: decode images.
            max_request_images: in one request; None: any number.
            observers: are told of each request at its end; must not raise or block.
            begin_trace: is asked for the trace of each request at its beginning, which its outcome
                has from then on; None: nobody traces any.
            clock: must be the cards' clock, in seconds.
            calendar: seconds since 1970.
        """
        self._registry = registry
        self._decoders = decoders
        self._max_request_images = max_request_images
        self._observers = observers
        self._begin_trace = begin_trace
        self._clock = clock
        self._calendar = calendar
        self._crossing: Crossing | None = None

    async def answer(
        self,
        request: InferenceRequest,
        seconds_left: float | None,
        *,
        ends_by_itself: bool = True,
    ) -> InferenceResult:
        """Returns the answer of a card, or of several for many images.

        Args:
            request: what is asked.
            seconds_left: until nobody waits for the answer any more; None: no limit.
            ends_by_itself: whether somebody else cancels this call then, as gRPC does at a call's
                deadline; False: a timer is needed.

        Raises:
            NotFound: no such model, version, label or card.
            ModelUnavailable: the model is not served at the moment.
            InvalidRequest: there is no such output, or there are too many images.
            InvalidTensor: the inputs are not what the card takes.
            QueueFull, DeadlineExpired, CardOutOfOrder, EngineFailed: see `Card`.
        """
        began = self._clock()
        deadline = None if seconds_left is None else began + seconds_left
        outcome = RequestOutcome(self._begin_trace() if self._begin_trace else None)
        try:
            return await self._answer(request, deadline, outcome, timed=not ends_by_itself)
        except BaseException as error:
            outcome.error = error
            outcome.expired = is_expired(deadline, self._clock())
            raise
        finally:
            outcome.seconds = self._clock() - began
            for observe in self._observers:
                observe(outcome)

    async def _answer(
        self,
        request: InferenceRequest,
        deadline: float | None,
        outcome: RequestOutcome,
        *,
        timed: bool,
    ) -> InferenceResult:
        with self._registry.lease(request.model, request.version, request.label) as servable:
            card = servable.card(request.card)
            outcome.model, outcome.version = servable.model, servable.version
            outcome.card = request.card
            tower = card.spec.tower
            names = wanted_outputs(request, tower.outputs)
            ranked = scored_output(tower.outputs) if request.top else ""
            most = card.limits.elements
            decodings = _decodings(request, tower.inputs, most) if request.encoded else {}
            images = check_inputs(_inputs(request, decodings), tower.inputs)
            self._check_number(images)
            if most:
                _check_elements(_inputs(request, decodings), most)
            if card.spec.whole:
                _check_whole(servable, card, request, images)
            if images:
                done = await self._compute(
                    servable, request, decodings, images, deadline, outcome, timed=timed
                )
            else:
                done = [CardAnswer(no_outputs(tower.outputs), card.index, 0, 0.0, 0.0)]
            outcome.images, outcome.shares = images, done
            if takes_long(request, done, ranked):
                return await asyncio.to_thread(make_result, request, servable, done, names, ranked)
            return make_result(request, servable, done, names, ranked)

    def _check_number(self, images: int) -> None:
        if self._max_request_images is not None and images > self._max_request_images:
            raise errors.InvalidRequest(
                f"the request has {images} images, and may have {self._max_request_images}: send "
                "them in several"
            )

    async def _compute(
        self,
        servable: Servable,
        request: InferenceRequest,
        decodings: Mapping[str, ImageDecoding],
        images: int,
        deadline: float | None,
        outcome: RequestOutcome,
        *,
        timed: bool,
    ) -> Sequence[CardAnswer]:
        began = self._clock()
        reservation = None
        try:
            answers = Answers(self._crossing_here())
            # Before anything is decoded: who is refused has cost nothing.
            reservation = servable.reserve(
                images,
                size_in_bytes(_inputs(request, decodings)) + _encoded_bytes(request),
                card=request.card,
                deadline=deadline,
                priority=request.priority,
                asker=answers,
                trace=outcome.trace,
                inputs=None if decodings else request.inputs,
            )
            answers.expect(len(reservation.shares))
            if timed and deadline is not None:
                waiting = self._wait(reservation, answers, request, decodings)
                await asyncio.wait_for(waiting, max(0.0, deadline - self._clock()))
            elif decodings:
                await self._wait(reservation, answers, request, decodings)
            else:
                await answers.done
            now = self._clock()
            done = reservation.answers(now)
        except errors.PbserveError as error:
            if reservation is not None:
                reservation.refuse(error)
            servable.requests.count_failed(self._clock() - began)
            raise
        except (asyncio.TimeoutError, TimeoutError):
            now = self._clock()
            servable.requests.count_failed(now - began)
            assert reservation is not None  # The clock runs since there is one.
            raise reservation.expiry(now) from None
        except asyncio.CancelledError:
            if is_expired(deadline, self._clock()):
                servable.requests.count_failed(self._clock() - began)
            raise
        finally:
            if reservation is not None:
                reservation.cancel()
        servable.requests.count_answered(done, images, now - began, self._calendar())
        return done

    async def _wait(
        self,
        reservation: Reservation,
        answers: Answers,
        request: InferenceRequest,
        decodings: Mapping[str, ImageDecoding],
    ) -> None:
        """Returns when the cards have answered what is decoded first, where it is not yet."""
        for decoding in decodings.values():
            if not await self._decoders.decode(decoding, request.priority, reservation.is_wanted):
                # Somebody has answered it already.
                break
        else:
            if not reservation.is_filled:
                reservation.fill(_inputs(request, decodings))
        await answers.done

    def _crossing_here(self) -> Crossing:
        loop = asyncio.get_running_loop()
        if self._crossing is None or self._crossing.loop is not loop:
            self._crossing = Crossing(loop)
        return self._crossing


def _decodings(
    request: InferenceRequest, specs: Sequence[TensorSpec], most: int
) -> dict[str, ImageDecoding]:
    return {
        spec.name: ImageDecoding(request.encoded[spec.name], spec, request.fit, most)
        for spec in specs
        if spec.name in request.encoded
    }


def _check_elements(inputs: Tensors, most: int) -> None:
    elements = sum(array.size for array in inputs.values())
    if elements > most:
        raise too_many_elements(elements, most)


def _check_whole(servable: Servable, card: Card, request: InferenceRequest, images: int) -> None:
    """Refuses what needs a row an image, of outputs that have others."""
    if request.top:
        raise errors.InvalidRequest(
            f"ask for the outputs themselves: those of model {servable.model} version "
            f"{servable.version} have no row for each image whose classes could be ranked"
        )
    if images > card.limits.batch:
        raise errors.InvalidRequest(
            f"send at most {card.limits.batch} images in a request: model {servable.model} version "
            f"{servable.version} answers each request in one run, and this one has {images}; "
            "max_batch_size is the limit"
        )


def _inputs(request: InferenceRequest, decodings: Mapping[str, ImageDecoding]) -> Tensors:
    if not request.encoded:
        return request.inputs
    decoded = {name: decoding.pixels for name, decoding in decodings.items()}
    # What is left has a name that the model does not know, which the check says.
    unknown = {name: np.zeros(0) for name in request.encoded if name not in decoded}
    return {**request.inputs, **decoded, **unknown}


def _encoded_bytes(request: InferenceRequest) -> int:
    return sum(len(content) for contents in request.encoded.values() for content in contents)
