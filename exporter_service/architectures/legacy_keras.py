"""Lets `tf.layers` and tf_slim find the Keras that they were written for, where it is installed."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec

_WANTED = "tf_keras.legacy_tf_layers"
_THERE = "tf_keras.src.legacy_tf_layers"


def provide_legacy_keras() -> None:
    """Prepares this process for nets that use `tf.layers` or tf_slim.

    Does nothing without tf_keras. To be called in processes that may load TensorFlow, before a
    net is built.

    `tf.layers` is there only when TF_USE_LEGACY_KERAS is set; TensorFlow reads it when the name
    is first used. And TensorFlow 2.21 loads the batch norm of both from
    `tf_keras.legacy_tf_layers`, while tf_keras 2.21 has that package in `tf_keras.src` alone.
    """
    if find_spec("tf_keras") is None:
        return
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    if _WANTED in sys.modules or find_spec(_WANTED) or find_spec(_THERE) is None:
        return
    sys.modules[f"{_WANTED}.normalization"] = import_module(f"{_THERE}.normalization")
    sys.modules[_WANTED] = sys.modules[_THERE]
