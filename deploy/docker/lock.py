"""Writes the locks of the images: `make lock`, or `make lock UPGRADE=--upgrade` for newer releases.

Versions that a lock has are kept while they satisfy pyproject.toml. The locks hold for CPython 3.11
and later on Linux, on every architecture that the packages have wheels for.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from packaging.markers import Marker, default_environment

HERE = Path(__file__).resolve().parent
PYPROJECT = HERE.parent.parent / "pyproject.toml"
OLDEST_PYTHON = "3.11"
# The extras that each image has.
EXTRAS = {
    "exporter": ("onnx", "slim", "s3", "gcs", "otel"),
    "inference": ("s3", "gcs", "otel"),
}
VARIANTS = ("cpu", "gpu")
# What makes our wheel; it stays in the stage that does.
BUILD = "hatchling"
# Without CUDA's kernels TensorFlow is smaller by a quarter. It is the same release and the same
# module under another name, which no requirement of anybody's can name. It is there for x86-64
# alone; for arm64 TensorFlow itself is without CUDA.
_ON_X86 = "platform_machine == 'x86_64'"
_ELSEWHERE = "platform_machine != 'x86_64'"
WITHOUT_TENSORFLOW = f"tensorflow ; {_ELSEWHERE}\n"


def path(image: str, variant: str) -> Path:
    """Returns where the lock of an image is."""
    return HERE / f"requirements-{image}-{variant}.txt"


def installed(lock: str, python: str, machine: str) -> str:
    """Returns what of a lock is for a release of Python on Linux and a machine, without markers.

    pip by itself takes the machine that it runs on for the one that it fetches for.
    """
    where = {
        **cast("dict[str, str]", default_environment()),
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
    }
    kept = []
    for entry in re.split(r"(?m)^(?! )", lock):
        pin, marker, rest = re.fullmatch(r"(?s)(\S*)(?: ; ([^\\]*?))?( \\\n.*)?", entry).groups()  # type: ignore[union-attr]
        if pin and (marker is None or Marker(marker).evaluate(where)):
            kept.append(f"{pin}{rest or ''}")
    return "".join(kept)


def compiled(output: Path, sources: Sequence[str], stdin: str, options: Sequence[str]) -> None:
    """Runs uv, which keeps the versions that `output` has; `-` among the sources is `stdin`."""
    command = [
        str(Path(sys.executable).with_name("uv")),
        *("pip", "compile", "--quiet", "--universal", "--python-version", OLDEST_PYTHON),
        # Where packages come from is the machine's business, and not for everybody to read.
        *("--no-config", "--generate-hashes", "--no-header", "--no-annotate"),
        *("--no-emit-index-url", "--no-emit-find-links"),
        *("--output-file", str(output), *options, *sources),
    ]
    subprocess.run(command, input=stdin, text=True, check=True)


def pinned(lock: Path, name: str) -> str:
    """Returns the version of a package in a lock."""
    found = re.search(rf"(?m)^{re.escape(name)}==(\S+)", lock.read_text())
    if found is None:
        raise LookupError(f"{lock.name} has no {name}")
    return found[1]


def write_locks(options: Sequence[str]) -> None:
    """Writes all locks: the largest first, whose versions are the others' too."""
    compiled(HERE / "requirements-build.txt", ["-"], BUILD, options)
    largest = path("exporter", "gpu")
    overrides = HERE / "wheelhouse" / "overrides.txt"
    overrides.write_text(WITHOUT_TENSORFLOW)
    for image, extras in EXTRAS.items():
        for variant in reversed(VARIANTS):
            output = path(image, variant)
            chosen = [*options, *(f"--extra={extra}" for extra in extras)]
            if output != largest:
                chosen += ["--constraints", str(largest)]
            stdin = "tensorflow[and-cuda]"
            if variant == "cpu":
                release = pinned(largest, "tensorflow")
                stdin = (
                    f"tensorflow-cpu=={release} ; {_ON_X86}\ntensorflow=={release} ; {_ELSEWHERE}"
                )
                chosen += ["--overrides", str(overrides)]
            compiled(output, [str(PYPROJECT), "-"], stdin, chosen)
            print(output.relative_to(PYPROJECT.parent))
    overrides.unlink()


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take the newest releases")
    write_locks(["--upgrade"] if parser.parse_args().upgrade else [])


if __name__ == "__main__":
    main()
