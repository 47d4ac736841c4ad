"""What processes died of, in a folder that outlives them.

Each process has a file there with what it is loading, and a lock on it: a file that nobody has
locked is that of a process that has died. `deaths.json` has what was learned from those.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from inference_service.loading.quarantine import Suspect

RUNNING, FAULT = ".running", ".fault"
_RECORD = "deaths.json"
_LOCK = "deaths.lock"

Suspects = Mapping[str, Suspect]


@dataclass(frozen=True, slots=True)
class Load:
    """A graph that was being loaded: as which version, and its SHA-256."""

    model: str
    version: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Death:
    """What a process was loading when it died, and what Python had to say of it; may be empty."""

    loads: tuple[Load, ...]
    fault: str


def read_suspects(folder: Path) -> dict[str, Suspect]:
    """Returns SHA-256 -> what is known of a graph; a record that cannot be read has none."""
    try:
        found = json.loads((folder / _RECORD).read_text())
        return {digest: Suspect(**one) for digest, one in found.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}


def change_suspects(
    folder: Path, change: Callable[[dict[str, Suspect]], Suspects]
) -> dict[str, Suspect]:
    """Returns the record after a change that nobody else gets in the way of."""
    with (folder / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        changed = dict(change(read_suspects(folder)))
        new = folder / f".{uuid.uuid4().hex}"
        new.write_text(json.dumps({digest: asdict(one) for digest, one in changed.items()}))
        new.replace(folder / _RECORD)
    return changed


def take_deaths(folder: Path) -> list[Death]:
    """Returns those that nobody has heard of yet, and forgets them."""
    return [death for path in folder.glob(f"*{RUNNING}") for death in _taken(path)]


def _taken(path: Path) -> Iterator[Death]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    fault = path.with_suffix(FAULT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:
            yield Death(tuple(_loads(path)), _text(fault))
            fault.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
    except BlockingIOError:
        # It lives.
        pass
    finally:
        os.close(descriptor)


def _loads(path: Path) -> Iterator[Load]:
    # It may have died while it wrote.
    with contextlib.suppress(ValueError, TypeError):
        for one in json.loads(path.read_text()):
            yield Load(**one)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""
