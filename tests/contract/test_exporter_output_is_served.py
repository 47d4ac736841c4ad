"""What the exporter publishes, the inference service loads: through a store, without a wire."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exporter_service.specs.conversion import TowerOptions
from inference_service.cards.card_spec import CardLimits
from inference_service.engine.devices import parse_devices
from inference_service.engine.tensorflow import TensorFlowEngines
from inference_service.loading.loader import Loader
from inference_service.loading.rules import LoadOptions
from inference_service.models.servable import Servable
from service_kit.artifacts.manifest import ArchitectureSpec, MovingAverageMode
from service_kit.store.artifact_store import ArtifactStore
from tests.conftest import Converted
from tests.support.cards import submit
from tests.support.digits import PARITY, SPEC, convert_and_prove, digits_spec, expected


def served(store: ArtifactStore, model: str, devices: str = "cpu:2") -> Servable:
    """Returns version 1 as a server with so many lanes of the CPU has it, in batches of 8."""
    engines = TensorFlowEngines(parse_devices(devices), cores=2)
    loaded = Loader(store, engines).load(model, 1, LoadOptions(2, replicate=True))
    return Servable(loaded, lambda _: CardLimits(8))


@pytest.mark.parametrize("kind", ["store", "memory_store"])
@pytest.mark.parametrize(
    ("checkpoint", "cards", "layout"),
    [
        ("ckpt_ema", 1, "NHWC"),
        ("ckpt_ema", 3, "NHWC"),
        ("ckpt_v1", 2, "NHWC"),
        ("ckpt_ema", 2, "NCHW"),
    ],
)
def test_every_card_of_what_is_published_answers(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    kind: str,
    checkpoint: str,
    cards: int,
    layout: str,
) -> None:
    store: ArtifactStore = request.getfixturevalue(kind)
    spec = ArchitectureSpec("densenet", {**SPEC.parameters, "data_format": layout})
    conversion_spec = digits_spec(checkpoint, MovingAverageMode.AUTO, cards, spec)
    done = convert_and_prove(conversion_spec, tmp_path)
    store.publish("digits", done, tmp_path / done.graph.file_name)
    servable = served(store, "digits")
    golden = (
        expected()["probs_ema"] if checkpoint == "ckpt_ema" else expected("expected_v1")["probs"]
    )
    for card in servable.cards:
        answer = submit(card, {"input": expected()["images"]}).result(60)
        assert np.abs(answer.outputs["probs"] - golden).max() < PARITY
        assert answer.batch_size == 8
    servable.close()


@pytest.mark.parametrize(
    ("devices", "towers", "cards"), [("cpu:4", 2, 4), ("cpu:1", 4, 4), ("cpu:2", 1, 2)]
)
def test_all_cards_are_served_whatever_the_devices(
    store: ArtifactStore, tmp_path: Path, devices: str, towers: int, cards: int
) -> None:
    done = convert_and_prove(digits_spec(cards=towers), tmp_path)
    store.publish("digits", done, tmp_path / done.graph.file_name)
    servable = served(store, "digits", devices)
    assert len(servable.cards) == cards
    images = expected()["images"][:24]
    for card in servable.cards:
        answer = submit(card, {"input": images}).result(60)
        assert answer.card == card.index
        assert np.abs(answer.outputs["probs"] - expected()["probs_ema"][:24]).max() < PARITY
    servable.close()


def test_a_training_graph_for_images_of_any_size_in_bytes_is_served(
    store: ArtifactStore, tmp_path: Path
) -> None:
    conversion_spec = digits_spec(
        architecture=SPEC,
        towers=TowerOptions(cards=2, free_image_size=True, input_dtype="uint8"),
    )
    done = convert_and_prove(conversion_spec, tmp_path)
    store.publish("any-size", done, tmp_path / done.graph.file_name)
    servable = served(store, "any-size")
    images = expected()["images"][:9].astype(np.uint8)
    for card in servable.cards:
        answer = submit(card, {"input": images}).result(60)
        assert np.abs(answer.outputs["probs"] - expected()["probs_ema"][:9]).max() < PARITY
        larger = submit(card, {"input": np.ones((2, 40, 48, 3), np.uint8)}).result(60)
        assert larger.outputs["probs"].shape == (2, 10)
    servable.close()


def test_a_graph_from_the_meta_alone_is_served(store: ArtifactStore, tmp_path: Path) -> None:
    conversion_spec = digits_spec(
        architecture=ArchitectureSpec("META_GRAPH", {}),
        towers=TowerOptions(cards=2),
        preprocessing=None,
    )
    done = convert_and_prove(conversion_spec, tmp_path)
    store.publish("meta", done, tmp_path / done.graph.file_name)
    servable = served(store, "meta")
    for card in servable.cards:
        answer = submit(card, {"input": expected()["images"]}).result(60)
        assert np.abs(answer.outputs["probs"] - expected()["probs_ema"]).max() < PARITY
    servable.close()


@pytest.mark.parametrize("padded_sizes", [(), (1, 2, 4, 8, 16)], ids=["as they come", "padded"])
def test_an_answer_does_not_depend_on_its_company(
    store: ArtifactStore, converted_ema: Converted, padded_sizes: tuple[int, ...]
) -> None:
    store.publish("digits", converted_ema.conversion, converted_ema.path)
    servable = served(store, "digits")
    images = expected()["images"][:15]
    card = servable.cards[0]
    card.limits = CardLimits(1)
    alone = [submit(card, {"input": one[None]}).result(60) for one in images]
    assert {one.batch_size for one in alone} == {1}
    sizes = set()
    for limit in (3, 5, 7, 11, 15):
        card.limits = CardLimits(limit, padded_sizes=padded_sizes)
        together = submit(card, {"input": images}).result(60)
        sizes.add(together.batch_size)
        for number, one in enumerate(alone):
            np.testing.assert_allclose(
                together.outputs["probs"][number], one.outputs["probs"][0], rtol=0, atol=1e-6
            )
    assert sizes == {3, 5, 7, 11, 15}
    servable.close()
