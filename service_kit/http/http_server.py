"""A small HTTP server on the event loop of a service, for what people and scrapers look at."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from service_kit.address import Address, cannot_listen
from service_kit.http.http_guard import add_headers, guard

_log = structlog.get_logger(__name__)

# Seconds that an idle connection is kept: longer than a page's or a scraper's pause.
_KEEP_ALIVE = 75.0
# Seconds that answers in flight have at the end.
_GRACE = 5.0
# Of a message about what somebody sent.
_LOGGED_CHARACTERS = 200


class Pages(Protocol):
    """Something to look at."""

    def add_to(self, application: web.Application) -> None:
        """Adds the routes, and what has to run beside them."""


class HttpServer:
    """Pages on one address. Belongs to the event loop."""

    def __init__(self, pages: Sequence[Pages]) -> None:
        """Prepares `pages`; nothing is listened on yet."""
        self._loopback = True
        application = web.Application(middlewares=[guard(bound_to_loopback=lambda: self._loopback)])
        application.on_response_prepare.append(add_headers)
        for one in pages:
            one.add_to(application)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            logger=_aiohttp_log(),
            shutdown_timeout=_GRACE,
            keepalive_timeout=_KEEP_ALIVE,
            # A body is what was sent: a few kilobytes must not become gigabytes.
            auto_decompress=False,
        )

    async def start(self, address: Address) -> Address:
        """Starts to listen; returns the real address.

        Raises:
            InvalidRequest: the address cannot be listened on.
        """
        # Until it is known where, only requests that name this machine are answered.
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, address.host, address.port).start()
        except (OSError, OverflowError, UnicodeError) as error:
            await self._runner.cleanup()
            raise cannot_listen(address, error) from error
        bound = self._runner.addresses
        self._loopback = all(Address(str(one[0]), 0).is_loopback for one in bound)
        if not self._loopback:
            _log.warning("http_is_open_to_others", address=str(address))
        return Address(address.host, int(bound[0][1]))

    async def stop(self) -> None:
        """Ends: no new connections, then the answers in flight, then what ran beside them."""
        await self._runner.cleanup()


def announce_http(program: str, what: str, address: Address, path: str = "/") -> None:
    """Prints where `what` is to be seen: one line on standard output, below that of the service."""
    print(f"{program} {what} on http://{address}{path}", flush=True)


class _ToStructlog(logging.Handler):
    """Takes what aiohttp has to say of requests that reach no page."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            # Not HTTP, or not well-formed: whoever sends it decides how often, so in one line.
            _log.info("bad_http_request", message=repr(error)[:_LOGGED_CHARACTERS])
        else:
            _log.error("http_failed", message=record.getMessage(), exc_info=error)


def _aiohttp_log() -> logging.Logger:
    log = logging.getLogger(f"{__name__}.aiohttp")
    log.propagate = False
    log.handlers = [_ToStructlog()]
    return log
