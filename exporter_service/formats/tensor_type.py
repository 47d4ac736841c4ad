"""A tensor's type as TensorFlow's messages number it."""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

from service_kit.artifacts.manifest import TensorSpec


def data_type(spec: TensorSpec) -> int:
    """Returns the number of a tensor's dtype in `tensorflow.DataType`.

    The dtype is NumPy's, so strings are `object` here.
    """
    number: int = tf.as_dtype(np.dtype(spec.dtype)).as_datatype_enum
    return number
