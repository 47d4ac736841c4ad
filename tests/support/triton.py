"""Requests of Triton's client for the small models of the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.support.engines import pixels


def image_input(*values: float, dtype: str = "float32") -> Any:
    """Returns an input of 2x2x3 images, each filled with a value."""
    return array_input(pixels(*values, dtype=dtype))


def array_input(array: np.ndarray, name: str = "input") -> Any:
    """Returns an input of an array."""
    made = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    return made.set_data_from_numpy(array)


def message(*values: float, model: str = "m", **fields: Any) -> Any:
    """Returns a request for images as a message."""
    array = pixels(*values)
    return pb.ModelInferRequest(
        model_name=model,
        inputs=[
            pb.ModelInferRequest.InferInputTensor(name="input", datatype="FP32", shape=array.shape)
        ],
        raw_input_contents=[array.tobytes()],
        **fields,
    )


def stub(channel: grpc.Channel) -> Any:
    """Returns the protocol's stub."""
    return service_pb2_grpc.GRPCInferenceServiceStub(channel)


def failure(call: Callable[[], Any]) -> InferenceServerException:
    """Returns what a call of Triton's client raises."""
    with pytest.raises(InferenceServerException) as raised:
        call()
    return raised.value


def code_of(error: InferenceServerException) -> str:
    """Returns the name of a status: `NOT_FOUND`."""
    return str(error.status()).removeprefix("StatusCode.")
