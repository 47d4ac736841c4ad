"""Probes in requests: message -> arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from exporter_service.specs.probes import Array
from pbserve.exporter.v1 import exporter_pb2 as pb
from service_kit import errors

_MAX_PROBE_ELEMENTS = 2**24
_MAX_PROBE_DIMENSIONS = 16
_PROBE_DTYPES = frozenset(
    ["bool", "float16", "float32", "float64"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)


def probe_arrays(messages: Sequence[pb.ProbeTensor]) -> dict[str, Array]:
    """Returns the tensors of a probe by name.

    Raises:
        InvalidRequest: a name comes twice, or a tensor is no number, too large, or cut off.
    """
    probe: dict[str, Array] = {}
    for message in messages:
        if message.name in probe:
            raise errors.InvalidRequest(f"the probe has two tensors called {message.name!r}")
        probe[message.name] = _array(message)
    return probe


def _array(message: pb.ProbeTensor) -> Array:
    name = message.name or "tensor"
    if message.dtype not in _PROBE_DTYPES:
        raise errors.InvalidRequest(
            f"the probe's {name} has dtype {message.dtype[:40]!r}: one of "
            f"{', '.join(sorted(_PROBE_DTYPES))} is possible"
        )
    dtype = np.dtype(message.dtype).newbyteorder("<")
    # Before anything is multiplied: a message has room for very many very large dimensions.
    if not 1 <= len(message.shape) <= _MAX_PROBE_DIMENSIONS or not all(
        1 <= size <= _MAX_PROBE_ELEMENTS for size in message.shape
    ):
        raise errors.InvalidRequest(
            f"the probe's {name} has {len(message.shape)} dimensions, or one out of range: 1 to "
            f"{_MAX_PROBE_DIMENSIONS} are possible, each at least 1, with the batch as first"
        )
    elements = math.prod(message.shape)
    if elements > _MAX_PROBE_ELEMENTS or len(message.content) != elements * dtype.itemsize:
        raise errors.InvalidRequest(
            f"the probe's {name} has {len(message.content)} bytes: {message.dtype} "
            f"{list(message.shape)} needs {elements * dtype.itemsize}, and at most "
            f"{_MAX_PROBE_ELEMENTS} elements"
        )
    values = np.frombuffer(message.content, dtype).reshape(tuple(message.shape))
    return values.astype(dtype.newbyteorder("="))
