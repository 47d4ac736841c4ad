"""Half-finished, malformed and hostile messages get the status that Triton gives.

The table of docs/protocols/open-inference.md is this one in words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from service_kit.store.artifact_store import ArtifactStore
from tests.support.engines import pixels
from tests.support.inference_server import InferenceServer, inference_server
from tests.support.triton import message, stub

Change = Callable[[Any], None]
INVALID = "INVALID_ARGUMENT"


def _set(**fields: Any) -> Change:
    def change(request: Any) -> None:
        for name, value in fields.items():
            setattr(request, name, value)

    return change


def _tensor(**fields: Any) -> Change:
    def change(request: Any) -> None:
        for name, value in fields.items():
            if name == "shape":
                request.inputs[0].shape[:] = value
            else:
                setattr(request.inputs[0], name, value)

    return change


def _raw(*contents: bytes) -> Change:
    def change(request: Any) -> None:
        request.raw_input_contents[:] = contents

    return change


def _typed(**contents: Any) -> Change:
    def change(request: Any) -> None:
        request.raw_input_contents[:] = []
        request.inputs[0].contents.CopyFrom(pb.InferTensorContents(**contents))

    return change


def _both(*changes: Change) -> Change:
    def change(request: Any) -> None:
        for one in changes:
            one(request)

    return change


def _parameter(key: str, **value: Any) -> Change:
    def change(request: Any) -> None:
        request.parameters[key].CopyFrom(pb.InferParameter(**value))

    return change


def _twice(request: Any) -> None:
    request.inputs.append(request.inputs[0])
    request.raw_input_contents.append(request.raw_input_contents[0])


def _more_inputs(request: Any) -> None:
    request.inputs.add(name="other", datatype="FP32", shape=[1])
    request.raw_input_contents.append(bytes(4))


def _output(name: str, **parameter: Any) -> Change:
    def change(request: Any) -> None:
        output = request.outputs.add(name=name)
        for key, value in parameter.items():
            output.parameters[key].CopyFrom(value)

    return change


IMAGE = pixels(1).tobytes()
NAN = np.full((1, 2, 2, 3), np.nan, np.float32).tobytes()
TABLE: dict[str, tuple[Change, str]] = {
    "an empty message": (lambda request: request.Clear(), "NOT_FOUND"),
    "no model": (_set(model_name=""), "NOT_FOUND"),
    "an unknown model": (_set(model_name="absent"), "NOT_FOUND"),
    "a name that no model can have": (_set(model_name="../../etc/passwd\n"), "NOT_FOUND"),
    "a name of a megabyte": (_set(model_name="x" * 1_000_000), "NOT_FOUND"),
    "an unknown version": (_set(model_version="7"), "NOT_FOUND"),
    "an unknown label": (_set(model_version="canary"), "NOT_FOUND"),
    "a version below 1": (_set(model_version="0"), INVALID),
    "a negative version": (_set(model_version="-1"), INVALID),
    "a version beyond 64 bits": (_set(model_version="9" * 5000), INVALID),
    "a version that is none": (_set(model_version="1.x/"), INVALID),
    "no inputs": (lambda request: request.ClearField("inputs"), INVALID),
    "no contents": (_raw(), INVALID),
    "an empty content": (_raw(b""), INVALID),
    "half of a tensor": (_raw(IMAGE[:20]), INVALID),
    "more than a tensor": (_raw(IMAGE + b"\0"), INVALID),
    "more contents than inputs": (_raw(IMAGE, IMAGE), INVALID),
    "raw and typed contents": (_both(_typed(fp32_contents=[1.0]), _raw(IMAGE)), INVALID),
    "typed contents in another field": (_typed(int64_contents=[1]), INVALID),
    "too few typed contents": (_typed(fp32_contents=[1.0]), INVALID),
    "empty typed contents": (_typed(), INVALID),
    "typed FP16": (_both(_tensor(datatype="FP16"), _typed(fp32_contents=[1] * 12)), INVALID),
    "an input of another name": (_tensor(name="image"), INVALID),
    "an input without a name": (_tensor(name=""), INVALID),
    "an input twice": (_twice, INVALID),
    "an input that the model does not have": (_more_inputs, INVALID),
    "an unknown datatype": (_tensor(datatype="FP8"), INVALID),
    "no datatype": (_tensor(datatype=""), INVALID),
    "a datatype that loses bits": (
        _both(_tensor(datatype="FP64"), _raw(bytes(96))), INVALID,
    ),
    "another shape": (_tensor(shape=[1, 12]), INVALID),
    "no shape": (_both(_tensor(shape=[]), _raw(bytes(4))), INVALID),
    "a negative size": (_tensor(shape=[-1, 2, 2, 3]), INVALID),
    "a shape that overflows": (_tensor(shape=[2**62, 2**62, 2, 3]), INVALID),
    "a shape that overflows to zero": (
        _both(_tensor(shape=[2**62, 2**62, 2, 0]), _raw(b"")), INVALID,
    ),
    "a thousand dimensions": (_tensor(shape=[1] * 1000), INVALID),
    "a bool of 2": (_both(_tensor(datatype="BOOL"), _raw(b"\2" * 12)), INVALID),
    "bytes without a length": (
        _both(_tensor(datatype="BYTES", shape=[1]), _raw(b"\1")), INVALID,
    ),
    "bytes with a length beyond the end": (
        _both(_tensor(datatype="BYTES", shape=[1]), _raw(b"\xff\xff\xff\xffabc")), INVALID,
    ),
    "more elements than there can be": (
        _both(_tensor(datatype="BYTES", shape=[2**50]), _raw(b"\0" * 8)), INVALID,
    ),
    "bytes that are no image": (
        _both(_tensor(datatype="BYTES", shape=[1]), _raw(b"\3\0\0\0abc")), INVALID,
    ),
    "a card that does not exist": (_parameter("card", int64_param=9), "NOT_FOUND"),
    "a card beyond 32 bits": (_parameter("card", int64_param=2**40), "NOT_FOUND"),
    "a card as text": (_parameter("card", string_param="0"), INVALID),
    "a parameter without a value": (_parameter("priority"), INVALID),
    "a negative timeout": (_parameter("timeout", int64_param=-1), INVALID),
    "a reserved parameter": (_parameter("triton_x", bool_param=True), INVALID),
    "an unknown output": (_output("logits"), INVALID),
    "an output without a name": (_output(""), INVALID),
    "a negative number of classes": (
        _output("probs", classification=pb.InferParameter(int64_param=-1)), INVALID,
    ),
    "a region that nobody registered": (
        _output(
            "probs",
            shared_memory_region=pb.InferParameter(string_param="r"),
            shared_memory_byte_size=pb.InferParameter(int64_param=12),
        ),
        "NOT_FOUND",
    ),
    "a timeout beyond every clock and no contents": (
        _both(_parameter("timeout", int64_param=2**63 - 1), _raw()), INVALID,
    ),
    "thousands of inputs": (
        lambda request: request.inputs.extend([request.inputs[0]] * 1000), INVALID,
    ),
    "thousands of outputs": (
        lambda request: request.outputs.extend(
            pb.ModelInferRequest.InferRequestedOutputTensor(name=str(n)) for n in range(1001)
        ),
        INVALID,
    ),
    "thousands of parameters": (
        _both(*(_parameter(str(n), bool_param=True) for n in range(1001))), INVALID,
    ),
    "hundreds of thousands of dimensions": (_tensor(shape=[1] * 200_000), INVALID),
    "as many dimensions of bytes": (
        _tensor(datatype="BYTES", shape=[1] * 200_000), INVALID,
    ),
    "half of a region": (
        _output("probs", shared_memory_region=pb.InferParameter(string_param="r")), INVALID,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("hostile")
    store = ArtifactStore(str(folder / "models"))
    store.create()
    with (
        inference_server(store, folder, queue_images=10_000) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        server.publish()
        yield server, channel


def answers(channel: Any) -> None:
    """Checks that a good request still gets its answer."""
    response = stub(channel).ModelInfer(message(4))
    assert np.frombuffer(response.raw_output_contents[0], np.float32).tolist() == [4, 4, 4]


@pytest.mark.parametrize("case", TABLE)
def test_a_bad_request_gets_its_status_and_harms_nobody(
    served: tuple[InferenceServer, Any], case: str
) -> None:
    _, channel = served
    change, expected = TABLE[case]
    request = message(1)
    change(request)
    with pytest.raises(grpc.RpcError) as raised:
        stub(channel).ModelInfer(request)
    assert raised.value.code().name == expected
    assert raised.value.details()
    # In a stream it is the request's own error, and the next one is answered.
    request.id = "bad"
    failed, answered = stub(channel).ModelStreamInfer(iter([request, message(4, id="good")]))
    assert failed.error_message
    assert failed.infer_response.id == "bad"
    assert answered.infer_response.id == "good"


def test_numbers_that_are_none_pass_through(served: tuple[InferenceServer, Any]) -> None:
    _, channel = served
    request = message(1)
    request.raw_input_contents[0] = NAN
    response = stub(channel).ModelInfer(request)
    assert np.isnan(np.frombuffer(response.raw_output_contents[0], np.float32)).all()


@pytest.mark.parametrize(
    "method", [m.name for m in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods]
)
def test_bytes_that_are_no_message_are_the_callers_error(
    served: tuple[InferenceServer, Any], method: str
) -> None:
    _, channel = served
    path = f"/inference.GRPCInferenceService/{method}"
    streams = method == "ModelStreamInfer"
    call = channel.stream_stream(path) if streams else channel.unary_unary(path)
    with pytest.raises(grpc.RpcError) as raised:
        list(call(iter([b"\x0a\xff"]))) if streams else call(b"\x0a\xff")
    assert raised.value.code().name == INVALID
    answers(channel)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_whatever_the_message_the_server_answers_with_an_expected_status(
    served: tuple[InferenceServer, Any], data: st.DataObject
) -> None:
    _, channel = served
    content = bytearray(message(1).SerializeToString())
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
    stop = data.draw(st.integers(0, len(content)))
    call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    try:
        call(bytes(content[:stop]))
        code = "OK"
    except grpc.RpcError as error:
        code = error.code().name
    assert code in {"OK", INVALID, "NOT_FOUND", "UNIMPLEMENTED"}


def test_many_typed_values_are_answered_like_few(served: tuple[InferenceServer, Any]) -> None:
    _, channel = served
    images = np.arange(8000, dtype=np.float32).reshape(-1, 1, 1, 1) * np.ones((1, 2, 2, 3))
    request = message()
    request.raw_input_contents[:] = []
    request.inputs[0].shape[:] = images.shape
    request.inputs[0].contents.fp32_contents.extend(images.ravel().tolist())
    (content,) = stub(channel).ModelInfer(request).raw_output_contents
    found = np.frombuffer(content, np.float32).reshape(-1, 3)
    np.testing.assert_array_equal(found[:, 1], np.arange(8000))


def test_a_long_timeout_changes_nothing(served: tuple[InferenceServer, Any]) -> None:
    _, channel = served
    request = message(4)
    request.parameters["timeout"].int64_param = 2**63 - 1
    assert stub(channel).ModelInfer(request).outputs
