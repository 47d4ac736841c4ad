"""Swaps under load, with real processes: nothing fails, nothing is wrong, memory comes back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from inference_service.client import InferenceClient
from service_kit.store.artifact_store import ArtifactStore
from tests.conftest import Converted
from tests.support.digits import PARITY, expected
from tests.support.services import resident_bytes, running

SWAPS = 200
# Memory is compared from here on: until then allocators and caches fill up.
SETTLED = 20


class Load:
    """A steady stream of single images, each answer checked against the version it names."""

    def __init__(self, address: str) -> None:
        self.ended = threading.Event()
        self.answered: dict[int, int] = {}
        self.problems: list[str] = []
        self._thread = threading.Thread(target=self._run, args=(address,))
        self._thread.start()

    def _run(self, address: str) -> None:
        # Odd versions have moving averages, even ones have not.
        golden = [expected()["probs_raw"], expected()["probs_ema"]]
        with InferenceClient(address) as client:
            for answer in client.stream("digits", self._images(), window=8):
                if answer.prediction is None:
                    self.problems.append(f"image {answer.index}: {answer.error}")
                    continue
                version = answer.prediction.version
                probs = answer.prediction.outputs["probs"][0]
                if np.abs(probs - golden[version % 2][answer.index % 297]).max() > PARITY:
                    self.problems.append(f"image {answer.index} is not version {version}'s")
                self.answered[version] = self.answered.get(version, 0) + 1

    def _images(self) -> Iterator[np.ndarray]:
        images, number = expected()["images"], 0
        while not self.ended.is_set():
            yield images[number % 297 : number % 297 + 1]
            number += 1

    def end(self) -> None:
        self.ended.set()
        self._thread.join(60)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_hundred_swaps_fail_nothing_and_keep_no_memory(
    store: ArtifactStore, tmp_path: Path, converted_ema: Converted, converted_raw: Converted
) -> None:
    def publish(version: int) -> None:
        made = converted_ema if version % 2 else converted_raw
        assert store.publish("digits", made.conversion, made.path).version == version
        # A store does not grow for ever either.
        if version > 2:
            store.delete("digits", version - 2)

    publish(1)
    options = ("--store", store.url, "--poll", "0.05")
    log = tmp_path / "log"
    with (
        running("inference_service", *options, log=log) as service,
        InferenceClient(service.address) as client,
    ):
        client.wait_until_ready("digits")
        load = Load(service.address)
        resident = {}
        for version in range(2, SWAPS + 2):
            publish(version)
            while [one.version for one in client.model("digits").versions] != [version]:
                threading.Event().wait(0.02)
            resident[version - 1] = resident_bytes(service)
        load.end()
    ratio = resident[SWAPS] / resident[SETTLED]
    print(f"{sum(load.answered.values())} answers, {ratio=:.3f}", resident)
    assert load.problems == []
    assert load.answered.keys() >= set(range(2, SWAPS + 1))
    assert ratio <= 1.15
