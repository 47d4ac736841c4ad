"""Images from a NumPy archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from service_kit import errors


def array_of(path: Path, key: str) -> np.ndarray[Any, Any]:
    """Returns an array with at least one dimension from an archive; pickles are not read.

    Raises:
        InvalidRequest: there is no such archive or array; says what there is.
    """
    try:
        array = _read_array(path, key)
    except errors.PbserveError:
        raise
    # A damaged archive fails in whatever layer meets the damage first.
    except Exception as error:
        reason = "it holds Python objects" if "allow_pickle" in str(error) else error
        raise errors.InvalidRequest(
            f"{path} cannot be read as a NumPy archive: {reason}"
        ) from error
    if array.ndim == 0:
        raise errors.InvalidRequest(f"array {key!r} of {path} is a single number")
    return array


def _read_array(path: Path, key: str) -> np.ndarray[Any, Any]:
    archive = np.load(path, allow_pickle=False)
    if isinstance(archive, np.ndarray):
        raise errors.InvalidRequest(f"{path} holds one array: save it with numpy.savez")
    with archive:
        if key not in archive.files:
            raise errors.InvalidRequest(
                f"{path} has no array {key!r}; it has {', '.join(archive.files) or 'none'}"
            )
        array = archive[key]
    if not isinstance(array, np.ndarray):
        raise errors.InvalidRequest(f"{key!r} of {path} is no array")
    return array
