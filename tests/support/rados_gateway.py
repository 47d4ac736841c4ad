"""A real S3 server on loopback: Ceph's gateway on a cluster of one node, all of it in memory.

`python -m tests.support.rados_gateway` runs one for people (`make s3`), as any user. It needs
Debian's packages radosgw, ceph-mon, ceph-osd and ceph-common.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

PROGRAMS = ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph", "monmaptool")
USER, ACCESS_KEY, SECRET_KEY = "pbserve", "PBSERVEACCESSKEY", "pbserve-secret-for-loopback-only"
_START_SECONDS = 90
_CONFIGURATION = """
[global]
fsid = {fsid}
mon host = v1:127.0.0.1:{mon_port}
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = {folder}/keyring
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
log file = {folder}/log/$name.log
log to stderr = false
mon cluster log file = {folder}/log/cluster.log
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
mon allow pool size one = true
mon data avail crit = 1
osd crush chooseleaf type = 0
[mon.a]
mon data = {folder}/mon
[osd.0]
keyring = {folder}/osd.keyring
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 2147483648
[client.rgw]
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port}
debug rgw = 1
"""
# A line a request: "GET /bucket/key HTTP/1.1" 200 123
_REQUEST = re.compile(r'beast: .*?"([A-Z]+) (\S+) HTTP/1\.1" (\d+) (\d+)')


def missing_programs() -> list[str]:
    """Returns what has to be installed first."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


class RadosGateway:
    """A running gateway; `kill` and `start_gateway` leave what is stored as it is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port, self._mon_port = _free_port(), _free_port()
        self._configuration = folder / "ceph.conf"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.bucket = "pbserve-models"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """What any S3 client needs to know."""
        return environment(self.endpoint, ACCESS_KEY, SECRET_KEY)

    def start(self) -> None:
        """Starts everything and makes a user and a bucket; takes about 13 s."""
        for name in ("mon", "osd", "rgw", "run", "log"):
            (self._folder / name).mkdir()
        fsid = str(uuid.uuid4())
        self._configuration.write_text(
            _CONFIGURATION.format(
                fsid=fsid, folder=self._folder, port=self._port, mon_port=self._mon_port
            )
        )
        self._make_keys()
        monmap = str(self._folder / "monmap")
        self._run(
            "monmaptool", "--create", "--fsid", fsid,
            "--addv", "a", f"[v1:127.0.0.1:{self._mon_port}]", monmap,
        )  # fmt: skip
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
        self._start("ceph-mon", "-i", "a")
        osd = str(uuid.uuid4())
        secret = self._run("ceph-authtool", str(self._folder / "osd.keyring"), "-n", "osd.0", "-p")
        known = json.dumps({"cephx_secret": secret.strip()})
        self._run("ceph", "--connect-timeout", "60", "osd", "new", osd, "-i", "-", said=known)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._start("ceph-osd", "-i", "0")
        self.start_gateway()
        self.add_user(USER, ACCESS_KEY, SECRET_KEY)
        self._make_bucket()

    def start_gateway(self) -> None:
        """Starts the gateway, at the first time or again on the same port."""
        process = self._start("radosgw", "-n", "client.rgw")
        end = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert process.poll() is None, self._log("client.rgw")
            assert time.monotonic() < end, self._log("client.rgw")
            time.sleep(0.1)

    def kill(self) -> None:
        """Ends the gateway in the middle of whatever it does."""
        process = self._processes.pop("radosgw")
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Ends everything."""
        for process in reversed(self._processes.values()):
            # Memory is gone anyway.
            process.kill()
            process.wait()
        self._processes.clear()

    def add_user(self, name: str, access_key: str, secret_key: str) -> None:
        self._admin("user", "create", "--uid", name, "--display-name", name,
                    "--access-key", access_key, "--secret-key", secret_key)  # fmt: skip

    def add_key(self, name: str, access_key: str, secret_key: str) -> None:
        self._admin("key", "create", "--uid", name, "--key-type", "s3",
                    "--access-key", access_key, "--secret-key", secret_key)  # fmt: skip

    def remove_key(self, name: str, access_key: str) -> None:
        self._admin("key", "rm", "--uid", name, "--key-type", "s3", "--access-key", access_key)

    def requests(self) -> list[tuple[str, str, int]]:
        """Returns method, path and status of what was answered so far."""
        return [
            (method, path, int(status))
            for method, path, status, _ in _REQUEST.findall(self._log("client.rgw"))
        ]

    def _make_keys(self) -> None:
        ring = str(self._folder / "keyring")
        every = ("--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *")
        self._run("ceph-authtool", "--create-keyring", ring, "--gen-key", "-n", "mon.",
                  "--cap", "mon", "allow *")  # fmt: skip
        self._run("ceph-authtool", ring, "--gen-key", "-n", "client.admin", *every)
        self._run("ceph-authtool", ring, "--gen-key", "-n", "client.rgw",
                  "--cap", "mon", "allow rw", "--cap", "osd", "allow rwx")  # fmt: skip
        self._run("ceph-authtool", "--create-keyring", str(self._folder / "osd.keyring"),
                  "--gen-key", "-n", "osd.0")  # fmt: skip

    def _make_bucket(self) -> None:
        import fsspec

        fsspec.filesystem(
            "s3",
            key=ACCESS_KEY,
            secret=SECRET_KEY,
            endpoint_url=self.endpoint,
            skip_instance_cache=True,
        ).mkdir(self.bucket)

    def _admin(self, *arguments: str) -> None:
        self._run("radosgw-admin", *arguments)

    def _run(self, program: str, *arguments: str, said: str = "") -> str:
        done = subprocess.run(
            [program, *self._options(program), *arguments],
            input=said, capture_output=True, text=True, check=False, timeout=_START_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, f"{program} {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def _start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder / "log" / f"{program}.out").open("ab") as output:
            # With this process, however that ends.
            self._processes[program] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL",
                 program, "-f", *self._options(program), *arguments],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        return self._processes[program]

    def _options(self, program: str) -> tuple[str, ...]:
        return () if program == "monmaptool" else ("-c", str(self._configuration))

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.endpoint, timeout=5):  # noqa: S310 - loopback
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def _log(self, name: str) -> str:
        path = self._folder / "log" / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""


def environment(endpoint: str, access_key: str, secret_key: str) -> dict[str, str]:
    """Returns the variables of AWS' own tools."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def rados_gateway(folder: Path) -> Iterator[RadosGateway]:
    """Runs a gateway below an empty folder until the block ends."""
    gateway = RadosGateway(folder)
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.stop()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _exports(gateway: RadosGateway) -> str:
    variables: Mapping[str, str] = {
        **gateway.environment,
        "PBEXPORT_STORE": f"s3://{gateway.bucket}/store",
        "PBSERVE_STORE": f"s3://{gateway.bucket}/store",
    }
    return "\n".join(f"export {name}={value}" for name, value in variables.items())


def main() -> None:
    """Runs a gateway until Ctrl-C."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.parse_args()
    if missing := missing_programs():
        sys.exit(
            f"not installed: {', '.join(missing)}; Debian: "
            "apt install radosgw ceph-mon ceph-osd ceph-common"
        )

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    # Not below a folder that is long: paths of sockets are short.
    with tempfile.TemporaryDirectory(prefix="pbserve-s3-") as folder:
        print("starting Ceph's gateway, which takes about 15 s", file=sys.stderr)
        try:
            with rados_gateway(Path(folder)) as gateway:
                print(_exports(gateway), flush=True)
                print("it runs until Ctrl-C, and forgets everything then", file=sys.stderr)
                signal.pause()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
