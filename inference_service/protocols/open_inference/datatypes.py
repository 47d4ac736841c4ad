"""The protocol's names of types <-> NumPy dtypes. Values in, values out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from service_kit import errors

# Elements of any length; for models that take images: one JPEG or PNG file each.
BYTES = "BYTES"
DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def dtype_of(name: str, datatype: str) -> np.dtype[Any]:
    """Returns the dtype of an input called `name`.

    Raises:
        InvalidTensor: the protocol has no such type.
    """
    if datatype not in DTYPES:
        known = ", ".join([*DTYPES, BYTES])
        raise errors.InvalidTensor(f"input {name!r} has datatype {datatype!r}; known are {known}")
    return DTYPES[datatype]


def datatype_of(dtype: np.dtype[Any]) -> str:
    """Returns the protocol's name of a dtype of any byte order; "": it has none."""
    return _NAMES.get(dtype.newbyteorder("="), "")
