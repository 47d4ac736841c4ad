from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient.grpc import service_pb2 as pb

from inference_service.protocols.open_inference.datatypes import DTYPES
from inference_service.protocols.open_inference.typed_contents import (
    typed_array,
    typed_elements,
    typed_size,
)
from service_kit import errors

FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}  # fmt: skip


def tensor(datatype: str, shape: list[int], **contents: Any) -> Any:
    return pb.ModelInferRequest.InferInputTensor(
        name="x", datatype=datatype, shape=shape, contents=pb.InferTensorContents(**contents)
    )


@given(st.sampled_from(sorted(FIELDS)), st.data())
def test_numbers_of_every_type_come_back(datatype: str, data: st.DataObject) -> None:
    shape = hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)
    array = data.draw(hnp.arrays(DTYPES[datatype], shape))
    message = tensor(datatype, list(array.shape), **{FIELDS[datatype]: array.ravel().tolist()})
    sent = pb.ModelInferRequest.InferInputTensor.FromString(message.SerializeToString())
    found = typed_array("x", datatype, DTYPES[datatype], sent)
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    np.testing.assert_array_equal(found, array)
    assert typed_size(sent.contents) == array.size


def test_bytes_are_a_list() -> None:
    assert typed_elements("x", tensor("BYTES", [2], bytes_contents=[b"a", b""])) == [b"a", b""]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (tensor("FP16", [1], fp32_contents=[1]), "FP16, for which there are no typed contents"),
        (tensor("BF16", [1], fp32_contents=[1]), "BF16, for which there are no typed contents"),
        (tensor("FP32", [1], fp64_contents=[1]), "go into fp32_contents, and fp64_contents came"),
        (tensor("FP32", [1], fp32_contents=[1], int_contents=[1]), "int_contents, fp32_contents"),
        (tensor("UINT8", [1], int_contents=[1]), "go into uint_contents"),
        (tensor("FP32", [2], fp32_contents=[1]), "has 1 values; shape \\[2\\] takes 2"),
        (tensor("FP32", [1], fp32_contents=[1, 2]), "has 2 values; shape \\[1\\] takes 1"),
        (tensor("FP32", [-1], fp32_contents=[1]), "no size is below 0"),
        (tensor("FP32", [2**40, 2**40], fp32_contents=[1]), "has 1 values"),
        (tensor("FP32", [1] * 40, fp32_contents=[1]), "40 dimensions"),
        (tensor("FP32", [0, 2**62, 2**62], fp32_contents=[]), "shape"),
        (tensor("UINT8", [2], uint_contents=[1, 256]), "is not within 0 and 255"),
        (tensor("INT8", [1], int_contents=[-129]), "is not within -128 and 127"),
        (tensor("INT16", [1], int_contents=[32768]), "is not within -32768 and 32767"),
        (tensor("UINT16", [1], uint_contents=[70000]), "is not within 0 and 65535"),
    ],
)
def test_what_does_not_fit_is_refused(message: Any, words: str) -> None:
    dtype = DTYPES[message.datatype]
    with pytest.raises(errors.InvalidTensor, match=words):
        typed_array("x", message.datatype, dtype, message)
