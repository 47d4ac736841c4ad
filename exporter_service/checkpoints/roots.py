"""Finds the checkpoint that a request names, without ever leaving the configured roots.

Runs in the server's process: no TensorFlow in here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from google.protobuf import text_encoding

from exporter_service.checkpoints.neighbours import PART, STATE_FILE, advice
from exporter_service.checkpoints.signature import check_table, foreign_content
from service_kit import errors
from service_kit.artifacts.manifest import CheckpointFormat

_STATE_PATH = re.compile(r'^\s*model_checkpoint_path:\s*"((?:[^"\\]|\\.)*)"', re.MULTILINE)
# TensorFlow's reader takes a path for a pattern.
_PATTERN = re.compile(r"[*?\[\]\\]")
# Characters of a path in a message.
_SHOWN = 300
_STEP = re.compile(r"-(\d+)$")
_STATE_FILE_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class CheckpointLocation:
    """A checkpoint on disk: prefix below its real folder, format, and index file.

    For V1 the prefix is the one file, which is both index and data.
    """

    prefix: Path
    format: CheckpointFormat
    index: Path
    # As it may be told to others: the prefix below its root; empty: the prefix itself.
    shown: str = ""

    @property
    def global_step(self) -> int | None:
        """The number after the last `-` of the prefix, if it ends in one."""
        match = _STEP.search(self.prefix.name)
        return int(match[1]) if match else None


class CheckpointRoots:
    """The folders below which checkpoints may be read."""

    def __init__(self, roots: Sequence[Path], max_checkpoint_bytes: int | None = None) -> None:
        """Takes the folders; symlinks in their own paths are resolved once, here.

        Args:
            roots: the folders.
            max_checkpoint_bytes: of all files of one checkpoint; None: any number.
        """
        self._roots = tuple(root.resolve() for root in roots)
        self._max_checkpoint_bytes = max_checkpoint_bytes

    def locate(self, requested: str) -> CheckpointLocation:
        """Returns the checkpoint at a path: a directory with a state file, or a prefix.

        A relative path is looked up below each root in turn, and then from the folder that
        the service was started in, as long as it leads below a root.

        Raises:
            InvalidRequest: the path is empty, cannot be a path, or names a part of a checkpoint
                or a file of another kind; says which and what to give instead.
            OutsideRoots: it leads out of the roots, also by `..` or a symlink.
            CheckpointNotFound: there is no checkpoint; says what was looked for, and what is
                there.
            CheckpointCorrupt: the checkpoint's first file is empty, cut off, or a placeholder.
            CheckpointTooLarge: its files have more bytes than the exporter may read.
        """
        if not requested or "\0" in requested:
            raise errors.InvalidRequest("checkpoint is empty or holds a zero byte: give a path")
        try:
            return self._locate(requested)
        except OSError as error:
            raise errors.CheckpointNotFound(
                f"{requested} cannot be read: {error.strerror}"
            ) from error

    def locate_file(self, requested: str) -> Path:
        """Returns the real path of one file, looked up as a checkpoint is.

        Raises:
            InvalidRequest: the path is empty, or cannot be a path.
            OutsideRoots: it leads out of the roots.
            CheckpointNotFound: there is no such file.
        """
        if not requested or "\0" in requested:
            raise errors.InvalidRequest("graph is empty or holds a zero byte: give a path")
        shown = requested if len(requested) <= _SHOWN else f"{requested[:_SHOWN]}..."
        try:
            below_roots = [root / requested for root in self._roots]
            inside = [path for path in (*below_roots, Path(requested)) if self._is_inside(path)]
            for path in inside:
                if path.is_file():
                    return path.resolve()
        except OSError as error:
            raise errors.CheckpointNotFound(f"{shown} cannot be read: {error.strerror}") from error
        if not inside:
            raise self._outside(shown)
        raise errors.CheckpointNotFound(f"there is no file {shown}")

    def shown(self, path: Path) -> str:
        """Returns a path below a root as everybody may read it: relative to the root.

        Where roots lie in each other, to the innermost.
        """
        below = [str(path.relative_to(root)) for root in self._roots if path.is_relative_to(root)]
        return min(below, key=len, default=path.name)

    def _locate(self, requested: str) -> CheckpointLocation:
        below_roots = [root / requested for root in self._roots]
        inside = [path for path in (*below_roots, Path(requested)) if self._is_inside(path)]
        looked_for: list[str] = []
        for path in inside:
            prefix = self._prefix(path, requested, looked_for)
            location = prefix and self._location(prefix, requested, looked_for)
            if location:
                return location
        if not all(path in inside for path in below_roots):
            raise self._outside(requested)
        part = PART.search(requested)
        # A hidden file that is called `.index` is no part of anything.
        if part and PART.sub("", Path(requested).name):
            raise self._part(requested, requested[: part.start()], inside)
        hints = (advice(path, requested, self._is_inside) for path in inside)
        hint = next(filter(None, hints), "")
        raise errors.CheckpointNotFound(
            f"there is no checkpoint at {requested}: looked for "
            + ", ".join(dict.fromkeys(looked_for))
            + (f"; {hint}" if hint else "")
        )

    def _part(self, requested: str, prefix: str, inside: Sequence[Path]) -> errors.InvalidRequest:
        given = f"{requested} is one file of a checkpoint: give its prefix, {prefix}"
        starts = [path.with_name(PART.sub("", path.name)) for path in inside]
        indices = [start.with_name(start.name + ".index") for start in starts]
        if any(self._is_inside(file) and file.is_file() for file in (*starts, *indices)):
            return errors.InvalidRequest(given)
        return errors.InvalidRequest(
            f"{given}; nothing can be read without {PurePosixPath(prefix).name}.index, which is "
            "not there: copy all files of the checkpoint"
        )

    def _is_inside(self, path: Path) -> bool:
        try:
            resolved = path.resolve()
        except (OSError, RuntimeError):
            # A loop of symlinks leads nowhere.
            return False
        return any(resolved.is_relative_to(root) for root in self._roots)

    def _outside(self, requested: str) -> errors.OutsideRoots:
        return errors.OutsideRoots(
            f"{requested} is outside the folders that this exporter may read: put the "
            "checkpoint below one of them, or start the exporter with another --checkpoint-root"
        )

    def _prefix(self, path: Path, requested: str, looked_for: list[str]) -> Path | None:
        """Follows a directory's state file; any other path is a prefix itself."""
        if not path.is_dir():
            return path
        state = path / STATE_FILE
        looked_for.append(f"{_below(requested, STATE_FILE)}")
        if not self._is_inside(state):
            raise self._outside(_below(requested, STATE_FILE))
        if not state.is_file():
            return None
        with state.open("rb") as file:
            content = file.read(_STATE_FILE_LIMIT_BYTES)
        match = _STATE_PATH.search(content.decode(errors="replace"))
        if not match and (foreign := foreign_content(content)):
            raise errors.CheckpointCorrupt(
                f"{_below(requested, STATE_FILE)} is {foreign.kind}: {foreign.remedy}, or give "
                "the checkpoint's prefix"
            )
        if not match:
            raise errors.CheckpointNotFound(
                f"{_below(requested, STATE_FILE)} names no model_checkpoint_path: give the "
                "checkpoint's prefix instead"
            )
        try:
            named = Path(text_encoding.CUnescape(match[1]).decode(errors="replace"))
        except ValueError as error:
            raise errors.CheckpointNotFound(
                f"{_below(requested, STATE_FILE)} cannot be read: {error}"
            ) from error
        if "\0" in str(named):
            raise errors.CheckpointNotFound(
                f"{_below(requested, STATE_FILE)} names a path with a zero byte"
            )
        if named.is_absolute() and not self._is_inside(named):
            # Written on the machine that trained; the files have moved together since.
            named = Path(named.name)
        prefix = path / named
        if not self._is_inside(prefix):
            raise self._outside(f"{named}, which {_below(requested, STATE_FILE)} names,")
        return prefix

    def _location(
        self, prefix: Path, requested: str, looked_for: list[str]
    ) -> CheckpointLocation | None:
        prefix = prefix.parent.resolve() / prefix.name
        index = prefix.with_name(prefix.name + ".index")
        looked_for.extend((index.name, prefix.name))
        if index.is_file():
            format_ = CheckpointFormat.V2
        elif prefix.is_file() and not PART.search(prefix.name) and prefix.name != STATE_FILE:
            format_, index = CheckpointFormat.V1, prefix
        else:
            return None
        if _PATTERN.search(str(prefix)):
            raise errors.InvalidRequest(
                f"{requested} has one of the characters * ? [ ] \\ in its real path, which "
                "TensorFlow's reader takes for a pattern: rename it"
            )
        # The files themselves may be symlinks. Which data files are read is the index's word,
        # so none that could be meant may lead out.
        for path in (index, prefix.with_name(prefix.name + ".meta"), *_data_files(prefix)):
            if not self._is_inside(path):
                raise self._outside(f"{path.name} of {requested}")
        self._check_bytes(prefix, index, requested)
        # Refused here, before a process is started for what only has a checkpoint's name.
        check_table(index, format_)
        return CheckpointLocation(prefix, format_, index, self.shown(prefix))

    def _check_bytes(self, prefix: Path, index: Path, requested: str) -> None:
        if self._max_checkpoint_bytes is None:
            return
        files = {index, prefix.with_name(prefix.name + ".meta"), *_data_files(prefix)}
        size = sum(path.stat().st_size for path in files if path.is_file())
        if size > self._max_checkpoint_bytes:
            raise errors.CheckpointTooLarge(
                f"{requested} has {size} bytes, and this exporter reads "
                f"{self._max_checkpoint_bytes}: save it without what only training needs, or have "
                "the operator raise --max-checkpoint-mb"
            )


def _data_files(prefix: Path) -> Iterator[Path]:
    """Yields whatever could be a data file of the prefix."""
    start = prefix.name + ".data-"
    return (path for path in prefix.parent.iterdir() if path.name.startswith(start))


def _below(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}"
