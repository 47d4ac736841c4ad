"""What the second port of the inference service shows, and its name in the log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from inference_service.addresses import DEFAULT_METRICS_ADDRESS
from inference_service.protocols.shared.core import Core
from inference_service.settings import InferenceSettings
from inference_service.status_page.pages import StatusPage
from inference_service.status_page.report import ServerFacts
from service_kit import __version__
from service_kit.http import http_port
from service_kit.http.http_server import Pages
from service_kit.http.metrics_page import METRICS_PATH


class HttpPort(http_port.HttpPort):
    """The status page, where it is wanted, and what else is given."""

    def __init__(
        self, settings: InferenceSettings, core: Core, *, cores: int, others: Sequence[Pages] = ()
    ) -> None:
        """Builds the pages of `core`, beside `others`; listens to nothing yet."""
        self._shows_status = settings.status_page
        super().__init__(
            [*_pages(settings, core, cores), *others],
            settings.serving.metrics_address,
            default=DEFAULT_METRICS_ADDRESS,
        )

    def announce_pages(self) -> None:
        """Prints where there is what, if the port is open."""
        if self._shows_status:
            self.announce("pbserve", "status page")
        else:
            self.announce("pbserve", "metrics", METRICS_PATH)


def _pages(settings: InferenceSettings, core: Core, cores: int) -> list[Pages]:
    """Returns the status page, unless it is not wanted."""
    listening = settings.serving.listening
    pages: list[Pages] = []
    if settings.status_page:
        facts = ServerFacts(
            version=__version__,
            started_at=datetime.now(timezone.utc),
            cores=cores,
            devices=str(settings.devices),
        )
        # A browser shows neither token nor certificate: it must not get what others need one for.
        checked = listening.access_file or (listening.tls and listening.tls.client_ca)
        pages.append(
            StatusPage(core, facts, max_bytes=listening.max_message_bytes, takes_images=not checked)
        )
    return pages
