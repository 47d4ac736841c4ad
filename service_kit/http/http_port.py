"""The second port of a service, over HTTP: what people and scrapers look at."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from service_kit import errors
from service_kit.address import Address
from service_kit.http.http_server import HttpServer, Pages, announce_http

_log = structlog.get_logger(__name__)


class HttpPort:
    """Opens the port, if there is something to see."""

    def __init__(self, pages: Sequence[Pages], wanted: Address, *, default: str) -> None:
        """Prepares `pages` on the address `wanted`; listens to nothing yet.

        Args:
            pages: empty: the port stays closed.
            wanted: where.
            default: the address that nobody had to ask for.
        """
        self._pages = pages
        self._wanted = wanted
        self._default = default
        self._server: HttpServer | None = None
        self._address: Address | None = None

    async def start(self) -> None:
        """Listens, if there is anything to see.

        The default address may be taken by another server of this machine, whose owner never
        thought of it: then the port is left out. Who asks for another address gets it, or an error.

        Raises:
            InvalidRequest: an address other than the default one cannot be listened on.
        """
        if not self._pages:
            return
        server = HttpServer(self._pages)
        try:
            self._address = await server.start(self._wanted)
        except errors.InvalidRequest as error:
            if str(self._wanted) != self._default:
                raise
            _log.warning(
                "no_http_port", message=f"{error}; --metrics-listen gives it another address"
            )
        else:
            self._server = server

    def announce(self, program: str, what: str, path: str = "/") -> None:
        """Prints where `what` is to be seen, if the port is open."""
        if self._address:
            announce_http(program, what, self._address, path)

    async def stop(self) -> None:
        """Closes the port, if it is open."""
        if self._server:
            await self._server.stop()
