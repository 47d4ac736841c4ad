"""The answers to many images as one NumPy archive."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from inference_service.cli.inputs.image_stream import ImageAnswer
from service_kit import errors

# Arrays of the archive beside the outputs'.
_NAMES, _CARDS, _VERSIONS = "names", "cards", "versions"
_TOP_CLASSES, _TOP_SCORES = "top_classes", "top_scores"
_FAILED, _REASONS = "failed_names", "failed_reasons"
_RESERVED = frozenset([_NAMES, _CARDS, _VERSIONS, _TOP_CLASSES, _TOP_SCORES, _FAILED, _REASONS])


class AnswerArchive:
    """Writes `.npz`, with one row an answered image in every array; outputs stay on disk.

    The arrays are those of the outputs by name, `names`, `cards`, `versions` and, where classes
    were asked for, `top_classes` and `top_scores`. `failed_names` and `failed_reasons` have a row
    for each image without an answer. The file appears, whole, at the end of the `with` block, or
    not at all.
    """

    def __init__(self, path: Path) -> None:
        """Will write to `path`, and replace what is there.

        Raises:
            InvalidRequest: nothing can be written beside it.
        """
        self._path = path
        self._rows: dict[str, _Rows] = {}
        self._names: list[str] = []
        self._failed: list[tuple[str, str]] = []
        if path.is_dir():
            raise errors.InvalidRequest(f"{path} is a folder: name the file to write")
        try:
            self._spool = tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent)
        except OSError as error:
            raise errors.InvalidRequest(f"{path} cannot be written: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._write()
        finally:
            for rows in self._rows.values():
                rows.file.close()
            shutil.rmtree(self._spool, ignore_errors=True)

    def add(self, answer: ImageAnswer) -> None:
        """Takes the next answer.

        Raises:
            InvalidRequest: an output has another shape or dtype than before.
        """
        prediction = answer.prediction
        if answer.error:
            self._failed.append((answer.name, answer.error.message))
        if not prediction:
            return
        rows: dict[str, npt.NDArray[Any]] = {
            (f"output_{name}" if name in _RESERVED else name): output[0]
            for name, output in prediction.outputs.items()
        }
        rows |= {
            _CARDS: np.asarray(prediction.card, np.int32),
            _VERSIONS: np.asarray(prediction.version, np.int64),
        }
        if prediction.top:
            best = prediction.top[0]
            rows[_TOP_CLASSES] = np.array([one.index for one in best], np.int32)
            rows[_TOP_SCORES] = np.array([one.score for one in best], np.float64)
        self._append(answer.name, rows)

    def end(self) -> None:
        """Leaves it to the end of the `with` block."""

    def _append(self, name: str, rows: Mapping[str, npt.NDArray[Any]]) -> None:
        if not self._rows:
            self._rows = {
                key: _Rows(row, Path(self._spool) / str(number))
                for number, (key, row) in enumerate(rows.items())
            }
        if self._rows.keys() != rows.keys():
            raise errors.InvalidRequest(
                f"{name} has {', '.join(sorted(rows))} and the images before it "
                f"{', '.join(sorted(self._rows))}: one archive holds the answers of one model"
            )
        for key, row in rows.items():
            self._rows[key].append(row, f"{key} of {name}")
        self._names.append(name)

    def _write(self) -> None:
        whole = Path(self._spool) / self._path.name
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
            for key, rows in self._rows.items():
                with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                    rows.write(member, len(self._names))
            failed = list(zip(*self._failed, strict=True)) or [(), ()]
            for key, texts in ((_NAMES, self._names), (_FAILED, failed[0]), (_REASONS, failed[1])):
                with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.array(texts, np.str_), allow_pickle=False)
        with whole.open("rb") as file:
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            # What is replaced keeps its permissions, as if it had been written into.
            shutil.copymode(self._path, whole)
        whole.replace(self._path)


class _Rows:
    """The rows of one array, in a file of their own until their number is known."""

    def __init__(self, first: npt.NDArray[Any], path: Path) -> None:
        self.file: IO[bytes] = path.open("w+b")
        self._shape, self._dtype = first.shape, first.dtype

    def append(self, row: npt.NDArray[Any], what: str) -> None:
        if (row.shape, row.dtype) != (self._shape, self._dtype):
            raise errors.InvalidRequest(
                f"{what} is {row.dtype.name} {list(row.shape)} and was {self._dtype.name} "
                f"{list(self._shape)} before: an archive has one shape; use --json"
            )
        self.file.write(row.tobytes())

    def write(self, member: IO[bytes], count: int) -> None:
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (count, *self._shape),
        }
        np.lib.format.write_array_header_2_0(member, header)
        self.file.seek(0)
        shutil.copyfileobj(self.file, member)
