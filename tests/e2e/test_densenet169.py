"""The recipe's own case: DenseNet-169, 2 classes, 256x256, two cards, a 200 MB checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exporter_service.client import ExporterClient
from exporter_service.specs.conversion import TowerOptions
from inference_service.client import InferenceClient
from service_kit.artifacts.manifest import Manifest, MovingAverageMode
from service_kit.store.artifact_store import ArtifactStore
from tests.support.densenet169 import SIDE, convert_densenet169
from tests.support.digits import digits_request
from tests.support.random_checkpoint import STEP, write_random_checkpoint
from tests.support.services import resident_bytes, running

SLOTS = ("/Adam", "/Adam_1", "/ExponentialMovingAverage")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_recipes_own_model_is_converted_and_served_on_two_cards(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    spec = write_random_checkpoint(tmp_path / "run", "densenet169", SLOTS)
    store = ("--store", str(tmp_path / "models"))
    roots = ("--checkpoint-root", str(tmp_path))
    manifests = []
    with (
        running("exporter_service", *store, *roots, log=tmp_path / "exporter.log") as exporter,
        running("inference_service", *store, log=tmp_path / "inference.log") as inference,
        ExporterClient(exporter.address) as exporter_client,
        InferenceClient(inference.address) as client,
    ):
        for cards in (1, 2):
            request = digits_request(
                model=f"cards-{cards}",
                checkpoint="run",
                architecture=spec,
                towers=TowerOptions(image_size=(256, 256), cards=cards),
                moving_average=MovingAverageMode.REQUIRED,
            )
            *_, manifest = exporter_client.convert(request)
            assert isinstance(manifest, Manifest)
            manifests.append(manifest)
        single, double = manifests
        assert double.checkpoint.global_step == STEP
        assert (double.moving_average.from_shadow, double.moving_average.from_own_key) == (508, 338)
        assert double.graph.size_bytes <= 1.03 * single.graph.size_bytes
        assert double.parity.passed
        print(single.graph, double.graph)

        client.wait_until_ready("cards-2", timeout=300)
        images = np.random.default_rng(0).uniform(0, 255, (3, 256, 256, 3)).astype(np.float32)
        answers = [client.predict("cards-2", images, card=card) for card in (0, 1)]
        np.testing.assert_allclose(answers[0].outputs["probs"].sum(axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(
            answers[0].outputs["probs"], answers[1].outputs["probs"], atol=1e-6
        )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_four_cards_on_the_cpu_take_at_most_a_third_more_memory_than_one(
    store: ArtifactStore, tmp_path: Path
) -> None:
    store.publish("densenet169", *convert_densenet169(tmp_path, cards=1))
    image = np.random.default_rng(0).uniform(0, 255, (1, SIDE, SIDE, 3)).astype(np.float32)
    resident = {}
    for cards in (1, 4):
        # Larger batches take memory, too, and how large they get is measured.
        options = ("--store", store.url, "--devices", f"cpu:{cards}", "--max-batch-size", "1")
        with (
            running("inference_service", *options, log=tmp_path / "log") as service,
            InferenceClient(service.address) as client,
        ):
            client.wait_until_ready("densenet169", timeout=300)
            answers = [client.predict("densenet169", image, card=n) for n in range(cards)]
            for answer in answers:
                np.testing.assert_allclose(
                    answer.outputs["probs"], answers[0].outputs["probs"], atol=1e-6
                )
            resident[cards] = resident_bytes(service)
    print({cards: f"{size / 2**20:.0f} MB" for cards, size in resident.items()})
    assert resident[4] <= 1.35 * resident[1]
