"""A server as its settings want it: TLS, access, health, reflection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog

from service_kit.address import Address
from service_kit.auth.access import Access, AccessRules
from service_kit.auth.access_file import parse_access_file
from service_kit.auth.roles import ALWAYS_OPEN, OPEN_TO_ALL, REFLECTION, Role
from service_kit.files.watched_file import WatchedFile
from service_kit.server.call_spans import CallSpans
from service_kit.server.credentials import TlsCredentials
from service_kit.server.served_call import FinishedCall
from service_kit.server.server import Server, announce
from service_kit.server.serving_settings import Listening
from service_kit.telemetry.tracing import Tracing

_log = structlog.get_logger(__name__)


class Listener:
    """A server as its settings want it."""

    def __init__(
        self,
        settings: Listening,
        rpcs: Mapping[str, Role | None],
        observers: Sequence[Callable[[FinishedCall], None]] = (),
        *,
        tracing: Tracing | None = None,
    ) -> None:
        """Reads the files; does not listen yet.

        Args:
            settings: of the port.
            rpcs: full method -> role, for all but health and reflection.
            observers: are told of each call at its end.
            tracing: where spans of calls go; None: nobody traces them.

        Raises:
            InvalidRequest: a file cannot be read or is bad.
        """
        self._settings = settings
        # Of the port for probes, once it is open.
        self.health_address: Address | None = None
        self._tls = TlsCredentials(settings.tls) if settings.tls else None
        self._file: WatchedFile[AccessRules] | None = None
        if settings.access_file:
            self._file = WatchedFile(settings.access_file, parse_access_file, "access file")
        table = {**rpcs, **ALWAYS_OPEN, **REFLECTION}
        self._access = Access(table, self._file.load() if self._file else None)
        open_to_all = [rpc for rpc, role in table.items() if role is OPEN_TO_ALL]
        self.server = Server(
            max_message_bytes=settings.max_message_bytes,
            max_connection_streams=settings.max_connection_streams,
            connection_seconds=settings.connection_seconds,
            max_calls=settings.max_calls,
            keepalive=settings.keepalive,
            access=self._access,
            observers=observers,
            spans=CallSpans(tracing.tracer, open_to_all) if tracing else None,
            certificates=bool(settings.tls and settings.tls.client_ca),
        )

    async def start(self, program: str, service_names: Sequence[str]) -> None:
        """Listens and announces it.

        Raises:
            InvalidRequest: an address cannot be listened on.
        """
        settings = self._settings
        if self._tls is None and self._file:
            _log.warning("tokens_are_not_encrypted", address=str(settings.address))
        address = await self.server.start(
            settings.address, service_names, tls=self._tls, reflects=settings.reflects
        )
        if settings.health_address:
            self.health_address = await self.server.start_probed(settings.health_address)
            _log.info("health_listening", address=str(self.health_address))
        announce(program, address)

    async def watch(self, seconds: float = 1.0) -> None:
        """Reads the access file when it has changed, for ever."""
        while self._file:
            await asyncio.sleep(seconds)
            rules = await asyncio.to_thread(self._file.refresh)
            if rules is not None:
                self._access.replace_rules(rules)
