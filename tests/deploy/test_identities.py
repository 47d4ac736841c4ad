"""Pods with an identity of the cloud's, and no keys: the real program asks for what it needs."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.overlays import Container, combined, containers
from tests.support.pods import running_pod

pytestmark = pytest.mark.slow

TOKEN = "a token of this pod's"  # noqa: S105 - a test's
EMPTY = (
    '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>b</Name><KeyCount>0</KeyCount>'
    "<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"
)


class Cloud(BaseHTTPRequestHandler):
    """The agent of EKS Pod Identity, and a bucket without anything in it."""

    tokens: list[str]
    keys: list[str]

    def do_GET(self) -> None:
        signed = self.headers.get("Authorization", "")
        if self.path == "/v1/credentials":
            self.tokens.append(signed)
            text = json.dumps(
                {
                    "AccessKeyId": "KEYOFTHEPOD",
                    "SecretAccessKey": "secret",
                    "Token": "session",
                    "Expiration": "2099-01-01T00:00:00Z",
                }
            )
        else:
            self.keys += re.findall(r"Credential=(\w+)/", signed)
            text = EMPTY
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(text.encode())

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextlib.contextmanager
def cloud() -> Iterator[tuple[str, type[Cloud]]]:
    answers = type("Answers", (Cloud,), {"tokens": [], "keys": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", answers
        finally:
            server.shutdown()


def inference(folder: Path) -> Container:
    folder.mkdir()
    built = combined(("s3", "workload-identity", "plain"), folder)
    (found,) = (one for one in containers(built) if one.program == "pbserve")
    return found


def test_a_pod_without_keys_gets_them_from_the_agent_on_its_node(tmp_path: Path) -> None:
    """The Secret is not there; the webhook of EKS has added its variables."""
    container = inference(tmp_path / "own")
    with cloud() as (url, seen):
        injected = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": TOKEN,
            "AWS_ENDPOINT_URL_S3": url,
        }
        (tmp_path / "pod").mkdir()
        with running_pod(container, tmp_path / "pod", injected=injected) as pod:
            while pod.health("readinessProbe") == "NOT_SERVING":
                assert "store_unavailable" not in pod.log.read_text()
        assert set(seen.tokens) == {TOKEN}
        assert set(seen.keys) == {"KEYOFTHEPOD"}
    assert "store_unavailable" not in pod.log.read_text()
