from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from service_kit import errors
from service_kit.store.artifact_store import ArtifactStore
from service_kit.store.connection import StoreConnection, is_object_store


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("s3://bucket/store", True),
        ("s3a://bucket", True),
        ("gs://bucket/store", True),
        ("gcs://bucket", True),
        ("./models", False),
        ("/models", False),
        ("file:///models", False),
        ("memory://models", False),
        ("s3", False),
        ("", False),
    ],
)
def test_object_stores_are_known_by_their_scheme(url: str, *, is_one: bool) -> None:
    assert is_object_store(url) is is_one


@pytest.mark.parametrize("url", ["s3://KEY:SECRET@bucket/store", "gs://SECRET@bucket"])
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(errors.StoreUnavailable, match="credentials in a URL") as caught:
        StoreConnection(url)
    assert "SECRET" not in str(caught.value)


def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("s3fs", "gcsfs.core"):
        # What an import of a module that is not installed ends with.
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(errors.StoreUnavailable, match=r"install pbserve\[s3\]"):
        StoreConnection("s3://bucket/store")
    with pytest.raises(errors.StoreUnavailable, match=r"install pbserve\[gcs\]"):
        StoreConnection("gs://bucket/store")


def test_fsspecs_own_configuration_goes_before_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        fsspec.config.conf, "s3", {"max_concurrency": 2, "config_kwargs": {"read_timeout": 99}}
    )
    fs = StoreConnection("s3://bucket/store").fs
    assert fs.max_concurrency == 2
    assert fs.config_kwargs["read_timeout"] == 99
    assert fs.config_kwargs["connect_timeout"] == 5


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """Accepts connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepted = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    accepted.append(listening.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        for one in accepted:
            one.close()


def test_a_server_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        fsspec.config.conf,
        "s3",
        {"key": "K", "secret": "S", "config_kwargs": {"read_timeout": 0.1}},
    )
    with silent_server() as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(errors.StoreUnavailable, match="Read timeout on endpoint URL"):
            ArtifactStore("s3://bucket/store").published()


def test_a_folder_that_belongs_to_somebody_else_says_whom_it_should_let_in(tmp_path: Path) -> None:
    connection = StoreConnection(str(tmp_path))
    who = rf"^let user {os.geteuid()}, group {os.getegid()}, use the folder: cannot create"
    with pytest.raises(errors.StoreUnavailable, match=who), connection.reaching("create"):
        raise PermissionError(13, "Permission denied")
    with pytest.raises(errors.StoreUnavailable, match=r"^cannot list"), connection.reaching("list"):
        raise FileNotFoundError(2, "No such file or directory")
