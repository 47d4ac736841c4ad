"""The store's volume goes away under an exporter and a server, and comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter_service.client import ExporterClient
from inference_service.client import InferenceClient
from service_kit import errors
from service_kit.artifacts.manifest import Manifest
from tests.faults.conftest import Arena
from tests.support.digits import GOLDEN, digits_request
from tests.support.fault_checks import answers_right, states, until
from tests.support.services import Service, running


def convert(exporter: Service) -> Manifest:
    with ExporterClient(exporter.address) as client:
        *_, manifest = client.convert(digits_request())
    assert isinstance(manifest, Manifest)
    return manifest


def test_nothing_is_published_or_unloaded_while_the_volume_is_away(
    arena: Arena, good: bytes, tmp_path: Path
) -> None:
    arena.publish("good", good)
    mount, volume = Path(arena.store.url), tmp_path / "volume"
    options = ("--store", str(mount), "--checkpoint-root", str(GOLDEN))
    with (
        running("exporter_service", *options, log=tmp_path / "exporter") as exporter,
        arena.serving() as server,
        InferenceClient(server.address) as client,
    ):
        first = convert(exporter)
        # What every caller may read has no path of the exporter's machine.
        assert first.checkpoint.path == "ckpt_ema/model.ckpt-300"
        client.wait_until_ready("good")
        until(lambda: states(client, first.model) == {1: "AVAILABLE"})
        mount.rename(volume)
        mount.mkdir()
        with pytest.raises(errors.StoreUnavailable, match="still mounted"):
            convert(exporter)
        assert list(mount.iterdir()) == []
        until(lambda: any("still mounted" in one for one in client.problems()))
        assert answers_right(client, "good")
        assert states(client, first.model) == {1: "AVAILABLE"}
        mount.rmdir()
        volume.rename(mount)
        assert convert(exporter).version == 2
        until(lambda: states(client, first.model).get(2) == "AVAILABLE")
