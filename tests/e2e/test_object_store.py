"""Stores in S3, on a real server: Ceph's gateway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from exporter_service.client import ExporterClient
from inference_service.client import InferenceClient
from service_kit import errors
from service_kit.artifacts.manifest import Manifest
from service_kit.store.artifact_store import ArtifactStore
from service_kit.store.cache import StoreCache
from service_kit.store.connection import StoreConnection
from service_kit.store.object_publisher import ObjectPublisher
from tests.support.digits import GOLDEN, PARITY, digits_request, expected
from tests.support.engines import pixels
from tests.support.inference_server import InferenceServer, inference_server
from tests.support.manifests import conversion, graph_file
from tests.support.rados_gateway import (
    SECRET_KEY,
    RadosGateway,
    environment,
    missing_programs,
    rados_gateway,
)
from tests.support.services import running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"
    ),
]
PUBLISHERS = 8
MEBIBYTE = 2**20


@pytest.fixture(scope="session")
def gateway() -> Iterator[RadosGateway]:
    # Paths of sockets are short.
    with (
        tempfile.TemporaryDirectory(prefix="pbserve-test-s3-") as folder,
        rados_gateway(Path(folder)) as started,
    ):
        yield started


@pytest.fixture(autouse=True)
def _credentials(gateway: RadosGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in gateway.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def url(gateway: RadosGateway) -> str:
    return f"s3://{gateway.bucket}/{uuid.uuid4().hex}/store"


@pytest.fixture
def store(url: str) -> ArtifactStore:
    opened = ArtifactStore(url)
    opened.create()
    return opened


def keys(store: ArtifactStore) -> list[str]:
    """Returns every key of the store, below its root."""
    fs, root = fsspec.core.url_to_fs(store.url, skip_instance_cache=True)
    return sorted(path.removeprefix(f"{root}/") for path in fs.find(root))


def put(store: ArtifactStore, key: str, content: bytes) -> None:
    fs, root = fsspec.core.url_to_fs(store.url, skip_instance_cache=True)
    fs.pipe_file(f"{root}/{key}", content)


def counted(gateway: RadosGateway, work: Callable[[], object]) -> list[tuple[str, str, int]]:
    """Returns the requests that some work caused."""
    before = len(gateway.requests())
    work()
    return gateway.requests()[before:]


def test_what_was_published_is_what_is_read(store: ArtifactStore, tmp_path: Path) -> None:
    # More than one part.
    content = os.urandom(20 * MEBIBYTE)
    published = store.publish("m", conversion(content), graph_file(tmp_path, content))
    assert store.manifest("m", 1) == published
    assert store.graph(published) == content
    (tmp_path / "copy").mkdir()
    store.fetch(published, tmp_path / "copy")
    assert (tmp_path / "copy" / "frozen_model.pb").read_bytes() == content


def test_an_artifact_can_be_copied_to_a_disk_and_served_there(
    store: ArtifactStore, tmp_path: Path
) -> None:
    store.publish("m", conversion(b"7"), graph_file(tmp_path, b"7"))
    fs, root = fsspec.core.url_to_fs(store.url)
    fs.get(f"{root}/m/", str(tmp_path / "copied" / "m"), recursive=True)
    local = ArtifactStore(str(tmp_path / "copied"))
    assert local.graph(local.manifest("m", 1)) == b"7"


def race(store: ArtifactStore, folder: Path, *arguments: str) -> dict[bytes, list[Any]]:
    """Lets processes publish at the same time; returns what each got, by its graph."""
    processes, graphs = [], []
    for number in range(PUBLISHERS):
        own = folder / str(number)
        own.mkdir()
        # The sizes differ, so that the uploads end in another order than they began.
        graphs.append(f"graph of {number}".encode() + bytes((PUBLISHERS - number) * 200_000))
        graph_file(own, graphs[-1])
        processes.append(
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.support.store_publisher",
                    store.url,
                    str(own),
                    *arguments,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    got = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    return dict(zip(graphs, got, strict=True))


def test_of_eight_publishers_one_gets_a_version_and_the_others_have_left_nothing(
    store: ArtifactStore, tmp_path: Path
) -> None:
    got = race(store, tmp_path, "1", "5")
    winners = [graph for graph, answers in got.items() if answers == [5]]
    assert len(winners) == 1
    assert sum(answers == ["VERSION_TAKEN"] for answers in got.values()) == PUBLISHERS - 1
    document = store.manifest("m", 5)
    assert store.graph(document) == winners[0]
    assert keys(store) == [
        f"m/5/{document.folder}/frozen_model.pb",
        f"m/5/{document.folder}/manifest.json.sha256",
        "m/5/manifest.json",
    ]


def test_eight_publishers_get_different_versions_each_with_its_own_graph(
    store: ArtifactStore, tmp_path: Path
) -> None:
    got = race(store, tmp_path, "1")
    versions = sorted(version for answers in got.values() for version in answers)
    assert versions == list(range(1, PUBLISHERS + 1))
    for graph, answers in got.items():
        for version in answers:
            assert store.graph(store.manifest("m", version)) == graph
    assert len(keys(store)) == 3 * len(versions)


def test_a_publisher_that_is_killed_leaves_nothing_to_see_and_no_number_used(
    store: ArtifactStore, gateway: RadosGateway, tmp_path: Path
) -> None:
    graph_file(tmp_path, os.urandom(200 * MEBIBYTE))
    before = len(gateway.requests())
    command = [sys.executable, "-m", "tests.support.store_publisher", store.url, str(tmp_path), "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        while not any("uploadId" in path for _, path, _ in gateway.requests()[before:]):
            assert process.poll() is None
        process.kill()
    assert store.published() == {}
    assert store.publish("m", conversion(), graph_file(tmp_path)).version == 1


def test_what_is_torn_is_invisible_and_swept_when_it_is_a_day_old(
    store: ArtifactStore, tmp_path: Path
) -> None:
    torn, late = uuid.uuid4().hex, uuid.uuid4().hex
    put(store, f"n/1/{torn}/frozen_model.pb", b"graph without a manifest")
    document = store.publish("m", conversion(), graph_file(tmp_path))
    put(store, f"m/1/{late}/frozen_model.pb", b"graph of one who was late, and killed")
    before = store.published()
    assert before.keys() == {"m"}
    store.create()
    assert len(keys(store)) == 5

    def tomorrow() -> float:
        return (datetime.now(timezone.utc) + timedelta(days=1, minutes=1)).timestamp()

    ObjectPublisher(StoreConnection(store.url), clock=tomorrow).sweep()
    own = f"m/1/{document.folder}"
    assert keys(store) == [
        f"{own}/frozen_model.pb",
        f"{own}/manifest.json.sha256",
        "m/1/manifest.json",
    ]
    assert store.published() == before


def test_who_is_late_does_not_change_what_others_see_of_a_version(
    store: ArtifactStore, tmp_path: Path
) -> None:
    store.publish("m", conversion(), graph_file(tmp_path))
    before = store.published()
    put(store, f"m/1/{uuid.uuid4().hex}/frozen_model.pb", b"of somebody who is late")
    assert store.published() == before


def test_a_deletion_removes_what_the_manifest_names_and_nothing_of_who_is_publishing(
    store: ArtifactStore, tmp_path: Path
) -> None:
    store.publish("m", conversion(), graph_file(tmp_path))
    other = f"m/1/{uuid.uuid4().hex}/frozen_model.pb"
    put(store, other, b"being published")
    store.delete("m", 1)
    assert keys(store) == [other]
    with pytest.raises(errors.ArtifactNotFound, match="the store has no model m"):
        store.delete("m", 1)


def test_a_look_is_one_request_however_many_models_there_are(
    store: ArtifactStore, gateway: RadosGateway, tmp_path: Path
) -> None:
    for number in range(4):
        for _ in range(3):
            store.publish(f"m{number}", conversion(), graph_file(tmp_path))
    looks = counted(gateway, store.published)
    assert [(method, status) for method, _, status in looks] == [("GET", 200)]
    assert "list-type=2" in looks[0][1]
    assert len(counted(gateway, lambda: store.versions("m1"))) == 1


def test_a_bucket_that_is_not_there_is_an_error_and_is_not_made(gateway: RadosGateway) -> None:
    elsewhere = ArtifactStore("s3://no-such-bucket/store")
    for call in (elsewhere.published, elsewhere.create):
        with pytest.raises(errors.StoreUnavailable, match=r"NoSuchBucket \(HTTP 404\)"):
            call()
    made = [path for method, path, _ in gateway.requests() if method == "PUT"]
    assert not any("no-such-bucket" in path for path in made)


@pytest.mark.parametrize(
    ("access_key", "secret_key", "problem"),
    [
        ("PBSERVEACCESSKEY", "not-the-secret", "SignatureDoesNotMatch"),
        ("NOBODYSKEY", "whatever-it-is", "InvalidAccessKeyId"),
        ("GUESTSKEY", "guests-secret", "AccessDenied"),
    ],
)
def test_a_refusal_is_told_in_the_stores_words_and_without_secrets(
    gateway: RadosGateway,
    store: ArtifactStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    access_key: str,
    secret_key: str,
    problem: str,
) -> None:
    if problem == "AccessDenied":
        gateway.add_user("guest", access_key, secret_key)
    for name, value in environment(gateway.endpoint, access_key, secret_key).items():
        monkeypatch.setenv(name, value)
    refused = ArtifactStore(store.url)
    for call in (
        refused.published,
        lambda: refused.publish("m", conversion(), graph_file(tmp_path)),
        lambda: refused.manifest("m", 1),
    ):
        with pytest.raises(errors.StoreUnavailable) as caught:
            call()
        told = "".join(traceback.format_exception(caught.value))
        assert "HTTP 403" in str(caught.value)
        assert secret_key not in told
        assert "Signature=" not in told
    with pytest.raises(errors.StoreUnavailable, match=problem):
        refused.published()


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://no.such.host.invalid"])
def test_a_server_that_is_not_there_is_told_within_seconds(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(errors.StoreUnavailable, match="Could not connect to the endpoint URL"):
        ArtifactStore(store.url).published()


@pytest.fixture
def server(
    store: ArtifactStore, tmp_path: Path, gateway: RadosGateway
) -> Iterator[InferenceServer]:
    cached = ArtifactStore(store.url, cache=StoreCache(tmp_path / "cache", 100 * MEBIBYTE))
    with inference_server(cached, tmp_path) as running_server:
        yield running_server


def mean(server: InferenceServer) -> float:
    """Returns what the server answers for an image of zeros: the number in its graph."""
    with InferenceClient(server.address) as client:
        return float(client.predict("m", pixels(0)).outputs["probs"][0, 0])


def test_versions_are_loaded_swapped_and_unloaded_as_on_a_disk(server: InferenceServer) -> None:
    server.publish(b"1")
    assert mean(server) == 1
    server.publish(b"2")
    assert mean(server) == 2
    server.store.delete("m", 2)
    server.sync()
    # The one that is gone answers until the other is there.
    server.sync()
    assert mean(server) == 1
    server.store.delete("m", 1)
    server.sync()
    with pytest.raises(errors.NotFound):
        mean(server)


def test_a_graph_that_is_not_what_its_manifest_says_is_never_served(
    server: InferenceServer, store: ArtifactStore
) -> None:
    server.publish(b"1")
    document = server.store.publish("m", conversion(b"2"), graph_file(server.folder, b"2"))
    put(store, f"m/2/{document.folder}/frozen_model.pb", b"3")
    server.sync()
    assert mean(server) == 1
    assert "SHA-256" in server.registry.status("m").versions[1].reason


def test_keys_that_are_withdrawn_stop_nothing_and_new_ones_are_taken_without_a_restart(
    gateway: RadosGateway,
    store: ArtifactStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway.add_user("rotating", "FIRSTKEY", "first-secret")
    bucket_policy(gateway, "rotating")
    file = tmp_path / "credentials"
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    write_credentials(file, "FIRSTKEY", "first-secret")
    with inference_server(ArtifactStore(store.url), tmp_path) as server:
        server.publish(b"1")
        assert mean(server) == 1
        gateway.remove_key("rotating", "FIRSTKEY")
        server.sync()
        assert "InvalidAccessKeyId (HTTP 403)" in server.view.problem
        assert mean(server) == 1
        gateway.add_key("rotating", "SECONDKEY", "second-secret")
        write_credentials(file, "SECONDKEY", "second-secret")
        server.publish(b"2")
        assert server.view.problem == ""
        assert mean(server) == 2


def write_credentials(file: Path, access_key: str, secret_key: str) -> None:
    file.write_text(
        f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = {secret_key}\n"
    )


def bucket_policy(gateway: RadosGateway, user: str) -> None:
    """Lets a user do everything in the bucket."""
    fs = fsspec.filesystem("s3", skip_instance_cache=True)
    fs.call_s3(
        "put_bucket_policy",
        Bucket=gateway.bucket,
        Policy=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"AWS": [f"arn:aws:iam:::user/{user}"]},
                        "Action": "s3:*",
                        "Resource": [
                            f"arn:aws:s3:::{gateway.bucket}",
                            f"arn:aws:s3:::{gateway.bucket}/*",
                        ],
                    }
                ],
            }
        ),
    )


def downloads(gateway: RadosGateway, url: str) -> int:
    """Returns how many requests for a graph of a store there were."""
    root = url.removeprefix("s3:/")
    return sum(
        method == "GET" and path.startswith(root) and path.endswith("frozen_model.pb")
        for method, path, _ in gateway.requests()
    )


def test_a_graph_is_downloaded_once_a_machine(
    store: ArtifactStore, gateway: RadosGateway, tmp_path: Path
) -> None:
    document = store.publish("m", conversion(b"7"), graph_file(tmp_path, b"7"))
    caches = [StoreCache(tmp_path / "cache", MEBIBYTE) for _ in range(3)]
    before = downloads(gateway, store.url)
    for cache in caches:
        assert ArtifactStore(store.url, cache=cache).graph(document) == b"7"
    assert downloads(gateway, store.url) - before == 1
    (cached,) = [path for path in (tmp_path / "cache").iterdir() if len(path.name) == 64]
    cached.write_bytes(b"8")
    assert ArtifactStore(store.url, cache=caches[0]).graph(document) == b"7"
    assert downloads(gateway, store.url) - before == 2


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_both_services_over_a_store_that_goes_away_and_comes_back(
    url: str, gateway: RadosGateway, tmp_path: Path
) -> None:
    options = ("--store", url, "--store-cache", str(tmp_path / "cache"), "--poll", "0.2")
    export = ("--store", url, "--checkpoint-root", str(GOLDEN))
    golden = expected()
    images = golden["images"][:8]

    def answered(client: InferenceClient, version: int, wanted: str) -> None:
        prediction = client.predict("digits", images, version=version)
        assert np.abs(prediction.outputs["probs"] - golden[wanted][:8]).max() <= PARITY

    with (
        running("exporter_service", *export, log=tmp_path / "exporter.log") as exporter,
        ExporterClient(exporter.address) as converter,
    ):
        convert(converter)
        with (
            running("inference_service", *options, log=tmp_path / "first.log") as service,
            InferenceClient(service.address) as client,
        ):
            client.wait_until_ready("digits", timeout=60)
            answered(client, 1, "probs_ema")
            assert downloads(gateway, url) >= 1
            gateway.kill()
            while not client.problems():
                answered(client, 1, "probs_ema")
            assert "Could not connect" in client.problems()[0]
            client.wait_until_ready("digits", timeout=5)
            gateway.start_gateway()
            convert(converter)
            while client.problems() or 2 not in versions(client):
                answered(client, 0, "probs_ema")
        before = downloads(gateway, url)
        with (
            running("inference_service", *options, log=tmp_path / "second.log") as service,
            InferenceClient(service.address) as client,
        ):
            client.wait_until_ready("digits", timeout=60)
            answered(client, 2, "probs_ema")
        assert downloads(gateway, url) == before
    first = (tmp_path / "first.log").read_text()
    assert "store_unavailable" in first
    assert "store_available" in first
    for log in tmp_path.glob("*.log"):
        assert SECRET_KEY not in log.read_text()


def convert(client: ExporterClient) -> None:
    *_, manifest = client.convert(digits_request(model="digits"))
    assert isinstance(manifest, Manifest)


def versions(client: InferenceClient) -> set[int]:
    return {one.version for model in client.models() for one in model.versions}
