from __future__ import annotations

import os
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from service_kit import errors
from service_kit.artifacts.manifest import DIGEST_NAME, MANIFEST_NAME
from service_kit.store.artifact_store import ArtifactStore
from service_kit.store.local_mark import MARK
from service_kit.store.local_publisher import LocalPublisher
from tests.support.manifests import conversion, graph_file


@pytest.fixture(params=["store", "memory_store"])
def any_store(request: pytest.FixtureRequest) -> ArtifactStore:
    opened = request.getfixturevalue(request.param)
    assert isinstance(opened, ArtifactStore)
    return opened


def test_versions_count_up_from_one(any_store: ArtifactStore, tmp_path: Path) -> None:
    graph = graph_file(tmp_path)
    numbers = [any_store.publish("m", conversion(), graph).version for _ in range(3)]
    assert numbers == [1, 2, 3]
    assert any_store.versions("m") == [1, 2, 3]


def test_what_was_published_is_what_is_read(any_store: ArtifactStore, tmp_path: Path) -> None:
    published = any_store.publish("m", conversion(b"abc"), graph_file(tmp_path, b"abc"))
    read = any_store.manifest("m", 1)
    assert read == published
    assert any_store.graph(read) == b"abc"


def test_a_named_version_is_taken_once(any_store: ArtifactStore, tmp_path: Path) -> None:
    graph = graph_file(tmp_path)
    assert any_store.publish("m", conversion(), graph, version=7).version == 7
    with pytest.raises(errors.VersionTaken, match="version 7 of model m"):
        any_store.publish("m", conversion(), graph, version=7)
    assert any_store.publish("m", conversion(), graph).version == 8


@pytest.mark.parametrize("version", [0, -1, 2**63])
def test_versions_are_positive(any_store: ArtifactStore, tmp_path: Path, version: int) -> None:
    with pytest.raises(errors.InvalidRequest, match="versions begin at 1"):
        any_store.publish("m", conversion(), graph_file(tmp_path), version=version)


def test_a_model_name_never_leads_out_of_the_store(
    any_store: ArtifactStore, tmp_path: Path
) -> None:
    for call in (
        lambda: any_store.publish("../up", conversion(), graph_file(tmp_path)),
        lambda: any_store.manifest("../up", 1),
        lambda: any_store.delete("../up", 1),
    ):
        with pytest.raises(errors.InvalidRequest):
            call()


def test_a_directory_without_a_manifest_does_not_exist(store: ArtifactStore) -> None:
    folder = Path(store.url) / "m" / "4"
    folder.mkdir(parents=True)
    (folder / "frozen_model.pb").write_bytes(b"graph")
    assert store.published() == {}
    with pytest.raises(errors.ArtifactNotFound):
        store.manifest("m", 4)


def test_a_deleted_artifact_is_gone_and_the_rest_stays(
    any_store: ArtifactStore, tmp_path: Path
) -> None:
    graph = graph_file(tmp_path)
    any_store.publish("m", conversion(), graph)
    any_store.publish("m", conversion(), graph)
    any_store.delete("m", 1)
    assert any_store.versions("m") == [2]
    with pytest.raises(errors.ArtifactNotFound, match="no version 1; it has 2"):
        any_store.manifest("m", 1)
    with pytest.raises(errors.ArtifactNotFound, match="no version 1; it has 2"):
        any_store.delete("m", 1)


def test_deleting_the_last_version_leaves_nothing(store: ArtifactStore, tmp_path: Path) -> None:
    store.publish("m", conversion(), graph_file(tmp_path))
    store.delete("m", 1)
    assert [path.name for path in Path(store.url).iterdir()] == [MARK]


def test_a_number_that_is_used_again_has_another_fingerprint(
    any_store: ArtifactStore, tmp_path: Path
) -> None:
    graph = graph_file(tmp_path)
    any_store.publish("m", conversion(), graph)
    before = any_store.published()["m"][1]
    any_store.delete("m", 1)
    any_store.publish("m", conversion(), graph)
    assert any_store.published()["m"][1] != before


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"grapH", "SHA-256"), (b"graphs", "6 bytes, its manifest says 5"), (b"", "0 bytes")],
)
def test_a_changed_graph_is_never_returned(
    store: ArtifactStore, tmp_path: Path, content: bytes, problem: str
) -> None:
    document = store.publish("m", conversion(), graph_file(tmp_path))
    (Path(store.url) / "m" / "1" / "frozen_model.pb").write_bytes(content)
    with pytest.raises(errors.ArtifactCorrupt, match=problem):
        store.graph(document)


def test_a_missing_graph_is_corrupt_not_unknown(store: ArtifactStore, tmp_path: Path) -> None:
    document = store.publish("m", conversion(), graph_file(tmp_path))
    (Path(store.url) / "m" / "1" / "frozen_model.pb").unlink()
    with pytest.raises(errors.ArtifactCorrupt, match="missing"):
        store.graph(document)


def test_a_changed_manifest_is_refused(any_store: ArtifactStore, tmp_path: Path) -> None:
    any_store.publish("m", conversion(), graph_file(tmp_path))
    fs, path = any_store._connection.fs, f"{any_store._connection.root}/m/1/{MANIFEST_NAME}"
    text = fs.cat_file(path)
    assert b"float32" in text
    fs.pipe_file(path, text.replace(b"float32", b"float16"))
    with pytest.raises(errors.ArtifactCorrupt, match="not the one that was published"):
        any_store.manifest("m", 1)
    fs.pipe_file(path, text)
    assert any_store.manifest("m", 1).version == 1


def test_the_digest_of_a_manifest_is_one_for_sha256sum(
    store: ArtifactStore, tmp_path: Path
) -> None:
    store.publish("m", conversion(), graph_file(tmp_path))
    subprocess.run(
        ["sha256sum", "--check", "--strict", DIGEST_NAME],
        cwd=Path(store.url) / "m" / "1",
        check=True,
        capture_output=True,
    )


def test_an_artifact_without_a_digest_of_its_manifest_is_taken(
    store: ArtifactStore, tmp_path: Path
) -> None:
    document = store.publish("m", conversion(), graph_file(tmp_path))
    (Path(store.url) / "m" / "1" / DIGEST_NAME).unlink()
    assert store.manifest("m", 1) == document


@pytest.mark.parametrize("name", [MANIFEST_NAME, "frozen_model.pb"])
def test_a_pipe_is_refused_and_not_waited_for(
    store: ArtifactStore, tmp_path: Path, name: str
) -> None:
    document = store.publish("m", conversion(), graph_file(tmp_path))
    path = Path(store.url) / "m" / "1" / name
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(errors.ArtifactCorrupt, match="is no file"):
        store.graph(document) if name != MANIFEST_NAME else store.manifest("m", 1)


def test_a_graph_may_be_a_link(store: ArtifactStore, tmp_path: Path) -> None:
    document = store.publish("m", conversion(), graph_file(tmp_path))
    path = Path(store.url) / "m" / "1" / "frozen_model.pb"
    path.rename(tmp_path / "elsewhere.pb")
    path.symlink_to(tmp_path / "elsewhere.pb")
    assert store.graph(document) == b"graph"


def test_a_manifest_that_was_moved_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    store.publish("m", conversion(), graph_file(tmp_path))
    (Path(store.url) / "m" / "1").rename(Path(store.url) / "m" / "2")
    with pytest.raises(errors.ArtifactCorrupt, match="describes version 1 of model m"):
        store.manifest("m", 2)


def test_a_file_that_changed_since_its_conversion_is_not_published(
    any_store: ArtifactStore, tmp_path: Path
) -> None:
    with pytest.raises(errors.ArtifactCorrupt, match="changed between"):
        any_store.publish("m", conversion(b"graph"), graph_file(tmp_path, b"other"))
    assert any_store.published() == {}


def test_two_publishers_never_get_the_same_version(store: ArtifactStore, tmp_path: Path) -> None:
    graph = graph_file(tmp_path)
    stores = [ArtifactStore(store.url) for _ in range(4)]
    start = threading.Barrier(len(stores))

    def publish(one: ArtifactStore) -> list[int]:
        start.wait()
        return [one.publish("m", conversion(), graph).version for _ in range(10)]

    with ThreadPoolExecutor(len(stores)) as pool:
        numbers = sorted(number for some in pool.map(publish, stores) for number in some)
    assert numbers == list(range(1, 41))
    assert store.versions("m") == numbers


def test_readers_see_a_version_whole_or_not_at_all(store: ArtifactStore, tmp_path: Path) -> None:
    graph = graph_file(tmp_path)
    done = threading.Event()

    def publish() -> None:
        for _ in range(50):
            store.publish("m", conversion(), graph)
        done.set()

    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(publish)
        reader, seen = ArtifactStore(store.url), 0
        while not done.is_set():
            for version in reader.versions("m"):
                assert reader.graph(reader.manifest("m", version)) == b"graph"
                seen = max(seen, version)
        publishing.result()
    assert seen > 0


def test_a_failed_publication_leaves_no_trace(
    store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("service_kit.store.local_publisher._sync", no_space)
    with pytest.raises(errors.StoreUnavailable, match="No space left on device"):
        store.publish("m", conversion(), graph_file(tmp_path))
    assert [path.name for path in Path(store.url).iterdir()] == [MARK]


def test_a_store_that_is_not_there_is_unavailable_not_empty(tmp_path: Path) -> None:
    with pytest.raises(errors.StoreUnavailable, match="cannot list"):
        ArtifactStore(str(tmp_path / "nowhere")).published()


def test_a_mount_that_is_lost_is_unavailable_and_not_empty(
    store: ArtifactStore, tmp_path: Path
) -> None:
    store.publish("m", conversion(), graph_file(tmp_path))
    folder, mounted = tmp_path / "models", tmp_path / "elsewhere"
    assert store.published()
    folder.rename(mounted)
    folder.mkdir()
    with pytest.raises(errors.StoreUnavailable, match=r"\.pbserve-store is gone.*still mounted"):
        store.published()
    # Nor is the one that comes back another.
    folder.rmdir()
    mounted.rename(folder)
    assert store.published()


def lose(store: ArtifactStore, mounted: Path) -> None:
    """Leaves an empty mount point where the store was."""
    folder = Path(store.url)
    folder.rename(mounted)
    folder.mkdir()


@pytest.mark.parametrize("left", ["nothing", "another mark"])
def test_nothing_is_published_into_the_mount_point_of_a_lost_volume(
    store: ArtifactStore, tmp_path: Path, left: str
) -> None:
    graph = graph_file(tmp_path)
    store.publish("m", conversion(), graph)
    lose(store, tmp_path / "elsewhere")
    if left == "another mark":
        ArtifactStore(store.url).create()
    before = sorted(Path(store.url).iterdir())
    with pytest.raises(errors.StoreUnavailable, match="still mounted"):
        store.publish("m", conversion(), graph)
    assert sorted(Path(store.url).iterdir()) == before
    shutil.rmtree(store.url)
    (tmp_path / "elsewhere").rename(store.url)
    assert store.publish("m", conversion(), graph).version == 2


def test_what_went_into_a_mount_point_while_the_mount_was_lost_is_taken_back(
    store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = graph_file(tmp_path)
    publish = store._publisher.publish

    def publish_too_late(*arguments: Any) -> Any:
        lose(store, tmp_path / "elsewhere")
        return publish(*arguments)

    monkeypatch.setattr(store._publisher, "publish", publish_too_late)
    with pytest.raises(errors.StoreUnavailable, match="still mounted"):
        store.publish("m", conversion(), graph)
    assert list(Path(store.url).iterdir()) == []


def test_a_reader_takes_a_store_that_was_made_anew_and_no_empty_one_with_another_mark(
    store: ArtifactStore, tmp_path: Path
) -> None:
    graph = graph_file(tmp_path)
    store.publish("m", conversion(), graph)
    assert store.published()
    shutil.rmtree(store.url)
    again = ArtifactStore(store.url)
    again.create()
    with pytest.raises(errors.StoreUnavailable, match="of another store"):
        store.published()
    again.publish("n", conversion(), graph)
    assert [*store.published()] == ["n"]


def test_the_mark_stays_the_same_for_every_maker(store: ArtifactStore) -> None:
    mark = (Path(store.url) / MARK).read_text()
    ArtifactStore(store.url).create()
    assert (Path(store.url) / MARK).read_text() == mark


def test_a_mark_can_be_required(store: ArtifactStore) -> None:
    store.require_mark()
    reader = ArtifactStore(store.url)
    reader.published()
    assert not reader.is_unmarked
    (Path(store.url) / MARK).unlink()
    reader = ArtifactStore(store.url)
    reader.published()
    assert reader.is_unmarked
    with pytest.raises(errors.StoreUnavailable, match="mount its volume"):
        reader.require_mark()


def test_a_mount_that_is_lost_while_it_is_listed_is_not_empty(
    store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish("m", conversion(), graph_file(tmp_path))
    folder = tmp_path / "models"
    assert store.published()
    listed = store._connection.fs.ls

    def lose(*arguments: Any, **options: Any) -> Any:
        if folder.exists() and (folder / MARK).exists():
            folder.rename(tmp_path / "elsewhere")
            folder.mkdir()
        return listed(*arguments, **options)

    monkeypatch.setattr(store._connection.fs, "ls", lose)
    with pytest.raises(errors.StoreUnavailable, match="is gone"):
        store.published()


def test_a_store_without_the_mark_is_one_too(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "models" / MARK).unlink()
    store = ArtifactStore(store.url)
    store.publish("m", conversion(), graph_file(tmp_path))
    assert store.published()
    shutil.rmtree(tmp_path / "models" / "m")
    assert store.published() == {}


def test_a_url_of_no_known_kind_is_refused() -> None:
    with pytest.raises(errors.StoreUnavailable, match="cannot open the store nope://x"):
        ArtifactStore("nope://x")


def test_a_publication_survives_the_deletion_of_its_model_beside_it(
    store: ArtifactStore, tmp_path: Path
) -> None:
    graph = graph_file(tmp_path)
    publisher = LocalPublisher(Path(store.url))
    store.publish("m", conversion(), graph)

    def churn() -> None:
        for _ in range(100):
            store.publish("m", conversion(), graph, version=9)
            publisher.remove("m", 9)

    with ThreadPoolExecutor(1) as pool:
        churning = pool.submit(churn)
        store.delete("m", 1)
        while not churning.done():
            version = store.publish("m", conversion(), graph, version=1).version
            store.delete("m", version)
        churning.result()


@pytest.mark.parametrize(
    "error", [OSError(5, "Input/output error"), RuntimeError("no credentials")]
)
def test_a_folder_that_cannot_be_read_is_not_an_empty_one(
    any_store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    any_store.publish("m", conversion(), graph_file(tmp_path))
    real = any_store._connection.fs.ls

    def failing(path: str, **options: Any) -> Any:
        if path.endswith("/m"):
            raise error
        return real(path, **options)

    monkeypatch.setattr(any_store._connection.fs, "ls", failing)
    for call in (any_store.published, lambda: any_store.versions("m")):
        with pytest.raises(errors.StoreUnavailable, match=r"Input/output error|no credentials"):
            call()
    with pytest.raises(errors.StoreUnavailable):
        any_store.publish("m", conversion(), graph_file(tmp_path))


def test_folders_that_are_no_versions_are_passed_over(store: ArtifactStore, tmp_path: Path) -> None:
    store.publish("m", conversion(), graph_file(tmp_path))
    for name in ("0", "01", "x", "9223372036854775808", "9999999999999999999"):
        (Path(store.url) / "m" / name).mkdir()
        (Path(store.url) / "m" / name / MANIFEST_NAME).touch()
    (Path(store.url) / "stray").touch()
    (Path(store.url) / "Upper" / "1").mkdir(parents=True)
    assert {m: list(v) for m, v in store.published().items()} == {"m": [1]}


def test_numbers_end_where_the_wire_ends(store: ArtifactStore, tmp_path: Path) -> None:
    graph = graph_file(tmp_path)
    assert store.publish("m", conversion(), graph, version=2**63 - 1).version == 2**63 - 1
    with pytest.raises(errors.VersionTaken, match="no higher version left"):
        store.publish("m", conversion(), graph)


def test_the_fingerprint_covers_the_graph(store: ArtifactStore, tmp_path: Path) -> None:
    store.publish("m", conversion(), graph_file(tmp_path))
    before = store.published()["m"][1]
    (Path(store.url) / "m" / "1" / "frozen_model.pb").write_bytes(b"longer than before")
    assert store.published()["m"][1] != before


def test_a_torn_publication_gives_its_number_back(
    memory_store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, value: bytes, **options: Any) -> None:
        raise PermissionError(13, "Access denied")

    with monkeypatch.context() as patched:
        patched.setattr(memory_store._connection.fs, "pipe_file", refuse)
        with pytest.raises(errors.StoreUnavailable, match="Access denied"):
            memory_store.publish("m", conversion(), graph_file(tmp_path))
    assert memory_store.publish("m", conversion(), graph_file(tmp_path)).version == 1


def test_a_store_that_is_a_file_or_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.StoreUnavailable, match="Not a directory"):
        ArtifactStore(str(tmp_path / "file")).published()
    for url in ("", "zip://x.zip", "github://a:b@/c"):
        with pytest.raises(errors.StoreUnavailable, match="cannot open the store"):
            ArtifactStore(url)


def test_a_graph_that_is_a_folder_is_corrupt(store: ArtifactStore, tmp_path: Path) -> None:
    document = store.publish("m", conversion(), graph_file(tmp_path))
    graph = Path(store.url) / "m" / "1" / "frozen_model.pb"
    graph.unlink()
    graph.mkdir()
    with pytest.raises(errors.ArtifactCorrupt, match="missing"):
        store.graph(document)
