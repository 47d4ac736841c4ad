from __future__ import annotations

import io
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import wrappers_pb2
from PIL import Image
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

from tests.support.engines import MeanEngine, pixels
from tests.support.inference_server import InferenceServer

WAIT = 30.0
LABELLED = "Unrecognized servable version label: "


def request(*values: float, signature: str = "", **spec: Any) -> predict_pb2.PredictRequest:
    made = predict_pb2.PredictRequest()
    made.model_spec.name = spec.get("name", "m")
    made.model_spec.signature_name = signature
    if "version" in spec:
        made.model_spec.version.value = spec["version"]
    if "label" in spec:
        made.model_spec.version_label = spec["label"]
    made.inputs["input"].CopyFrom(tf.make_tensor_proto(pixels(*values)))
    return made


def means(response: predict_pb2.PredictResponse) -> list[float]:
    return [float(row[0]) for row in tf.make_ndarray(response.outputs["probs"])]


def refused(call: Any, message: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(message, timeout=WAIT)
    return caught.value.code(), str(caught.value.details())


def test_predict_tells_what_answered(server: InferenceServer, prediction: Any) -> None:
    server.publish(b"5")
    response = prediction.Predict(request(1, 2))
    assert means(response) == [6, 7]
    assert response.model_spec.name == "m"
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"
    # As TensorFlow Serving answers: who reads the typed field needs no TensorFlow.
    assert list(response.outputs["probs"].float_val) == [6, 6, 6, 7, 7, 7]


def test_a_signature_pins_its_card(server: InferenceServer, prediction: Any) -> None:
    server.publish(cards=3)
    for card in (2, 0, 1, 2):
        response = prediction.Predict(request(1, signature=f"card_{card}"))
        assert response.model_spec.signature_name == f"card_{card}"
        assert server.engines[0].batches[-1] == (card, 1)


def test_versions_and_labels_are_found(server: InferenceServer, prediction: Any) -> None:
    server.publish(b"1000")
    server.on_loop(lambda: server.rules.set_label("m", "stable", 1))
    server.publish(b"2000")
    assert means(prediction.Predict(request(1))) == [2001]
    assert means(prediction.Predict(request(1, version=1))) == [1001]
    # As clients send it that always send the field.
    assert means(prediction.Predict(request(1, version=0))) == [2001]
    response = prediction.Predict(request(1, label="stable"))
    assert means(response) == [1001]
    assert response.model_spec.version.value == 1


def test_outputs_are_chosen(server: InferenceServer, prediction: Any) -> None:
    server.publish()
    asked = request(1)
    asked.output_filter.append("probs")
    assert list(prediction.Predict(asked).outputs) == ["probs"]


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_what_casts_without_loss_is_taken(
    server: InferenceServer, prediction: Any, dtype: str
) -> None:
    server.publish()
    asked = request()
    asked.inputs["input"].CopyFrom(tf.make_tensor_proto(pixels(3, 4, dtype=dtype)))
    assert means(prediction.Predict(asked)) == [3, 4]


def test_one_value_fills_the_shape(server: InferenceServer, prediction: Any) -> None:
    server.publish()
    asked = request()
    asked.inputs["input"].CopyFrom(tf.make_tensor_proto(7.0, shape=[5, 2, 2, 3]))
    assert len(asked.inputs["input"].float_val) == 1
    assert means(prediction.Predict(asked)) == [7] * 5


def test_many_whole_numbers_are_read_beside_the_event_loop(
    server: InferenceServer, prediction: Any
) -> None:
    server.publish()
    asked = request()
    numbers = np.arange(2000 * 12) % 200
    asked.inputs["input"].Clear()
    asked.inputs["input"].dtype = types_pb2.DT_UINT8
    asked.inputs["input"].int_val.extend(numbers.tolist())
    for size in (2000, 2, 2, 3):
        asked.inputs["input"].tensor_shape.dim.add(size=size)
    expected = numbers.reshape(2000, 4, 3).mean(axis=1)
    got = tf.make_ndarray(prediction.Predict(asked).outputs["probs"])
    assert np.allclose(got, expected, rtol=1e-5)


def test_no_images_are_answered_with_no_probabilities(
    server: InferenceServer, prediction: Any
) -> None:
    server.publish()
    asked = request()
    asked.inputs["input"].CopyFrom(tf.make_tensor_proto(np.zeros([0, 2, 2, 3], "f4")))
    assert tf.make_ndarray(prediction.Predict(asked).outputs["probs"]).shape == (0, 3)


def test_strings_are_encoded_images(server: InferenceServer, prediction: Any) -> None:
    server.publish()
    buffer = io.BytesIO()
    Image.fromarray(pixels(9, dtype="uint8")[0]).save(buffer, "PNG")
    asked = request()
    asked.inputs["input"].CopyFrom(tf.make_tensor_proto([buffer.getvalue()] * 2))
    assert means(prediction.Predict(asked)) == [9, 9]
    asked.inputs["input"].CopyFrom(tf.make_tensor_proto([b"no image"]))
    code, words = refused(prediction.Predict, asked)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "image 0 of input 'input' does not decode" in words


def missing_spec(asked: predict_pb2.PredictRequest) -> None:
    asked.ClearField("model_spec")


def empty_name(asked: predict_pb2.PredictRequest) -> None:
    asked.model_spec.name = ""


def no_inputs(asked: predict_pb2.PredictRequest) -> None:
    asked.inputs.clear()


def another_name(asked: predict_pb2.PredictRequest) -> None:
    asked.inputs["images"].CopyFrom(asked.inputs["input"])
    del asked.inputs["input"]


def one_more(asked: predict_pb2.PredictRequest) -> None:
    asked.inputs["x"].SetInParent()


def another_output(asked: predict_pb2.PredictRequest) -> None:
    asked.output_filter.append("scores")


def output_twice(asked: predict_pb2.PredictRequest) -> None:
    asked.output_filter.extend(["probs", "probs"])


def doubles(asked: predict_pb2.PredictRequest) -> None:
    asked.inputs["input"].CopyFrom(tf.make_tensor_proto(pixels(1, dtype="float64")))


def flat(asked: predict_pb2.PredictRequest) -> None:
    asked.inputs["input"].CopyFrom(tf.make_tensor_proto([1.0, 2.0]))


def short(asked: predict_pb2.PredictRequest) -> None:
    asked.inputs["input"].tensor_content = b"123"


def huge(asked: predict_pb2.PredictRequest) -> None:
    tensor = asked.inputs["input"]
    tensor.tensor_content = b""
    tensor.float_val.append(1)
    tensor.tensor_shape.dim[0].size = 10**12


def poisoned(asked: predict_pb2.PredictRequest) -> None:
    asked.inputs["input"].CopyFrom(tf.make_tensor_proto(pixels(MeanEngine.poison)))


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (missing_spec, "INVALID_ARGUMENT", "Missing ModelSpec"),
        (empty_name, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (
            no_inputs,
            "INVALID_ARGUMENT",
            (
                "input size does not match signature: 0!=1 len({}) != len({input}). Sent extra: "
                "{}. Missing but required: {input}."
            ),
        ),
        (
            one_more,
            "INVALID_ARGUMENT",
            (
                "input size does not match signature: 2!=1 len({input,x}) != len({input}). Sent "
                "extra: {x}. Missing but required: {}."
            ),
        ),
        (
            another_name,
            "INVALID_ARGUMENT",
            (
                "input tensor alias not found in signature: images. Inputs expected to be in the "
                "set {input}."
            ),
        ),
        (
            another_output,
            "INVALID_ARGUMENT",
            (
                "output tensor alias not found in signature: scores Outputs expected to be in "
                "the set {probs}."
            ),
        ),
        (output_twice, "INVALID_ARGUMENT", "duplicate output tensor alias: probs"),
        (doubles, "INVALID_ARGUMENT", "is float64; the model takes float32"),
        (flat, "INVALID_ARGUMENT", "has shape [2]; the model takes [images, 2, 2, 3]"),
        (
            short,
            "INVALID_ARGUMENT",
            "tensor parsing error: input. input 'input' has 3 bytes; float32 of shape [1, 2, 2, 3]",
        ),
        (huge, "INVALID_ARGUMENT", "tensor parsing error: input. input 'input' has 1 values"),
        (poisoned, "INTERNAL", "poisoned"),
    ],
)
def test_bad_requests_get_the_status_and_the_words_of_tensorflow_serving(
    server: InferenceServer, prediction: Any, spoil: Any, code: str, words: str
) -> None:
    server.publish()
    asked = request(1)
    spoil(asked)
    found, details = refused(prediction.Predict, asked)
    assert found.name == code
    assert words in details
    assert means(prediction.Predict(request(3))) == [3]


def test_thousands_of_inputs_are_refused_in_few_words(
    server: InferenceServer, prediction: Any
) -> None:
    server.publish()
    asked = request()
    for number in range(20_000):
        asked.inputs[f"input-{number}"].SetInParent()
    code, words = refused(prediction.Predict, asked)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "input size does not match signature: 20001!=1" in words
    assert len(words) < 8000
    assert means(prediction.Predict(request(3))) == [3]


@pytest.mark.parametrize(
    ("spec", "code", "words"),
    [
        ({"name": "x"}, "NOT_FOUND", "Servable not found for request: Latest(x)"),
        ({"version": 7}, "NOT_FOUND", "Servable not found for request: Specific(m, 7)"),
        ({"version": -1}, "NOT_FOUND", "Servable not found for request: Specific(m, -1)"),
        ({"label": "x"}, "INVALID_ARGUMENT", f"{LABELLED}x"),
        ({"label": ""}, "INVALID_ARGUMENT", LABELLED),
        ({"name": "x", "label": "y"}, "INVALID_ARGUMENT", f"{LABELLED}y"),
    ],
)
def test_what_is_not_served_gets_exactly_the_words_that_clients_compare(
    server: InferenceServer, prediction: Any, spec: dict[str, Any], code: str, words: str
) -> None:
    server.publish()
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata.model_spec.CopyFrom(request(**spec).model_spec)
    for call, message in (
        (prediction.Predict, request(1, **spec)),
        (prediction.GetModelMetadata, metadata),
    ):
        found, details = refused(call, message)
        assert (found.name, details) == (code, words)


def test_an_unknown_signature_is_told_what_there_is(
    server: InferenceServer, prediction: Any
) -> None:
    server.publish()
    for name in ("predict", "card_2", "card_-1", "card_x", "CARD_0"):
        code, words = refused(prediction.Predict, request(1, signature=name))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert words.startswith(f'Serving signature key "{name}" not found.')
        assert words.endswith("has serving_default, card_0, card_1")


def test_a_version_that_is_being_loaded_is_not_found_and_says_when_to_retry(
    server: InferenceServer, prediction: Any, models: Any
) -> None:
    with server.publishing():
        with pytest.raises(grpc.RpcError) as caught:
            prediction.Predict(request(1), timeout=WAIT)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert caught.value.details() == "Servable not found for request: Latest(m)"
        details = {one.key: one.value for one in caught.value.trailing_metadata()}
        assert b"RetryInfo" in details["grpc-status-details-bin"]
        (one,) = models.GetModelStatus(status_of("m")).model_version_status
        assert one.state == get_model_status_pb2.ModelVersionStatus.LOADING
    assert means(prediction.Predict(request(1))) == [1]


def test_an_expired_deadline_is_not_computed(server: InferenceServer, prediction: Any) -> None:
    server.publish(cards=1)
    # What the first call imports takes longer than the deadline below.
    prediction.Predict(request(1))
    server.engines[0].forget()
    server.engines[0].gate.clear()
    first = prediction.Predict.future(request(1))
    assert server.engines[0].started.acquire(timeout=WAIT)
    with pytest.raises(grpc.RpcError) as caught:
        prediction.Predict(request(2), timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    server.engines[0].gate.set()
    assert means(first.result(WAIT)) == [1]
    assert means(prediction.Predict(request(3))) == [3]
    assert sum(images for _, images in server.engines[0].batches) == 2


def test_metadata_has_every_signature_with_real_tensors(
    server: InferenceServer, prediction: Any
) -> None:
    server.publish()
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = "m"
    response = prediction.GetModelMetadata(asked)
    assert (response.model_spec.name, response.model_spec.version.value) == ("m", 1)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found)
    assert sorted(found.signature_def) == ["card_0", "card_1", "serving_default"]
    for name, scope in (("serving_default", "Card_0"), ("card_0", "Card_0"), ("card_1", "Card_1")):
        signature = found.signature_def[name]
        assert signature.method_name == tf.saved_model.PREDICT_METHOD_NAME
        (taken,), (given,) = signature.inputs.values(), signature.outputs.values()
        assert (taken.name, taken.dtype) == (f"{scope}/input:0", types_pb2.DT_FLOAT)
        assert [one.size for one in taken.tensor_shape.dim] == [-1, 2, 2, 3]
        assert given.name == f"{scope}/probs:0"
        assert [one.size for one in given.tensor_shape.dim] == [-1, 3]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["assets"], "Metadata field assets is not supported"),
        (["signature_def", "x"], "Metadata field x is not supported"),
    ],
)
def test_other_metadata_is_refused(
    server: InferenceServer, prediction: Any, fields: list[str], words: str
) -> None:
    server.publish()
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    found, details = refused(prediction.GetModelMetadata, asked)
    assert (found.name, details) == ("INVALID_ARGUMENT", "Missing ModelSpec")
    asked.model_spec.name = "m"
    found, details = refused(prediction.GetModelMetadata, asked)
    assert (found.name, details) == ("INVALID_ARGUMENT", words)


def status_of(model: str, **spec: Any) -> get_model_status_pb2.GetModelStatusRequest:
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.CopyFrom(request(name=model, **spec).model_spec)
    return asked


def states(response: get_model_status_pb2.GetModelStatusResponse) -> dict[int, str]:
    name = get_model_status_pb2.ModelVersionStatus.State.Name
    return {one.version: name(one.state) for one in response.model_version_status}


def test_states_of_versions_are_told_with_the_reason_of_a_failure(
    server: InferenceServer, models: Any
) -> None:
    server.publish(b"1")
    server.publish(b"2")
    server.publish(b"broken")
    response = models.GetModelStatus(status_of("m"))
    assert states(response) == {1: "END", 2: "AVAILABLE", 3: "END"}
    gone, good, bad = response.model_version_status
    # What was unloaded ended well.
    assert (gone.status.error_code, good.status.error_code) == (0, 0)
    assert good.HasField("status")
    assert bad.status.error_code == grpc.StatusCode.INTERNAL.value[0]
    assert bad.status.error_message == "the graph has no tensor probs:0"
    assert states(models.GetModelStatus(status_of("m", version=2))) == {2: "AVAILABLE"}
    server.on_loop(lambda: server.rules.set_label("m", "stable", 2))
    assert states(models.GetModelStatus(status_of("m", label="stable"))) == {2: "AVAILABLE"}


def test_a_version_that_waits_for_its_last_request_is_unloading(
    server: InferenceServer, prediction: Any, models: Any
) -> None:
    server.publish(cards=1)
    server.engines[0].gate.clear()
    last = prediction.Predict.future(request(1))
    assert server.engines[0].started.acquire(timeout=WAIT)
    server.on_loop(lambda: server.rules.refuse("m", 0))
    server.call(server.begin())
    while states(models.GetModelStatus(status_of("m"))) != {1: "UNLOADING"}:
        pass
    server.engines[0].gate.set()
    assert means(last.result(WAIT)) == [1]
    server.sync()
    assert states(models.GetModelStatus(status_of("m"))) == {1: "END"}


@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [
        (status_of("x"), "NOT_FOUND", "Could not find any versions of model x"),
        (status_of("m", version=7), "NOT_FOUND", "Could not find version 7 of model m"),
        (status_of("m", label="x"), "INVALID_ARGUMENT", f"{LABELLED}x"),
        (get_model_status_pb2.GetModelStatusRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
    ],
)
def test_unknown_models_and_versions_have_no_status(
    server: InferenceServer, models: Any, asked: Any, code: str, words: str
) -> None:
    server.publish()
    found, details = refused(models.GetModelStatus, asked)
    assert (found.name, details) == (code, words)


def test_other_rpcs_say_what_to_call_instead(server: InferenceServer, prediction: Any) -> None:
    for call, message in (
        (prediction.Classify, classification_pb2.ClassificationRequest()),
        (prediction.Regress, regression_pb2.RegressionRequest()),
        (prediction.MultiInference, inference_pb2.MultiInferenceRequest()),
    ):
        code, words = refused(call, message)
        assert code is grpc.StatusCode.UNIMPLEMENTED
        assert "call Predict with the images as a tensor" in words


def test_the_streamed_rpc_of_newer_stubs_says_what_to_call_instead(
    server: InferenceServer, channel: grpc.Channel
) -> None:
    call: Any = channel.stream_stream("/tensorflow.serving.PredictionService/PredictStreamed")
    with pytest.raises(grpc.RpcError, match="call Predict for each image") as caught:
        list(call(iter([b""]), timeout=WAIT))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    "method",
    [
        "PredictionService/Predict",
        "PredictionService/GetModelMetadata",
        "ModelService/GetModelStatus",
        "ModelService/HandleReloadConfigRequest",
    ],
)
def test_what_is_no_message_is_the_callers_error(
    server: InferenceServer, channel: grpc.Channel, method: str
) -> None:
    code, words = refused(channel.unary_unary(f"/tensorflow.serving.{method}"), b"\xff\xff\xff")
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "a message cannot be parsed" in words


def test_half_a_request_never_harms_the_server(
    server: InferenceServer, channel: grpc.Channel, prediction: Any
) -> None:
    server.publish()
    call: Any = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    whole = request(1).SerializeToString(deterministic=True)
    for length in range(len(whole)):
        code, _ = refused(call, whole[:length])
        assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    assert means(prediction.Predict(request(3))) == [3]


def test_a_version_wrapper_without_a_value_is_version_0() -> None:
    # The stubs read `version {}` as set: it must not mean the latest.
    spec = request().model_spec
    spec.version.CopyFrom(wrappers_pb2.Int64Value())
    assert spec.WhichOneof("version_choice") == "version"
