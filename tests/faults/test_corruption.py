"""Artifacts that were damaged anywhere: what is served is what was published, or nothing."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from inference_service.client import InferenceClient
from service_kit import errors
from service_kit.artifacts.manifest import DIGEST_NAME, MANIFEST_NAME
from service_kit.store.artifact_store import ArtifactStore
from tests.faults.conftest import Arena
from tests.support.engines import pixels
from tests.support.fault_checks import answers_right, states, until
from tests.support.hostile_graphs import plain

CASES = 600
SERVED_CASES = 10
FILES = ("frozen_model.pb", MANIFEST_NAME, DIGEST_NAME)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Returns other bytes."""
    place = chance.randrange(len(content))
    length = chance.choice([1, 1, 1, 8, 64])
    changes = (
        content[:place]
        + bytes([content[place] ^ (1 << chance.randrange(8))])
        + content[place + 1 :],
        content[:place],
        content[:place] + chance.randbytes(length) + content[place:],
        content[:place] + content[place + length :],
        content[:place] + bytes(length) + content[place + length :],
        content + chance.randbytes(length),
        b"",
    )
    found = chance.choice(changes)
    return found if found != content else content + b"\0"


def test_damage_is_found_or_changes_nothing(arena: Arena, good: bytes) -> None:
    arena.publish("m", good)
    folder = Path(arena.store.url) / "m" / "1"
    document = arena.store.manifest("m", 1)
    found = 0
    for seed in range(CASES):
        chance = random.Random(seed)  # noqa: S311 - to be repeated
        path = folder / chance.choice(FILES)
        whole = path.read_bytes()
        path.write_bytes(damaged(whole, chance))
        reader = ArtifactStore(arena.store.url)
        try:
            read = reader.manifest("m", 1)
            assert read == document, f"seed {seed}"
            assert reader.graph(read) == good, f"seed {seed}"
        except (errors.ArtifactCorrupt, errors.ArtifactNotFound):
            found += 1
        path.write_bytes(whole)
    # White space at the end of a digest's file is none.
    assert found > 0.95 * CASES


def test_a_server_serves_none_of_many_damaged_artifacts(arena: Arena, good: bytes) -> None:
    arena.publish("good", good)
    for seed in range(SERVED_CASES):
        chance = random.Random(seed)  # noqa: S311 - to be repeated
        model = f"damaged-{seed}"
        arena.publish(model, plain(float(seed)))
        path = Path(arena.store.url) / model / "1" / chance.choice(FILES[:2])
        path.write_bytes(damaged(path.read_bytes(), chance))
    with arena.serving() as server, InferenceClient(server.address) as client:
        client.wait_until_ready("good")
        for seed in range(SERVED_CASES):
            model = f"damaged-{seed}"
            until(lambda: states(client, model).get(1) == "FAILED")  # noqa: B023
            with pytest.raises(errors.ModelUnavailable):
                client.predict(model, pixels(1), timeout=1)
        assert answers_right(client, "good")
        # What is published anew is served.
        shutil.rmtree(Path(arena.store.url) / "damaged-0")
        arena.publish("damaged-0", plain(5.0))
        until(lambda: states(client, "damaged-0").get(1) == "AVAILABLE")
        assert answers_right(client, "damaged-0", 5.0)
