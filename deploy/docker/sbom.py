"""Writes what is in each image, as CycloneDX: `make sbom`, and with every `make lock`.

The lists are made from the locks, by CycloneDX's own tool, without a network: every package with
its version, its hashes and what scanners know it by (purl). Debian's packages are the base's: they
are in its list, not in these.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

from deploy.docker.lock import EXTRAS, PYPROJECT, installed, path, variants_of
from deploy.docker.wheelhouse import MACHINES

# Read by all scanners that read CycloneDX.
SCHEMA = "1.6"


def file_name(image: str, variant: str) -> str:
    """Returns what the list of an image is called."""
    return f"pbserve-{image}-{variant}.cdx.json"


def write(tool: Path, image: str, variant: str, *, python: str, machine: str, into: Path) -> Path:
    """Writes the list of one image, and returns where it is."""
    output = into / file_name(image, variant)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as lock:
        lock.write(installed(path(image, variant).read_text(), python, machine))
        lock.flush()
        command = [str(tool), "requirements", lock.name, "--pyproject", str(PYPROJECT)]
        command += ["--output-reproducible", "--output-format", "JSON"]
        command += ["--spec-version", SCHEMA, "--output-file", str(output)]
        subprocess.run(command, check=True)
    return output


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tool", type=Path, required=True, help="cyclonedx-py")
    parser.add_argument("--python", default="3.12", help="of the base image")
    parser.add_argument("--machine", choices=MACHINES, default=MACHINES[0])
    parser.add_argument("--into", type=Path, default=Path("dist") / "sbom")
    chosen = parser.parse_args()
    chosen.into.mkdir(parents=True, exist_ok=True)
    for image in EXTRAS:
        for variant in variants_of(image):
            made = write(
                chosen.tool,
                image,
                variant,
                python=chosen.python,
                machine=chosen.machine,
                into=chosen.into,
            )
            print(made)


if __name__ == "__main__":
    main()
