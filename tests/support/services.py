"""Real services as processes on free loopback ports."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# Of metrics and the status page; many servers run at the same time.
_FREE_PORTS = {
    "PBSERVE_METRICS_LISTEN": "127.0.0.1:0",
    "PBEXPORT_METRICS_LISTEN": "127.0.0.1:0",
    # Not the user's own.
    "PBSERVE_STATE": str(Path(tempfile.gettempdir()) / "pbserve-tests-state"),
}
_STARTED = re.compile(r"conversion_process_started .*pid=(\d+)")


@dataclass(frozen=True)
class Service:
    """A running service: where it listens, its process and its log."""

    address: str
    process: subprocess.Popen[str]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid


@contextlib.contextmanager
def running(
    package: str, *options: str, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """Runs a service until the block ends; on a free port, unless the environment has one."""
    listen = () if environment else ("--listen", "127.0.0.1:0")
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", package, "serve", *listen, *options],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, **_FREE_PORTS, **(environment or {})},
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert "listening on" in line, log.read_text()
        yield Service(line.split()[-1], process, log)
    finally:
        process.terminate()
        process.wait(timeout=60)
        process.stdout.close()


def conversion_process(service: Service) -> int:
    """Returns the id of the process that has the exporter's latest task."""
    log = _COLOURS.sub("", service.log.read_text())
    return int(_STARTED.findall(log)[-1])


def resident_bytes(service: Service) -> int:
    """Returns the resident memory of a service."""
    pages = int(Path(f"/proc/{service.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")
