from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient.grpc import InferInput
from tritonclient.grpc import service_pb2 as pb

from inference_service.protocols.open_inference.datatypes import DTYPES
from inference_service.protocols.open_inference.shared_memory import SharedMemory
from inference_service.protocols.open_inference.tensors import (
    decode_tensor,
    input_tensors,
    requested_outputs,
)
from service_kit import errors


@pytest.fixture
def memory(tmp_path: Path) -> SharedMemory:
    (tmp_path / "key").write_bytes(bytes(range(64)))
    found = SharedMemory(tmp_path)
    found.register("r", "key", 0, 64)
    return found


def tensor(name: str = "x", datatype: str = "UINT8", shape: Any = (2,), **fields: Any) -> Any:
    parameters = fields.pop("parameters", {})
    message = pb.ModelInferRequest.InferInputTensor(
        name=name, datatype=datatype, shape=shape, **fields
    )
    add(message.parameters, parameters)
    return message


def add(target: Any, parameters: dict[str, Any]) -> None:
    for key, value in parameters.items():
        field = "string_param" if isinstance(value, str) else "int64_param"
        setattr(target[key], field, value)


def request(*inputs: Any, raw: Any = ()) -> Any:
    return pb.ModelInferRequest(inputs=inputs, raw_input_contents=raw)


def decoded(message: Any, memory: SharedMemory | None = None) -> list[Any]:
    return [decode_tensor(one) for one in input_tensors(message, memory)]


SHARED = {"shared_memory_region": "r", "shared_memory_byte_size": 2}
TYPED = pb.InferTensorContents(uint_contents=[7, 8])


@given(st.sampled_from(sorted(DTYPES)), st.data())
def test_what_tritons_client_sends_comes_out_bit_for_bit(
    datatype: str, data: st.DataObject
) -> None:
    dtype = DTYPES[datatype]
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
    size = int(np.prod(shape, dtype=int)) * dtype.itemsize
    content = data.draw(st.binary(min_size=size, max_size=size))
    if datatype == "BOOL":
        content = bytes(byte & 1 for byte in content)
    array = np.frombuffer(content, dtype).reshape(shape)
    sent = InferInput("x", list(shape), datatype).set_data_from_numpy(array)
    (found,) = decoded(request(sent._get_tensor(), raw=[sent._get_content()]))
    assert (found.dtype, found.shape, found.tobytes()) == (dtype, shape, content)


@given(st.lists(st.binary(max_size=30), max_size=5))
def test_elements_of_bytes_come_out_of_both_forms(elements: list[bytes]) -> None:
    array = np.array(elements, np.object_)
    sent = InferInput("x", [len(elements)], "BYTES").set_data_from_numpy(array)
    assert decoded(request(sent._get_tensor(), raw=[sent._get_content()])) == [elements]
    contents = pb.InferTensorContents(bytes_contents=elements)
    typed = tensor(datatype="BYTES", shape=[len(elements)], contents=contents)
    assert decoded(request(typed)) == [elements]


def test_raw_contents_belong_to_the_inputs_in_order_without_those_in_shared_memory(
    memory: SharedMemory,
) -> None:
    shared = tensor("b", parameters=SHARED | {"shared_memory_offset": 10})
    found = decoded(request(tensor("a"), shared, tensor("c"), raw=[b"\1\2", b"\3\4"]), memory)
    assert [array.tolist() for array in found] == [[1, 2], [10, 11], [3, 4]]


def test_typed_contents_go_with_shared_memory_too(memory: SharedMemory) -> None:
    found = decoded(request(tensor("a", contents=TYPED), tensor("b", parameters=SHARED)), memory)
    assert [array.tolist() for array in found] == [[7, 8], [0, 1]]


def test_one_string_for_each_image_may_have_a_dimension_of_its_own() -> None:
    message = request(tensor(datatype="BYTES", shape=[1, 1]), raw=[b"\1\0\0\0a"])
    assert decoded(message) == [[b"a"]]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (request(tensor(contents=TYPED), raw=[b"ab"]), "there are raw_input_contents, and input"),
        (request(tensor("a", contents=TYPED), tensor("b"), raw=[b"ab"]), "input 'a' has contents"),
        (request(tensor("a", contents=TYPED), tensor("b")), "input 'b' has no contents"),
        (request(tensor()), "0 raw_input_contents for 1 inputs"),
        (request(tensor(), raw=[b"ab", b"cd"]), "2 raw_input_contents for 1 inputs"),
        (request(raw=[b"ab"]), "1 raw_input_contents for 0 inputs"),
        (request(tensor(parameters=SHARED), raw=[b"ab"]), "1 raw_input_contents for 0 inputs"),
        (request(tensor(parameters=SHARED, contents=TYPED)), "has contents and is in shared"),
        (request(tensor(datatype="BYTES", shape=[2, 2]), raw=[b""]), r"shape \[2, 2\]; encoded"),
        (request(tensor(datatype="BYTES", shape=[]), raw=[b""]), r"shape \[\]; encoded"),
        (request(tensor(datatype="FP23"), raw=[b"ab"]), "datatype 'FP23'"),
        (request(tensor(datatype="FP32"), raw=[b"ab"]), "2 bytes; float32 of shape"),
    ],
)
def test_contents_that_do_not_fit_together_are_refused(
    memory: SharedMemory, message: Any, words: str
) -> None:
    with pytest.raises(errors.InvalidRequest, match=words):
        decoded(message, memory)


@pytest.mark.parametrize(
    ("parameters", "error", "words"),
    [
        ({"shared_memory_region": "r"}, errors.InvalidRequest, "takes shared_memory_region and"),
        ({"shared_memory_byte_size": 2}, errors.InvalidRequest, "has shared_memory_byte_size: "),
        ({"shared_memory_offset": 2}, errors.InvalidRequest, "has shared_memory_offset: "),
        (SHARED | {"shared_memory_region": "q"}, errors.RegionNotFound, "region 'q'"),
        (SHARED | {"shared_memory_region": 1}, errors.InvalidRequest, "has to be a string"),
        (SHARED | {"shared_memory_byte_size": "2"}, errors.InvalidRequest, "a whole number"),
        (SHARED | {"shared_memory_byte_size": -2}, errors.InvalidRequest, "byte_size is -2"),
        (SHARED | {"shared_memory_offset": -1}, errors.InvalidRequest, "offset is -1"),
        (SHARED | {"shared_memory_offset": 63}, errors.InvalidRequest, "not within"),
        (SHARED | {"shared_memory_byte_size": 3}, errors.InvalidRequest, "has 3 bytes"),
    ],
)
def test_shared_memory_that_is_not_there_is_refused(
    memory: SharedMemory, parameters: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        decoded(request(tensor(parameters=parameters)), memory)


def test_shared_memory_is_refused_where_it_is_not_offered() -> None:
    with pytest.raises(errors.Unsupported, match="not offered by this server"):
        input_tensors(request(tensor(parameters=SHARED)), None)


def outputs(*asked: tuple[str, dict[str, Any]], memory: SharedMemory | None = None) -> list[Any]:
    message = pb.ModelInferRequest()
    for name, parameters in asked:
        add(message.outputs.add(name=name).parameters, parameters)
    return requested_outputs(message, memory)


def test_outputs_are_those_asked_for_once_and_in_order(memory: SharedMemory) -> None:
    found = outputs(("b", {"classification": 3}), ("a", SHARED), ("b", {}), memory=memory)
    assert [(one.name, one.classes) for one in found] == [("b", 3), ("a", 0)]
    assert found[1].place.byte_size == 2
    assert outputs() == []


def test_classes_do_not_go_into_shared_memory(memory: SharedMemory) -> None:
    with pytest.raises(errors.InvalidRequest, match="classes cannot go into shared memory"):
        outputs(("a", SHARED | {"classification": 1}), memory=memory)


@pytest.mark.parametrize("count", [-1, 2**31])
def test_a_number_of_classes_is_within_reason(count: int) -> None:
    with pytest.raises(errors.InvalidRequest, match="classification is"):
        outputs(("a", {"classification": count}))
