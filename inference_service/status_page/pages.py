"""HTTP edge of the status page: collects, asks, renders."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import TypeVar

import structlog
from aiohttp import web

from inference_service.cards.card import Card
from inference_service.models.status import ModelStatus
from inference_service.protocols.shared.core import Core
from inference_service.status_page.image_form import ImageForms
from inference_service.status_page.places import Places
from inference_service.status_page.rates import LOOK_SECONDS, Rates
from inference_service.status_page.rendering import Asked, Renderer, Shown, as_json, assets
from inference_service.status_page.report import ServerFacts, StatusReport, status_report
from inference_service.status_page.slow_senders import SlowSenders
from service_kit.http.http_status import http_status, retry_headers
from service_kit.server.health import OVERALL
from service_kit.server.incidents import describe_error

_log = structlog.get_logger(__name__)

Result = TypeVar("Result")

# What is drawn, and images that are being sent, or answered, at the same time. The page is drawn in
# milliseconds; each image may take a message's memory.
_MAX_READERS = 16
_MAX_SENDERS = 8
_MAX_IMAGES = 4


def _utc() -> datetime:
    return datetime.now(timezone.utc)


class StatusPage:
    """Shows what one core serves, and sends it single images. Belongs to the event loop."""

    def __init__(
        self,
        core: Core,
        facts: ServerFacts,
        *,
        max_bytes: int,
        takes_images: bool = True,
        now: Callable[[], datetime] = _utc,
    ) -> None:
        """Prepares the page.

        Args:
            core: what is shown and asked.
            facts: what does not change.
            max_bytes: of an image file.
            takes_images: whether the page has the form; without it nothing can be asked.
            now: the time of day, in UTC.
        """
        self._core = core
        self._facts = facts
        self._now = now
        self._rates = Rates()
        self._forms = ImageForms(core, max_bytes=max_bytes)
        self._readers = Places(_MAX_READERS, "readers")
        self._senders = SlowSenders(_MAX_SENDERS)
        self._images = Places(_MAX_IMAGES, "images")
        self._takes_images = takes_images
        self._renderer = Renderer(max_bytes=max_bytes, takes_images=takes_images)
        self._assets = assets()
        # One: however many look, they take no more than one core, and no thread of anybody else.
        self._rendering = ThreadPoolExecutor(1, thread_name_prefix="status-page")

    def add_to(self, application: web.Application) -> None:
        """See `service_kit.http.http_server.Pages`."""
        application.router.add_get("/", self._show)
        application.router.add_get("/status.json", self._json)
        application.router.add_get("/static/{name}", self._asset)
        if self._takes_images:
            application.router.add_post("/predict", self._predict)
        application.cleanup_ctx.append(self._looking)

    async def _show(self, _: web.Request) -> web.Response:
        with self._readers.one():
            return await self._html(200, Asked(), None)

    async def _json(self, _: web.Request) -> web.Response:
        with self._readers.one():
            body = await self._rendered(as_json)
        return web.Response(text=body, content_type="application/json")

    async def _asset(self, request: web.Request) -> web.Response:
        asset = self._assets.get(request.match_info["name"])
        if asset is None:
            raise web.HTTPNotFound
        return web.Response(body=asset.content, content_type=asset.content_type, charset="utf-8")

    async def _predict(self, request: web.Request) -> web.Response:
        """Answers a form with the whole page: it works without a script, too."""
        asked = Asked()
        try:
            form = await self._senders.read(self._forms.read(request))
            asked = form.asked
            with self._images.one():
                shown, status = await self._forms.answer(form), 200
        except Exception as error:
            described = describe_error(error, request.path)
            shown, status = Shown(error=described.message), http_status(described)
            return await self._html(status, asked, shown, retry_headers(described))
        return await self._html(status, asked, shown)

    async def _html(
        self,
        status: int,
        asked: Asked,
        shown: Shown | None,
        headers: Mapping[str, str] | None = None,
    ) -> web.Response:
        page = await self._rendered(partial(self._renderer.page, asked=asked, shown=shown))
        return web.Response(status=status, text=page, content_type="text/html", headers=headers)

    async def _rendered(self, render: Callable[[StatusReport], Result]) -> Result:
        """Collects on the event loop what belongs to it; the rest is another thread's work."""
        statuses = self._statuses()
        collect = partial(
            status_report,
            self._facts,
            statuses,
            self._core.problems(),
            self._rates.of(_cards(statuses)),
            ready=self._core.health.is_serving(OVERALL),
            at=self._now(),
        )
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._rendering, lambda: render(collect()))

    def _statuses(self) -> list[ModelStatus]:
        statuses = self._core.registry.statuses()
        # The registry goes on changing its labels while others read them.
        return [replace(status, labels=dict(status.labels)) for status in statuses]

    async def _looking(self, _: web.Application) -> AsyncIterator[None]:
        """Looks at the cards for as long as the server runs."""
        looking = asyncio.create_task(self._look_again_and_again())
        yield
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
        self._rendering.shutdown(wait=False, cancel_futures=True)

    async def _look_again_and_again(self) -> None:
        while True:
            try:
                self._rates.look(_cards(self._core.registry.statuses()), time.monotonic())
            except Exception:
                # Rates are not worth a page that does not end with the server.
                _log.exception("look_failed")
            await asyncio.sleep(LOOK_SECONDS)


def _cards(statuses: Sequence[ModelStatus]) -> list[Card]:
    servables = [version.servable for model in statuses for version in model.versions]
    return [card for servable in servables if servable for card in servable.cards]
