"""What is being loaded, written where the next process finds it if this one dies of it."""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import hashlib
import json
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO

import structlog

from inference_service.loading.death_record import (
    FAULT,
    RUNNING,
    Death,
    Load,
    Suspects,
    change_suspects,
    take_deaths,
)
from inference_service.loading.quarantine import NEVER, Suspect
from service_kit import errors

_log = structlog.get_logger(__name__)
# Of what a process said when it died, in the log.
_LOGGED_CHARACTERS = 2000


class LoadJournal:
    """Remembers loads in a folder; every method blocks, and may be called from any thread.

    A folder that cannot be used is no reason not to serve: then nothing is remembered.
    """

    def __init__(self, folder: Path | None, *, clock: Callable[[], float] = time.time) -> None:
        """Remembers nothing yet.

        Args:
            folder: of one store; processes that serve the same may share it. None: nothing is
                written.
            clock: seconds since 1970.
        """
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self._loads: list[Load] = []
        self._suspects: Suspects = {}
        self._path = Path()
        self._file: IO[str] | None = None
        self._fault: IO[str] | None = None

    def open(self) -> None:
        """Learns what earlier processes died of, and begins to write."""
        folder = self._folder
        if folder is None:
            return
        with self._usable():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for death in take_deaths(folder):
                self._learn(death)
            self._begin(folder)
            self._change(lambda found: found)

    def is_suspect(self, model: str, version: int) -> bool:
        """Whether a process has died while it was loading this version."""
        suspects = self._suspects.values()
        return any((one.model, one.version) == (model, version) for one in suspects)

    @contextlib.contextmanager
    def loading(self, model: str, version: int, sha256: str) -> Iterator[None]:
        """Has it written down, while the block runs, that a graph is being loaded.

        Raises:
            Quarantined: processes died of the graph, and nobody has asked for it since.
        """
        self._check(sha256)
        load = Load(model, version, sha256)
        self._write(lambda: self._loads.append(load))
        try:
            yield
            if sha256 in self._suspects:
                self._change(lambda found: {d: one for d, one in found.items() if d != sha256})
        finally:
            self._write(lambda: self._loads.remove(load) if load in self._loads else None)

    def try_again(self, model: str) -> None:
        """Lets a model be loaded once more: it is asked for."""

        def once_more(one: Suspect) -> Suspect:
            return replace(one, deaths=1, faults=min(one.faults, 1)) if one.model == model else one

        if any(one.model == model for one in self._suspects.values()):
            self._change(lambda found: {digest: once_more(one) for digest, one in found.items()})

    def close(self) -> None:
        """Ends in order: from now on the process may die of anything."""
        self._write(self._loads.clear)
        with self._lock:
            if self._file:
                self._path.with_suffix(FAULT).unlink(missing_ok=True)
                self._path.unlink(missing_ok=True)
                self._file.close()
                self._file = None
            if self._fault:
                faulthandler.disable()
                self._fault.close()
                self._fault = None

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            folder, self._folder = self._folder, None
            _log.warning("load_journal_unusable", folder=str(folder), message=str(error))

    def _check(self, sha256: str) -> None:
        # Other processes may have learned more.
        self._change(lambda found: found)
        suspect = self._suspects.get(sha256)
        left = suspect.seconds_left(self._clock()) if suspect else 0.0
        if suspect and left > 0:
            raise errors.Quarantined(
                f"publish another graph, or ask for this one with `pbserve load {suspect.model}`: "
                f"{suspect.deaths} times in a row a server died while it loaded it (SHA-256 "
                f"{sha256[:12]}...)",
                retry_after=None if left == NEVER else left,
            )

    def _begin(self, folder: Path) -> None:
        """Makes this process's files; the lock is there before anybody can see the name."""
        name = uuid.uuid4().hex
        hidden, self._path = folder / f".{name}", folder / f"{name}{RUNNING}"
        self._file = hidden.open("w+")
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        hidden.rename(self._path)
        if not faulthandler.is_enabled():
            # Else somebody else wants to hear of it.
            self._fault = self._path.with_suffix(FAULT).open("w")
            faulthandler.enable(self._fault)

    def _learn(self, death: Death) -> None:
        for load in death.loads:
            _log.error(
                "server_died_while_loading",
                model=load.model,
                version=load.version,
                sha256=load.sha256,
                message=death.fault[:_LOGGED_CHARACTERS],
            )

        def learned(found: dict[str, Suspect]) -> Suspects:
            for load in death.loads:
                known = found.get(load.sha256, Suspect(load.model, load.version))
                found[load.sha256] = replace(
                    known,
                    model=load.model,
                    version=load.version,
                    deaths=known.deaths + 1,
                    faults=known.faults + bool(death.fault),
                    alone=len(death.loads) == 1,
                    last=self._clock(),
                )
            return found

        if death.loads:
            self._change(learned)

    def _change(self, change: Callable[[dict[str, Suspect]], Suspects]) -> None:
        with self._lock, self._usable():
            if self._folder is not None:
                self._suspects = change_suspects(self._folder, change)

    def _write(self, change: Callable[[], object]) -> None:
        with self._lock:
            change()
            if self._file is None:
                return
            # Not synced: it has to outlive the process, not the machine.
            with contextlib.suppress(OSError):
                self._file.seek(0)
                self._file.truncate()
                json.dump([asdict(one) for one in self._loads], self._file)
                self._file.flush()


def journal_folder(state: Path, store: str) -> Path:
    """Returns the folder below `state` for a store, which is named by its path or URL."""
    place = store if "://" in store else str(Path(store).absolute())
    return state / hashlib.sha256(place.encode()).hexdigest()[:16]


def default_state_folder() -> Path:
    """Returns `~/.local/state/pbserve`, or a folder below the temporary one for who has no home."""
    try:
        return Path("~/.local/state/pbserve").expanduser()
    except RuntimeError:
        return Path(tempfile.gettempdir()) / "pbserve-state"
