"""Stores in Google's buckets: the same code, over gcsfs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from service_kit import errors
from service_kit.store.artifact_store import ArtifactStore
from service_kit.store.cache import StoreCache
from tests.support.google_storage import BUCKET, GoogleStorage, google_storage
from tests.support.manifests import conversion, graph_file

# Of gcsfs' uploads, which run on a loop of fsspec's own.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
URL = f"gs://{BUCKET}/store"


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleStorage]:
    with google_storage() as (running, address):
        options = {"endpoint_url": address, "token": "anon", "project": "tests"}
        monkeypatch.setitem(fsspec.config.conf, "gs", options)
        yield running


@pytest.fixture
def store(storage: GoogleStorage) -> ArtifactStore:
    return ArtifactStore(URL)


def test_what_was_published_is_what_is_read(store: ArtifactStore, tmp_path: Path) -> None:
    # More than one part.
    content = os.urandom(20 * 2**20)
    store.create()
    published = store.publish("m", conversion(content), graph_file(tmp_path, content))
    assert store.manifest("m", 1) == published
    assert store.graph(published) == content
    cached = ArtifactStore(URL, cache=StoreCache(tmp_path / "cache", 2**30))
    assert cached.graph(published) == content


def test_of_several_publishers_one_gets_a_version_and_the_others_have_left_nothing(
    storage: GoogleStorage, tmp_path: Path
) -> None:
    def publish(number: int) -> int | None:
        folder = tmp_path / str(number)
        folder.mkdir()
        content = f"graph of {number}".encode()
        try:
            ArtifactStore(URL).publish(
                "m", conversion(content), graph_file(folder, content), version=3
            )
        except errors.VersionTaken:
            return None
        return number

    with ThreadPoolExecutor(4) as pool:
        (winner,) = [one for one in pool.map(publish, range(4)) if one is not None]
    store = ArtifactStore(URL)
    assert store.graph(store.manifest("m", 3)) == f"graph of {winner}".encode()
    # The graph, the manifest and its digest.
    assert len(storage.objects) == 3


def test_a_look_is_one_request(
    store: ArtifactStore, storage: GoogleStorage, tmp_path: Path
) -> None:
    for model in ("a", "b", "b"):
        store.publish(model, conversion(), graph_file(tmp_path))
    storage.requests.clear()
    assert {name: list(seen) for name, seen in store.published().items()} == {"a": [1], "b": [1, 2]}
    assert len(storage.requests) == 1


def test_a_number_that_is_used_again_has_another_fingerprint(
    store: ArtifactStore, tmp_path: Path
) -> None:
    store.publish("m", conversion(), graph_file(tmp_path))
    before = store.published()
    store.delete("m", 1)
    assert store.published() == {}
    store.publish("m", conversion(), graph_file(tmp_path))
    assert store.published() != before


def test_a_bucket_that_is_not_there_is_an_error(storage: GoogleStorage) -> None:
    with pytest.raises(errors.StoreUnavailable, match="cannot list the store"):
        ArtifactStore("gs://no-such-bucket/store").published()
