"""Both services as processes, with the digits served: what the documentation's examples ask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from exporter_service.client import ExporterClient
from inference_service.client import InferenceClient
from tests.support.digits import GOLDEN, digits_request
from tests.support.services import running


@dataclass(frozen=True)
class Services:
    """Addresses, host:port."""

    exporter: str
    inference: str

    def in_place_of_the_defaults(self, text: str) -> str:
        """Returns text with the addresses of these services instead of those of `make serve`."""
        return text.replace("127.0.0.1:8600", self.exporter).replace(
            "127.0.0.1:8500", self.inference
        )


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("documented")
    store = str(folder / "models")
    with (
        running(
            "exporter_service",
            *("--store", store, "--checkpoint-root", str(GOLDEN)),
            log=folder / "exporter.log",
        ) as exporter,
        running("inference_service", "--store", store, log=folder / "inference.log") as inference,
        ExporterClient(exporter.address) as converter,
        InferenceClient(inference.address) as client,
    ):
        *_, _ = converter.convert(digits_request(model="digits"))
        client.wait_until_ready("digits")
        # Examples publish versions of their own; what others ask stays the same.
        client.set_label("digits", "default", 1)
        yield Services(exporter.address, inference.address)
