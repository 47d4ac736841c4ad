"""The one place where a server imports TensorFlow, which takes seconds and is done by a thread."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import threading

# Sets what TensorFlow reads while it is imported, and imports it.
_ENGINE = "inference_service.engine.tensorflow"
_importing = threading.Lock()


def import_tensorflow() -> None:
    """Imports TensorFlow with the engine's settings, once; who comes meanwhile waits.

    Whatever else needs TensorFlow in a server (stubs of protocols that are built on its
    messages) calls this first, so that the settings do not depend on who comes first. Blocks for
    seconds: not for an event loop.
    """
    with _importing:
        if _ENGINE in sys.modules:
            return
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        importlib.import_module(_ENGINE)
        # What the import has made stays; looking through it, which nobody else can run beside,
        # would take 200 ms of each full collection instead of 20.
        gc.collect()
        gc.freeze()
