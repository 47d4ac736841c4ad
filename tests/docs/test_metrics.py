"""The reference of metrics lists exactly what the servers have."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client.core import Metric

from exporter_service.composition import ExporterService
from exporter_service.settings import ExporterSettings
from service_kit.address import Address
from service_kit.server.serving_settings import Listening, Serving
from service_kit.store.artifact_store import ArtifactStore
from tests.support.inference_server import InferenceServer, inference_server
from tests.support.markdown import ROOT

PAGE = ROOT / "docs" / "operate" / "metrics.md"
ROW = re.compile(
    r"\| `(?P<name>\w+)` \| (?P<kind>\w+) \| (?P<labels>[^|]*) \| (?P<unit>[^|]*) "
    r"\| (?P<meaning>.*) \|"
)
Row = tuple[str, str, tuple[str, ...], str, str]
UNITS = ("seconds", "bytes", "images")


def unit(name: str) -> str:
    words = name.removesuffix("_total").removesuffix("_limit").split("_")
    return next((word for word in words[-2:] if word in UNITS), "")


def exposed(families: Iterable[Metric]) -> set[Row]:
    return {
        (
            name := family.name + ("_total" if family.type == "counter" else ""),
            family.type,
            # What queries have, whether or not there is a sample now.
            tuple(getattr(family, "_labelnames", ())),
            unit(name),
            family.documentation.replace("|", ""),
        )
        for family in families
    }


def documented(heading: str) -> set[Row]:
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return {
        (
            row["name"],
            row["kind"],
            tuple(re.findall(r"`(\w+)`", row["labels"])),
            row["unit"].strip(),
            row["meaning"],
        )
        for row in ROW.finditer(section)
    }


@pytest.fixture
def exporter_metrics(tmp_path: Path) -> ExporterSettings:
    here = Address("127.0.0.1", 0)
    return ExporterSettings(
        serving=Serving(Listening(here), here),
        store=str(tmp_path / "models"),
        checkpoint_roots=(tmp_path,),
        spare_workers=0,
    )


def process_metrics(rows: set[Row]) -> set[Row]:
    return {row for row in rows if row[0].startswith("process_")}


def test_the_inference_services_metrics_are_documented(
    store: ArtifactStore, tmp_path: Path
) -> None:
    with inference_server(store, tmp_path) as server:
        found = exposed(server.on_loop(lambda: families(server)))
    own = found - process_metrics(found)
    assert documented("Inference service") == own
    assert documented("Both: the process") == process_metrics(found)


def families(server: InferenceServer) -> list[Metric]:
    return server.metrics.page(server.core, server.counts).collect()


async def test_the_exporters_metrics_are_documented(exporter_metrics: ExporterSettings) -> None:
    found = exposed(ExporterService(exporter_metrics).metrics.collect())
    assert documented("Exporter") == found - process_metrics(found)
