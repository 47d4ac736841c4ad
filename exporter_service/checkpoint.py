"""Reads a checkpoint's keys, shapes and values through TensorFlow's own reader (V1 and V2)."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow.compat.v1 as tf

from exporter_service.bundle_index import Extent, read_extents
from exporter_service.checkpoint_contents import StoredTensor
from exporter_service.checkpoint_roots import CheckpointLocation
from service_kit import errors
from service_kit.manifest import CheckpointFormat, CheckpointOrigin

_HASH_BLOCK_BYTES = 1 << 20


class Checkpoint:
    """An opened checkpoint."""

    def __init__(self, location: CheckpointLocation) -> None:
        """Opens the checkpoint and reads its keys.

        Raises:
            CheckpointCorrupt: the index, or the one file of V1, is damaged or something else.
        """
        self.location = location
        with _damage_named(f"{location.index.name} cannot be read as a checkpoint"):
            self._reader: Any = tf.train.load_checkpoint(str(location.prefix))
            shapes = self._reader.get_variable_to_shape_map()
            dtypes = self._reader.get_variable_to_dtype_map()
        self.tensors: Mapping[str, StoredTensor] = {
            key: StoredTensor(tuple(shapes[key]), tf.as_dtype(dtypes[key]).name)
            for key in sorted(shapes)
        }

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Key -> shape."""
        return {key: tensor.shape for key, tensor in self.tensors.items()}

    @property
    def origin(self) -> CheckpointOrigin:
        """What a manifest says of this checkpoint."""
        return CheckpointOrigin(
            path=str(self.location.prefix),
            global_step=self.location.global_step,
            format=self.location.format,
            index_sha256=_sha256(self.location.index),
        )

    def read(self, keys: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
        """Returns the values of some keys, verified by the checksums that are stored.

        Raises:
            CheckpointCorrupt: names the tensor and the file that is damaged.
        """
        extents = self._extents()
        values = {}
        for key in keys:
            file = self._file_of(key, extents)
            with _damage_named(f"tensor {key} cannot be read from {file}"):
                values[key] = np.asarray(self._reader.get_tensor(key))
        return values

    def _extents(self) -> Mapping[str, Extent]:
        if self.location.format is CheckpointFormat.V1:
            return {}
        try:
            return read_extents(self.location.index)
        except ValueError:
            # TensorFlow could read it; then only the shard's name is lost for error messages.
            return {}

    def _file_of(self, key: str, extents: Mapping[str, Extent]) -> str:
        """Returns the name of the file that holds a tensor.

        Raises:
            CheckpointCorrupt: the file is absent or ends before the tensor does.
        """
        extent = extents.get(key)
        if extent is None:
            return self.location.prefix.name
        marker = f".data-{extent.shard:05d}-of-"
        for shard in self.location.shards:
            if marker in shard.name:
                size, needed = shard.stat().st_size, extent.offset + extent.size
                if size < needed:
                    raise errors.CheckpointCorrupt(
                        f"tensor {key} ends at byte {needed} of {shard.name} (shard "
                        f"{extent.shard}), which has {size} bytes: the file is truncated, "
                        "copy it again"
                    )
                return f"{shard.name} (shard {extent.shard})"
        raise errors.CheckpointCorrupt(
            f"tensor {key} lies in shard {extent.shard}, and there is no file "
            f"{self.location.prefix.name}{marker}*: copy all files of the checkpoint"
        )


@contextlib.contextmanager
def _damage_named(what: str) -> Iterator[None]:
    try:
        yield
    # The reader raises whatever its C++ status maps to, RuntimeError and IndexError among them.
    except Exception as error:
        raise errors.CheckpointCorrupt(f"{what}: {error}; copy the checkpoint again") from error


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
