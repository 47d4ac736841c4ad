"""Fetches what the locks name, so that images are built without a network: `make wheelhouse`.

pip does it with the settings that it has on this machine (an index of your own, a proxy), none of
which reach an image or a file here. Hashes are those of the locks.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.docker.lock import EXTRAS, HERE, VARIANTS, installed, path

WHEELHOUSE = HERE / "wheelhouse"
MACHINES = ("x86_64", "aarch64")
# Of Debian 12, the oldest base; wheels for older ones run there, too.
GLIBC = (2, 36)
OLDEST_GLIBC = (2, 5)


def platforms(machine: str) -> list[str]:
    """Returns the tags of wheels that run on Debian 12, the newest first (PEP 600)."""
    _, newest = GLIBC
    _, oldest = OLDEST_GLIBC
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(newest, oldest - 1, -1)]
    # The names of three of them before PEP 600.
    legacy = [f"{name}_{machine}" for name in ("manylinux2014", "manylinux2010", "manylinux1")]
    return [*tags, *legacy, f"linux_{machine}"]


def download(lock: Path, python: str, into: Path, machine: str) -> None:
    """Downloads the wheels of a lock for a release of Python, `3.12`, and a machine."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
    command += [f"--platform={tag}" for tag in platforms(machine)]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(installed(lock.read_text(), python, machine))
        file.flush()
        subprocess.run([*command, "--dest", str(into), "--requirement", file.name], check=True)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", choices=VARIANTS, default="cpu")
    parser.add_argument("--python", default="3.12", help="of the base image")
    parser.add_argument("--machine", choices=MACHINES, default=MACHINES[0])
    parser.add_argument("--into", type=Path, default=WHEELHOUSE)
    chosen = parser.parse_args()
    for lock in (
        HERE / "requirements-build.txt",
        *(path(image, chosen.variant) for image in EXTRAS),
    ):
        download(lock, chosen.python, chosen.into, chosen.machine)
    print(f"{len(list(chosen.into.glob('*.whl')))} wheels in {chosen.into}")


if __name__ == "__main__":
    main()
