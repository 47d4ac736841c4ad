"""Pins the base of the images by its digest: `make pin-base`, where a registry can be asked.

The Containerfile's `ARG BASE` is the one place that says what the base is.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

CONTAINERFILE = Path(__file__).resolve().parent / "Containerfile"
# What is asked, in place of IMAGE: by default docker, for the digest of all platforms together.
ASK = "docker buildx imagetools inspect --format '{{.Manifest.Digest}}' IMAGE"
_LINE = r"(?m)^ARG BASE=(\S+?)(@sha256:[0-9a-f]{64})?$"
_DIGEST = r"sha256:[0-9a-f]{64}"


class BaseNotPinned(Exception):
    """The base has no digest that anybody could tell."""


def base(recipe: str) -> tuple[str, str]:
    """Returns the base of a Containerfile, and its digest, empty without one."""
    found = re.search(_LINE, recipe)
    if found is None:
        raise BaseNotPinned("the Containerfile has no line `ARG BASE=NAME:TAG`")
    return found[1], (found[2] or "").removeprefix("@")


def asked(command: str, image: str) -> str:
    """Returns what a command says is the digest of an image.

    Raises:
        BaseNotPinned: it is not there, it fails, or says something else.
    """
    words = [word.replace("IMAGE", image) for word in shlex.split(command)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BaseNotPinned(f"install what can ask a registry, or give --ask: {error}") from error
    digest = done.stdout.strip()
    if done.returncode or not re.fullmatch(_DIGEST, digest):
        said = (done.stderr or done.stdout).strip()[-300:]
        raise BaseNotPinned(f"{shlex.join(words)} gives no digest: {said}")
    return digest


def pinned(recipe: str, digest: str) -> str:
    """Returns a Containerfile with the digest behind the base's name and tag."""
    return re.sub(_LINE, rf"ARG BASE=\1@{digest}", recipe, count=1)


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ask", default=ASK, help=f"command with IMAGE in it (default: {ASK})")
    parser.add_argument("--check", action="store_true", help="only say whether it is pinned")
    parser.add_argument("--file", type=Path, default=CONTAINERFILE)
    chosen = parser.parse_args()
    try:
        recipe = chosen.file.read_text()
        name, digest = base(recipe)
        if chosen.check:
            if not digest:
                print(
                    f"pin the base by `make pin-base`: {name} is a tag, which moves",
                    file=sys.stderr,
                )
            return not digest
        digest = asked(chosen.ask, name)
        chosen.file.write_text(pinned(recipe, digest))
    except BaseNotPinned as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{name}@{digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
