"""One image from the form to its bars."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from aiohttp import web

from inference_service.images.decoding import Fit
from inference_service.prediction.request import InferenceRequest
from inference_service.protocols.shared.core import Core
from inference_service.status_page.bars import bars
from inference_service.status_page.rendering import Asked, Shown
from inference_service.status_page.target import Target, parse_target
from inference_service.status_page.upload import read_upload
from service_kit import errors

# Seconds for the sender, and for the answer.
_UPLOAD_SECONDS = 60.0
_ANSWER_SECONDS = 30.0
# Classes to show.
_TOP = 10
# The input that an image is for where a model has several.
_IMAGE_INPUT = "input"


@dataclass(frozen=True, slots=True)
class ImageForm:
    """The form's content: an image, what to ask, and the choices as they were sent."""

    image: bytes
    target: Target
    card: int | None
    fit: Fit
    asked: Asked


class ImageForms:
    """Reads forms and has them answered. Belongs to the event loop."""

    def __init__(self, core: Core, *, max_bytes: int) -> None:
        """Asks `core` about images of at most so many bytes."""
        self._core = core
        self._max_bytes = max_bytes

    async def read(self, request: web.Request) -> ImageForm:
        """Returns a request's form; raises as `read_upload`, or InvalidRequest for a field."""
        upload = await read_upload(request, max_bytes=self._max_bytes, seconds=_UPLOAD_SECONDS)
        return image_form(upload.image, upload.fields)

    async def answer(self, form: ImageForm) -> Shown:
        """Returns the bars of a form's image; raises as `Predictor.answer`."""
        target = form.target
        began = time.monotonic()
        inference_request = InferenceRequest(
            model=target.model,
            version=target.version,
            label=target.label,
            card=form.card,
            inputs={},
            encoded={self._input_name(target): [form.image]},
            fit=form.fit,
            top=_TOP,
        )
        try:
            # What a card runs already, it runs to its end; nobody has to wait for that.
            answer = await asyncio.wait_for(
                self._core.predictor.answer(inference_request, _ANSWER_SECONDS), _ANSWER_SECONDS
            )
        except (asyncio.TimeoutError, TimeoutError):
            raise errors.DeadlineExpired(
                f"there was no answer within {_ANSWER_SECONDS:g} s: the card may be busy, try again"
            ) from None
        return Shown(
            bars=bars(answer.top[0]),
            model=answer.model,
            version=answer.version,
            card=answer.cards[0],
            batch_size=answer.batch_size,
            queue_seconds=answer.queue_seconds,
            compute_seconds=answer.compute_seconds,
            total_seconds=time.monotonic() - began,
        )

    def _input_name(self, target: Target) -> str:
        with self._core.registry.lease(target.model, target.version, target.label) as servable:
            names = [spec.name for spec in servable.card(None).spec.tower.inputs]
        if len(names) == 1 or _IMAGE_INPUT in names:
            return names[0] if len(names) == 1 else _IMAGE_INPUT
        raise errors.InvalidRequest(
            f"model {target.model} has the inputs {', '.join(names) or 'none'}, of which the image "
            "could be any: ask through a client, which names its inputs"
        )


def image_form(image: bytes, fields: dict[str, str]) -> ImageForm:
    """Returns a form from an image file's content and the other fields.

    Raises:
        InvalidRequest: a field says nothing that can be asked.
    """
    asked = Asked(fields.get("target", ""), fields.get("card", ""), fields.get("fit", "EXACT"))
    if not asked.target:
        raise errors.InvalidRequest("there is no model: choose one")
    if asked.card and not (asked.card.isascii() and asked.card.isdigit() and len(asked.card) < 10):
        raise errors.InvalidRequest(f"card is {asked.card!r}: choose one, or any")
    if asked.fit not in Fit.__members__:
        raise errors.InvalidRequest(f"fit is {asked.fit!r}: there are {', '.join(Fit.__members__)}")
    return ImageForm(
        image=image,
        target=parse_target(asked.target),
        card=int(asked.card) if asked.card else None,
        fit=Fit[asked.fit],
        asked=asked,
    )
