"""Reads a checkpoint's keys, shapes and values through TensorFlow's own reader (V1 and V2)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow.compat.v1 as tf

from exporter_service.checkpoints.bundle_index import BundleLayout, read_layout
from exporter_service.checkpoints.contents import StoredTensor
from exporter_service.checkpoints.roots import CheckpointLocation
from exporter_service.checkpoints.signature import foreign_file
from service_kit import errors
from service_kit.artifacts.digest import sha256_of
from service_kit.artifacts.manifest import CheckpointFormat, CheckpointOrigin


class Checkpoint:
    """An opened checkpoint."""

    def __init__(self, location: CheckpointLocation) -> None:
        """Opens the checkpoint and reads its keys.

        Raises:
            CheckpointCorrupt: the index, or the one file of V1, is damaged or something else.
        """
        self.location = location
        with _damage_named(f"{location.index.name} cannot be read as a checkpoint"):
            # Unlike load_checkpoint this follows no directory and no state file: what was
            # located below a root is what is read.
            self._reader: Any = tf.train.NewCheckpointReader(str(location.prefix))
            shapes = self._reader.get_variable_to_shape_map()
            dtypes = self._reader.get_variable_to_dtype_map()
        self.tensors: Mapping[str, StoredTensor] = {
            key: StoredTensor(tuple(shapes[key]), tf.as_dtype(dtypes[key]).name)
            for key in sorted(shapes)
        }
        self._layout = self._read_layout()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Key -> shape."""
        return {key: tensor.shape for key, tensor in self.tensors.items()}

    @property
    def origin(self) -> CheckpointOrigin:
        """What a manifest says of this checkpoint."""
        return CheckpointOrigin(
            path=self.location.shown or str(self.location.prefix),
            global_step=self.location.global_step,
            format=self.location.format,
            index_sha256=sha256_of(self.location.index),
        )

    def read(self, keys: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
        """Returns the values of some keys, verified by the checksums that are stored.

        Raises:
            CheckpointCorrupt: names the tensor and the file that is damaged.
        """
        values = {}
        for key in keys:
            file, place = self._file_of(key)
            try:
                with _damage_named(f"tensor {key} cannot be read from {place}"):
                    values[key] = np.asarray(self._reader.get_tensor(key))
            except errors.CheckpointCorrupt:
                _check_not_foreign(file, key)
                raise
        return values

    @property
    def shard_count(self) -> int:
        """Number of data files that the index speaks of; 1 for V1."""
        return self._layout.shard_count if self._layout else 1

    def _read_layout(self) -> BundleLayout | None:
        if self.location.format is CheckpointFormat.V1:
            return None
        with _damage_named(f"{self.location.index.name} cannot be read"):
            return read_layout(self.location.index)

    def _file_of(self, key: str) -> tuple[Path, str]:
        """Returns the file that holds a tensor, and what messages call it.

        Raises:
            CheckpointCorrupt: the file is absent or ends before the tensor does.
        """
        prefix = self.location.prefix
        extent = self._layout.extents.get(key) if self._layout else None
        if self._layout is None and key in self.tensors:
            # Where a checksum is wrong, the reader of V1 says that there is no such tensor.
            place = f"{prefix.name}, whose index has it, so its values are damaged"
            return self.location.index, place
        if self._layout is None or extent is None:
            return self.location.index, prefix.name
        name = f"{prefix.name}.data-{extent.shard:05d}-of-{self._layout.shard_count:05d}"
        shard = prefix.with_name(name)
        if not shard.is_file():
            raise errors.CheckpointCorrupt(
                f"tensor {key} lies in shard {extent.shard}, and there is no file {name}: copy "
                "all files of the checkpoint"
            )
        size, needed = shard.stat().st_size, extent.offset + extent.size
        if size < needed:
            _check_not_foreign(shard, key)
            raise errors.CheckpointCorrupt(
                f"tensor {key} ends at byte {needed} of {name} (shard {extent.shard}), which has "
                f"{size} bytes: the file is truncated, copy it again"
            )
        return shard, f"{name} (shard {extent.shard})"


def _check_not_foreign(file: Path, key: str) -> None:
    """Raises CheckpointCorrupt if the file that a tensor is missing from is known by its bytes."""
    with contextlib.suppress(OSError):
        if foreign := foreign_file(file):
            raise errors.CheckpointCorrupt(
                f"tensor {key} should be in {file.name}, which is {foreign.kind}; {foreign.remedy}"
            )


@contextlib.contextmanager
def _damage_named(what: str) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    # The reader raises whatever its C++ status maps to, RuntimeError and IndexError among them.
    except Exception as error:
        raise errors.CheckpointCorrupt(f"{what}: {error}; copy the checkpoint again") from error
