"""What a real store does not do on demand: answers that are lost, clocks that jump."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service_kit import errors
from service_kit.artifacts.manifest import DIGEST_NAME, MANIFEST_NAME, Manifest
from service_kit.store.artifact_store import ArtifactStore
from service_kit.store.connection import StoreConnection
from service_kit.store.local_publisher import Claimed
from service_kit.store.object_publisher import ObjectPublisher
from tests.support.manifests import conversion, graph_file

Put = Callable[..., None]


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return graph_file(tmp_path)


def keys(store: ArtifactStore) -> list[str]:
    return sorted(store._connection.fs.find("/pbserve-tests"))


def plant(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch, put: Callable[[Put, str, bytes], None]
) -> None:
    """Lets `put` happen in place of a put of a manifest."""
    fs = store._connection.fs
    real = fs.pipe_file

    def planted(path: str, value: bytes, **options: Any) -> None:
        if path.endswith(f"/{MANIFEST_NAME}"):
            put(lambda *arguments: real(*arguments, **options), path, value)
        else:
            real(path, value, **options)

    monkeypatch.setattr(fs, "pipe_file", planted)


def test_a_manifest_whose_answer_was_lost_is_there(
    memory_store: ArtifactStore, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(really: Put, path: str, text: bytes) -> None:
        really(path, text)
        raise ConnectionResetError("the answer is lost")

    plant(memory_store, monkeypatch, put)
    published = memory_store.publish("m", conversion(), graph)
    assert published.version == 1
    assert memory_store.graph(memory_store.manifest("m", 1)) == b"graph"


def test_a_repeated_put_that_finds_its_own_manifest_has_not_lost(
    memory_store: ArtifactStore, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(really: Put, path: str, text: bytes) -> None:
        really(path, text)
        really(path, text)

    plant(memory_store, monkeypatch, put)
    assert memory_store.publish("m", conversion(), graph, version=3).version == 3


def test_files_stay_while_nobody_knows_whether_their_manifest_is_there(
    memory_store: ArtifactStore, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(really: Put, path: str, text: bytes) -> None:
        raise TimeoutError("no answer")

    with monkeypatch.context() as patched:
        plant(memory_store, patched, put)
        with pytest.raises(errors.StoreUnavailable, match="no answer"):
            memory_store.publish("m", conversion(), graph)
    files = ["frozen_model.pb", DIGEST_NAME]
    assert [key.rpartition("/")[2] for key in keys(memory_store)] == files
    # The number is free, and the next publication touches nothing of the other's.
    assert memory_store.publish("m", conversion(), graph).version == 1
    assert len(keys(memory_store)) == 5


def test_a_put_that_another_got_in_the_way_of_is_tried_again(
    memory_store: ArtifactStore, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([FileExistsError(), FileExistsError(), None])

    def put(really: Put, path: str, text: bytes) -> None:
        answer = next(answers)
        if answer is not None:
            raise answer
        really(path, text)

    plant(memory_store, monkeypatch, put)
    assert memory_store.publish("m", conversion(), graph, version=2).version == 2


def test_who_comes_second_removes_its_own_files_and_no_others(
    memory_store: ArtifactStore, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: list[Manifest] = []
    second = ArtifactStore(memory_store.url)

    begun: list[str] = []

    def put(really: Put, path: str, text: bytes) -> None:
        if not begun:
            begun.append(path)
            # Through the same planted put, which lets it pass.
            first.append(second.publish("m", conversion(), graph, version=1))
        really(path, text)

    plant(memory_store, monkeypatch, put)
    with pytest.raises(errors.VersionTaken):
        memory_store.publish("m", conversion(), graph, version=1)
    assert keys(memory_store) == [
        f"/pbserve-tests/m/1/{first[0].folder}/frozen_model.pb",
        f"/pbserve-tests/m/1/{first[0].folder}/{DIGEST_NAME}",
        "/pbserve-tests/m/1/manifest.json",
    ]


def test_an_upload_of_half_a_day_is_not_published(memory_store: ArtifactStore, graph: Path) -> None:
    times = iter([0.0, 13 * 3600.0])
    slow = ObjectPublisher(StoreConnection(memory_store.url), clock=lambda: next(times))
    document = ArtifactStore("memory://elsewhere").publish("m", conversion(), graph)
    with pytest.raises(TimeoutError, match="half a day"):
        slow.publish(document, graph.parent)
    assert keys(memory_store) == []


def test_a_version_that_is_there_costs_no_upload(
    memory_store: ArtifactStore, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = memory_store.publish("m", conversion(), graph)

    def upload(*arguments: Any, **options: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(memory_store._connection.fs, "put_file", upload)
    with pytest.raises(Claimed):
        ObjectPublisher(StoreConnection(memory_store.url)).publish(document, graph.parent)


def test_an_artifact_whose_manifest_is_damaged_can_be_deleted(
    memory_store: ArtifactStore, graph: Path
) -> None:
    memory_store.publish("m", conversion(), graph)
    memory_store._connection.fs.pipe_file("/pbserve-tests/m/1/manifest.json", b"{")
    memory_store.delete("m", 1)
    assert memory_store.versions("m") == []


def test_one_damaged_manifest_does_not_end_a_sweep(
    memory_store: ArtifactStore, graph: Path
) -> None:
    fs = memory_store._connection.fs
    memory_store.publish("m", conversion(), graph)
    fs.pipe_file(f"/pbserve-tests/m/1/{'a' * 32}/frozen_model.pb", b"torn")
    fs.pipe_file("/pbserve-tests/m/1/manifest.json", b"{")
    fs.pipe_file(f"/pbserve-tests/n/1/{'b' * 32}/frozen_model.pb", b"torn")
    ObjectPublisher(StoreConnection(memory_store.url), clock=lambda: 2e10).sweep()
    assert not any("/n/" in key for key in keys(memory_store))
    assert len(keys(memory_store)) == 4
