"""What an image promises, looked up in its configuration and its files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

USER = 10001
VENV = Path("opt/pbserve")
ENTRY_POINTS = {
    "exporter": ["pbexport", "serve"],
    "inference": ["pbserve", "serve"],
    "inference-openvino": ["pbserve", "serve"],
}
PORTS = {
    "exporter": (8600, 8601, 9600),
    "inference": (8500, 8501, 9500),
    "inference-openvino": (8500, 8501, 9500),
}
LABELS = ("title", "description", "version", "revision", "licenses", "vendor")
# By the beginnings of their names.
BUILD_PROGRAMS = (
    *("pip", "gcc", "g++", "cc", "c++", "cpp", "ld", "as", "clang", "make", "cmake", "ninja"),
    *("git", "hatch", "uv", "bazel", "cython"),
)
OUR_PACKAGES = ("pbserve", "service_kit", "exporter_service", "inference_service")
BUILD_PACKAGES = ("pip", "hatchling", "ensurepip", "uv")
# Where everybody may write on Debian. A read-only root makes them read-only, but for /tmp.
SCRATCH = ("tmp", "var/tmp", "run/lock", "dev/shm")


def walk(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yields each path below a folder, relative to it, and its state; links are not followed."""
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            yield str(path.relative_to(root)), path.lstat()


def snapshot(root: Path) -> dict[str, tuple[int, int, int, int]]:
    """Returns what changes when somebody writes: kind and mode, owner, size, time."""
    return {
        name: (found.st_mode, found.st_uid, found.st_size, found.st_mtime_ns)
        for name, found in walk(root)
    }


def writable(root: Path) -> list[str]:
    """Returns the paths that user and group 10001 may write, by their modes."""
    found = []
    for name, state in walk(root):
        # Links have no modes, and devices are the engine's.
        if not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)):
            continue
        by_all = state.st_mode & stat.S_IWOTH
        by_group = state.st_gid == USER and state.st_mode & stat.S_IWGRP
        if state.st_uid == USER or by_all or by_group:
            found.append(name)
    return found


def configuration_faults(image: str, config: Mapping[str, Any]) -> Iterator[str]:
    """Yields what is wrong with an image's configuration."""
    if config.get("User") != f"{USER}:{USER}":
        yield f"runs as {config.get('User')!r}"
    if config.get("Entrypoint") != ENTRY_POINTS[image] or config.get("Cmd"):
        yield f"starts {config.get('Entrypoint')} {config.get('Cmd')}"
    if set(config.get("ExposedPorts", ())) != {f"{port}/tcp" for port in PORTS[image]}:
        yield f"exposes {config.get('ExposedPorts')}"
    labels = config.get("Labels", {})
    for label in LABELS:
        if not labels.get(f"org.opencontainers.image.{label}"):
            yield f"has no label {label}"
    for variable in config.get("Env", ()):
        if variable.startswith("PIP_"):
            yield f"has {variable} of its build"


def file_faults(root: Path) -> Iterator[str]:
    """Yields what is wrong with an image's files."""
    for name in writable(root):
        if name not in SCRATCH:
            yield f"/{name} can be written by {USER}"
    for name, state in walk(root):
        if stat.S_ISREG(state.st_mode) and state.st_mode & (stat.S_ISUID | stat.S_ISGID):
            yield f"/{name} is set-uid or set-gid"
    yield from _tools(root)
    packages = next((root / VENV / "lib").glob("python3*")) / "site-packages"
    if (packages / "tensorflow" / "include").exists():
        yield "has TensorFlow's headers"
    if not any((packages / "inference_service" / "__pycache__").glob("*.pyc")):
        yield "has no compiled modules, which each start would compile anew"
    for left in ("src", "dist", "tools", "wheelhouse", "locks", "root/.cache", "tmp/pip"):
        if (root / left).exists():
            yield f"/{left} is left of the build"
    yield from _sources(packages)


def _tools(root: Path) -> Iterator[str]:
    folders = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", str(VENV / "bin"))
    for folder in map(root.joinpath, folders):
        for program in sorted(folder.iterdir()) if folder.is_dir() else ():
            # `gcc-12`, `pip3.12`, but neither `makedumpfile` nor `ldconfig`.
            if program.name.rstrip("0123456789.-") in BUILD_PROGRAMS:
                yield f"has /{program.relative_to(root)}"
    for kind in ("site-packages", "dist-packages", "python3*"):
        for folder in (*root.glob(f"usr/**/{kind}"), *root.glob(f"{VENV}/**/{kind}")):
            for package in BUILD_PACKAGES:
                if (folder / package).is_dir():
                    yield f"has /{(folder / package).relative_to(root)}"


def _sources(packages: Path) -> Iterator[str]:
    """Yields what our wheel brought and should not have; others' packages bring what they like."""
    (record,) = packages.glob("pbserve-*.dist-info/RECORD")
    for line in record.read_text().splitlines():
        first = line.split("/")[0]
        if first not in {*OUR_PACKAGES, "..", record.parent.name}:
            yield f"has {line.split(',')[0]} of the checkout"


def size(root: Path) -> int:
    """Returns the bytes of an image's files, each counted once."""
    states = {(s.st_dev, s.st_ino): s for _, s in walk(root) if stat.S_ISREG(s.st_mode)}
    return sum(state.st_size for state in states.values())
