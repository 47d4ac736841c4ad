"""`pbserve label --all`: every server is told, whatever the others say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from inference_service.cli.app import app
from inference_service.client import InferenceClient
from service_kit.cli.exit_codes import ExitCode
from service_kit.store.artifact_store import ArtifactStore
from tests.support.inference_server import InferenceServer, inference_server
from tests.support.tls import Certificates, TokenCheck, behind_tls


def label(*arguments: str) -> Any:
    return CliRunner().invoke(app, ("label", "m", "stable", *arguments), env={"COLUMNS": "200"})


@pytest.fixture
def other(store: ArtifactStore, tmp_path: Path) -> Iterator[InferenceServer]:
    """A second replica with the same store."""
    with inference_server(store, tmp_path / "other") as running:
        yield running


def both(*servers: InferenceServer) -> str:
    return "ipv4:" + ",".join(server.address for server in servers)


def labels(server: InferenceServer) -> dict[str, int]:
    with InferenceClient(server.address) as client:
        return dict(client.model("m").labels)


def test_every_server_is_told_and_says_that_it_agreed(
    server: InferenceServer, other: InferenceServer
) -> None:
    server.publish()
    other.sync()
    done = label("1", "--all", "--address", both(server, other))
    assert done.exit_code == ExitCode.OK, done.output
    assert done.stdout.count("agreed") == 2
    assert done.stdout.endswith("label stable of m is at version 1 on 2 of 2 servers\n")
    assert labels(server) == labels(other) == {"stable": 1}
    said = json.loads(label("0", "--all", "--json", "--address", both(server, other)).stdout)
    assert [one["agreed"] for one in said["servers"]] == [True, True]
    assert (said["model"], said["label"], said["version"]) == ("m", "stable", 0)
    assert labels(server) == labels(other) == {}


def test_without_all_one_of_them_is_told(server: InferenceServer, other: InferenceServer) -> None:
    server.publish()
    other.sync()
    assert label("1", "--address", both(server, other)).exit_code == ExitCode.OK
    assert sorted(map(len, (labels(server), labels(other)))) == [0, 1]


def test_one_that_refuses_keeps_no_other_from_agreeing(
    server: InferenceServer, other: InferenceServer
) -> None:
    other.sync()
    server.publish()
    done = label("1", "--all", "--address", both(other, server))
    assert done.exit_code == ExitCode.PARTLY
    assert "on 1 of 2 servers" in done.stdout
    (refused,) = (line for line in done.stdout.splitlines() if other.address in line)
    assert "no model 'm'" in refused
    assert labels(server) == {"stable": 1}


def test_servers_that_are_all_away_are_told_apart_from_a_refusal() -> None:
    done = label("1", "--all", "--address", "ipv4:127.0.0.1:1,127.0.0.1:2")
    assert done.exit_code == ExitCode.UNAVAILABLE
    assert "on 0 of 2 servers" in done.stdout


@pytest.mark.parametrize(
    ("address", "words", "code"),
    [
        ("dns:///nobody.invalid:8500", "nobody.invalid has no addresses", ExitCode.UNAVAILABLE),
        ("xds:///fleet:8500", "give dns:///name:port", ExitCode.FAILED),
        ("nowhere", "write host:port", ExitCode.USAGE),
    ],
)
def test_an_address_without_servers_is_one_line(address: str, words: str, code: int) -> None:
    done = label("1", "--all", "--address", address)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert words in done.stderr


def test_each_server_shows_the_certificate_of_the_name_that_they_share(
    server: InferenceServer, tmp_path: Path
) -> None:
    server.publish()
    certificates = Certificates("localhost")
    (tmp_path / "ca.pem").write_bytes(certificates.root)
    (tmp_path / "token").write_text("secret")
    check = TokenCheck("secret")
    with behind_tls(server, certificates.server_credentials(mutual=False), check) as address:
        target = f"dns:///localhost:{address.rpartition(':')[2]}"
        trusted = ("--tls-ca", str(tmp_path / "ca.pem"), "--token-file", str(tmp_path / "token"))
        done = label("1", "--all", "--json", "--address", target, *trusted)
    said = {one["address"]: one for one in json.loads(done.stdout)["servers"]}
    # The name may have an address of IPv6, too, where nobody listens.
    assert said[address]["agreed"], done.stdout
    assert labels(server) == {"stable": 1}


def test_help_says_what_lasts() -> None:
    command = [sys.executable, "-m", "inference_service", "label", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    text = " ".join(done.stdout.split())
    assert "--all" in text
    assert "models file" in text
