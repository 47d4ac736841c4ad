"""Runs a SavedModel the way TensorFlow Serving does, without TensorFlow's Python.

`LoadSavedModel` in C++ is what TensorFlow Serving loads models with; `TF_LoadSessionFromSavedModel`
hands it the default session options, and those place nothing softly. Called as

    serving_loader.py <TensorFlow's folder> <model's folder> <input> <output> <images.npy> <out.npy>

with the names of tensors in the graph; float32 [batch, ...] in, float32 [batch, classes] out.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import numpy as np

_FLOAT = 1
_Pointer = ctypes.c_void_p


class _Port(ctypes.Structure):
    _fields_ = (("operation", _Pointer), ("index", ctypes.c_int))


def _libraries(folder: Path) -> tuple[Any, Any]:
    core = ctypes.CDLL(str(folder / "libtensorflow_framework.so.2"), mode=ctypes.RTLD_GLOBAL)
    session = ctypes.CDLL(str(folder / "libtensorflow_cc.so.2"))
    for function in (core.TF_NewStatus, core.TF_AllocateTensor, core.TF_TensorData,
                     session.TF_NewSessionOptions, session.TF_NewGraph,
                     session.TF_LoadSessionFromSavedModel,
                     session.TF_GraphOperationByName):  # fmt: skip
        function.restype = _Pointer
    core.TF_Message.restype = ctypes.c_char_p
    core.TF_TensorByteSize.restype = ctypes.c_size_t
    return core, session


def _checked(core: Any, status: Any) -> None:
    if core.TF_GetCode(status):
        sys.exit(core.TF_Message(status).decode())


def _port(library: Any, graph: Any, tensor: str) -> _Port:
    name, _, index = tensor.partition(":")
    operation = library.TF_GraphOperationByName(graph, name.encode())
    return _Port(operation, int(index))


def _run(arguments: list[str]) -> None:
    folder, model, fed, fetched, images_path, output_path = arguments
    core, library = _libraries(Path(folder))
    status, graph = _Pointer(core.TF_NewStatus()), _Pointer(library.TF_NewGraph())
    options = _Pointer(library.TF_NewSessionOptions())
    tags = (ctypes.c_char_p * 1)(b"serve")
    session = _Pointer(
        library.TF_LoadSessionFromSavedModel(
            options, None, model.encode(), tags, 1, graph, None, status
        )
    )
    _checked(core, status)

    images = np.ascontiguousarray(np.load(images_path), np.float32)
    sizes = (ctypes.c_int64 * images.ndim)(*images.shape)
    tensor = _Pointer(
        core.TF_AllocateTensor(_FLOAT, sizes, images.ndim, ctypes.c_size_t(images.nbytes))
    )
    ctypes.memmove(core.TF_TensorData(tensor), images.ctypes.data, images.nbytes)
    answer = _Pointer()
    library.TF_SessionRun(
        session, None,
        ctypes.byref(_port(library, graph, fed)), ctypes.byref(tensor), 1,
        ctypes.byref(_port(library, graph, fetched)), ctypes.byref(answer), 1,
        None, 0, None, status,
    )  # fmt: skip
    _checked(core, status)
    content = ctypes.string_at(core.TF_TensorData(answer), core.TF_TensorByteSize(answer))
    np.save(output_path, np.frombuffer(content, np.float32).reshape(len(images), -1))


if __name__ == "__main__":
    _run(sys.argv[1:])
