"""A container of the manifests as a process of this machine: its command, arguments and variables.

Ports become free ones, folders become folders below one of the test's. Where the machine allows it,
the process is confined as in a pod.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support import confinement
from tests.support.overlays import Container

MODULES = {"pbserve": "inference_service", "pbexport": "exporter_service"}
_ADDRESS = re.compile(r"0\.0\.0\.0:([0-9]+)")
_AUTHORITY = trustme.CA()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass(frozen=True)
class Pod:
    """A container that runs."""

    container: Container
    process: subprocess.Popen[str]
    log: Path
    # Declared port -> the one of this machine.
    ports: dict[int, int]

    def health(self, probe: str) -> str:
        """Asks as the kubelet does, without TLS, and returns the answer's word."""
        asked = self.container.probes[probe]["grpc"]
        with grpc.insecure_channel(f"127.0.0.1:{self.ports[asked['port']]}") as channel:
            request = health_pb2.HealthCheckRequest(service=asked.get("service", ""))
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(request, timeout=10, wait_for_ready=True)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    def address(self, name: str) -> str:
        return f"127.0.0.1:{self.ports[self.container.ports[name]]}"

    def tls_credentials(self, name: str | None = None) -> grpc.ChannelCredentials:
        """Returns what a client with a certificate for `name`, or without one, connects with."""
        roots = _AUTHORITY.cert_pem.bytes()
        if name is None:
            return grpc.ssl_channel_credentials(roots)
        issued = _AUTHORITY.issue_cert(name, common_name=name)
        return grpc.ssl_channel_credentials(
            roots, issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes()
        )


@contextlib.contextmanager
def running_pod(
    container: Container,
    folder: Path,
    store: Path | None = None,
    injected: Mapping[str, str] | None = None,
) -> Iterator[Pod]:
    """Runs a container's program until the block ends, and waits for its port.

    Args:
        container: of the manifests.
        folder: gets the volumes.
        store: what is in the store, in `folder`; None: nothing.
        injected: variables that a cluster adds to those of the manifests; the store is then the one
            that the manifests name.
    """
    # Nobody says where metrics are in a way that does not depend on what else is there.
    metrics = (container.setting("metrics_listen") or "").rpartition(":")[2]
    ports = {port: _free_port() if str(port) == metrics else 0 for port in _declared(container)}
    places = _places(container, folder, store)
    if injected is not None:
        places.pop(container.setting("store") or "")
    prefix: list[str] = []
    if confinement.possible():
        prefix = confinement.confined(folder, _writable(container, folder, places))
        places = {
            path: confinement.PLACE / place.relative_to(folder) for path, place in places.items()
        }
    # The longest ones first.
    paths = "|".join(re.escape(path) for path in sorted(places, key=len, reverse=True))
    known_path = re.compile(rf"(^|=)({paths})(?=/|$)")

    def here(text: str) -> str:
        text = _ADDRESS.sub(lambda found: f"0.0.0.0:{ports[int(found[1])]}", text)
        return known_path.sub(lambda found: f"{found[1]}{places[found[2]]}", text)

    command = [
        *prefix,
        sys.executable,
        "-m",
        MODULES[container.program],
        *container.container["command"][1:],
    ]
    known = {name: value for name, value in os.environ.items() if not name.startswith("PB")}
    # What asks for a home, or for a place for temporary files, gets the volume.
    known |= {"HOME": str(places["/tmp"]), "TMPDIR": str(places["/tmp"])}  # noqa: S108 - the pod's
    told = {name: here(value) for name, value in container.environment.items()}
    told |= injected or {}
    log = folder / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*command, *map(here, container.arguments)],
            stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=folder, env={**known, **told},
        )  # fmt: skip
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert "listening on" in line, log.read_text()
        for name, address in (("listen", line.split()[-1]), ("health_listen", _health(log))):
            if asked := container.setting(name):
                ports[int(asked.rpartition(":")[2])] = int(address.rpartition(":")[2])
        yield Pod(container, process, log, ports)
    finally:
        process.terminate()
        process.wait(timeout=60)
        process.stdout.close()


def _health(log: Path) -> str:
    """Returns where health is, which a program logs before it says that it listens."""
    found = re.search(r'"address": "([^"]+)", "event": "health_listening"', log.read_text())
    return found[1] if found else ""


def _declared(container: Container) -> set[int]:
    texts = [*container.arguments, *container.environment.values()]
    return {int(port) for text in texts for port in _ADDRESS.findall(text)}


def _places(container: Container, folder: Path, store: Path | None) -> dict[str, Path]:
    """Makes the volumes, and returns path in the pod -> path here."""
    places: dict[str, Path] = {}
    for path, mount in container.mounts.items():
        place = folder / mount["name"]
        place.mkdir(exist_ok=True)
        _fill(container, mount["name"], place)
        places[path] = place
    at = container.setting("store")
    assert at
    places[at] = store or folder / "empty-store"
    if store is None:
        places[at].mkdir()
    root = container.setting("checkpoint_root")
    if root:
        places[root] = folder / "checkpoints"
        places[root].mkdir(exist_ok=True)
    return places


def _writable(container: Container, folder: Path, places: Mapping[str, Path]) -> list[str]:
    """Returns the folders in `folder` that the manifests let the program write to."""
    mounts = (m["name"] for m in container.mounts.values() if not m.get("readOnly", False))
    store = places.get(container.setting("store") or "")
    names = [*mounts, *([store.name] if store and container.program == "pbexport" else [])]
    return [name for name in names if (folder / name).is_dir()]


def _fill(container: Container, name: str, place: Path) -> None:
    volume = container.volumes[name]
    if config := volume.get("configMap"):
        _write(container, "ConfigMap", config["name"], place)
    elif secret := volume.get("secret"):
        if secret["secretName"].endswith("-tls"):
            issued = _AUTHORITY.issue_cert("localhost", "127.0.0.1")
            issued.private_key_pem.write_to_path(str(place / "tls.key"))
            issued.cert_chain_pems[0].write_to_path(str(place / "tls.crt"))
            _AUTHORITY.cert_pem.write_to_path(str(place / "ca.crt"))
        elif secret.get("optional"):
            # Nobody has brought it.
            return
        else:
            _write(container, "Secret", secret["secretName"], place)


def _write(container: Container, kind: str, name: str, place: Path) -> None:
    """Writes as the kubelet does: the files are links into a folder that is itself a link."""
    (place / "..first").mkdir()
    (place / "..data").symlink_to("..first")
    for key in container.built.keys(kind, name):
        (place / "..first" / key).write_text(container.built.content(kind, name, key))
        (place / key).symlink_to(Path("..data") / key)
