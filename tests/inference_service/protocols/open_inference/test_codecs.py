"""What metadata, configuration and statistics say of versions of many kinds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import model_config_pb2 as config_pb
from tritonclient.grpc import service_pb2 as pb

from inference_service.cards.batch_run import BatchRun
from inference_service.cards.card_spec import CardLimits
from inference_service.cards.status import CardCounts, RunCounter, RunCounts
from inference_service.engine.devices import Device, Placement
from inference_service.models.servable import Servable
from inference_service.prediction.request import InferenceResult
from inference_service.protocols.open_inference.infer_codec import encode_answer, inference
from inference_service.protocols.open_inference.model_codec import config_message, metadata_message
from inference_service.protocols.open_inference.shared_memory import SharedMemory
from inference_service.protocols.open_inference.statistics_codec import statistics_message
from inference_service.protocols.open_inference.statuses import triton_error, triton_errors
from service_kit import errors, status
from service_kit.artifacts.manifest import TensorSpec
from tests.support.servables import mean_servable
from tests.support.triton import message


@contextmanager
def servable(**options: Any) -> Iterator[Servable]:
    made = mean_servable(**options)
    try:
        yield made
    finally:
        made.close()


def with_tensors(
    made: Servable, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> None:
    for card in made.cards:
        tower = replace(card.spec.tower, inputs=tuple(inputs), outputs=tuple(outputs))
        card.spec = replace(card.spec, tower=tower)


def test_a_model_that_does_not_share_batches_has_none() -> None:
    with servable(packs=False) as made:
        config = config_message(made, [1], {})
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == [-1, 2, 2, 3]
    assert config.input[0].format == config_pb.ModelInput.FORMAT_NONE
    assert list(config.output[0].dims) == [-1, 3]


def test_batching_says_how_long_requests_wait_and_which_sizes_are_preferred() -> None:
    limits = CardLimits(8, max_queue_delay=0.0025, padded_sizes=(1, 4, 8))
    with servable(limits=limits) as made:
        batching = config_message(made, [1], {}).dynamic_batching
    assert batching.max_queue_delay_microseconds == 2500
    assert list(batching.preferred_batch_size) == [1, 4, 8]
    assert batching.default_queue_policy.allow_timeout_override


def test_cards_on_gpus_are_instances_there() -> None:
    with servable(cards=2) as made:
        for card, gpu in zip(made.cards, (0, 3), strict=True):
            placement = Placement(card.index, card.index, Device("gpu", gpu), ())
            card.spec = replace(card.spec, placement=placement)
        groups = config_message(made, [1], {}).instance_group
    assert [(group.name, list(group.gpus)) for group in groups] == [
        ("card_0", [0]),
        ("card_1", [3]),
    ]
    assert {group.kind for group in groups} == {config_pb.ModelInstanceGroup.KIND_GPU}


def test_a_fixed_number_of_images_is_any_number_for_callers() -> None:
    with servable() as made:
        with_tensors(
            made,
            [TensorSpec("x", "x:0", "uint8", (8, -1, -1, 5))],
            [TensorSpec("y", "y:0", "bfloat16", (8, 2))],
        )
        metadata, config = metadata_message(made, [1, 2]), config_message(made, [1, 2], {})
    assert list(metadata.versions) == ["1", "2"]
    assert (metadata.inputs[0].datatype, list(metadata.inputs[0].shape)) == (
        "UINT8",
        [-1, -1, -1, 5],
    )
    assert (metadata.outputs[0].datatype, list(metadata.outputs[0].shape)) == ("BF16", [-1, 2])
    assert config.output[0].data_type == config_pb.TYPE_BF16
    # Five channels are no image, whose layout would be known.
    assert config.input[0].format == config_pb.ModelInput.FORMAT_NONE


def test_one_number_an_image_is_a_dimension_that_is_reshaped_away() -> None:
    with servable() as made:
        numbers = [TensorSpec("x", "x:0", "float32", (-1,))]
        with_tensors(made, numbers, [TensorSpec("y", "y:0", "float32", (-1,))])
        config, whole = config_message(made, [1], {}), metadata_message(made, [1])
    for tensor in (config.input[0], config.output[0]):
        assert list(tensor.dims) == [1]
        assert tensor.HasField("reshape")
        assert not tensor.reshape.shape
    assert list(whole.inputs[0].shape) == [-1]


def test_a_type_that_the_protocol_does_not_have_is_said_and_not_sent() -> None:
    with servable() as made:
        complex_ = TensorSpec("y", "y:0", "complex64", (-1, 2))
        with_tensors(made, made.cards[0].spec.tower.inputs, [complex_])
        assert metadata_message(made, [1]).outputs[0].datatype == "<invalid>"
        assert config_message(made, [1], {}).output[0].data_type == config_pb.TYPE_INVALID
    answer = InferenceResult(
        "", "m", 1, "", [0], {"y": np.zeros((1, 2), np.complex64)}, 1, 0.0, 0.0
    )
    with pytest.raises(errors.Unsupported, match="'y' is complex64, which the Open Inference"):
        encode_answer(inference(message(1), None), answer, pb.ModelInferResponse())


def _large(**contents: Any) -> Any:
    request = message(1)
    request.raw_input_contents[:] = []
    request.inputs[0].contents.CopyFrom(pb.InferTensorContents(**contents))
    return request


def _encoded(images: int) -> Any:
    request = message(1)
    request.inputs[0].datatype = "BYTES"
    request.inputs[0].shape[:] = [images]
    return request


def _classes(images: int, count: int) -> Any:
    request = message(1)
    request.inputs[0].shape[0] = images
    request.outputs.add(name="probs").parameters["classification"].int64_param = count
    return request


@pytest.mark.parametrize(
    ("request_", "quick"),
    [
        (message(*range(1000)), True),
        (_large(fp32_contents=[0] * 1000), True),
        (_large(fp32_contents=[0] * 100_000), False),
        (_encoded(100), True),
        (_encoded(1_000_000), False),
        (_classes(1000, 5), True),
        (_classes(1000, 500), False),
    ],
    ids=["raw", "few values", "many values", "few files", "many files", "few", "many classes"],
)
def test_what_takes_long_is_not_left_to_the_event_loop(request_: Any, *, quick: bool) -> None:
    assert inference(request_, None).is_quick == quick


def test_much_shared_memory_is_not_left_to_the_event_loop(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(bytes(2**23))
    memory = SharedMemory(tmp_path)
    memory.register("r", "key", 0, 2**23)
    for size, quick in ((2**20, True), (2**23, False)):
        request = message(1)
        output = request.outputs.add(name="probs")
        output.parameters["shared_memory_region"].string_param = "r"
        output.parameters["shared_memory_byte_size"].int64_param = size
        assert inference(request, memory).is_quick == quick


def counts_of(*sizes: int) -> RunCounts:
    """Returns the counts of batches of these sizes."""
    counter = RunCounter()
    for size in sizes:
        run = BatchRun(0, size, size, 0.0, 0.001, 0.011, 0.013)
        counter.add(run, 0, 0)
    return counter.counts()


def test_sizes_of_all_cards_are_counted_together() -> None:
    with servable(cards=2) as made:
        cards = [
            replace(card.status(), counts=CardCounts(runs=counts_of(*sizes)))
            for card, sizes in zip(made.cards, ([4], [4, 1]), strict=True)
        ]
        found = statistics_message(made, cards)
    assert found.execution_count == 3
    sizes = [
        (one.batch_size, one.compute_infer.count, one.compute_infer.ns) for one in found.batch_stats
    ]
    assert sizes == [(1, 1, 10_000_000), (4, 2, 20_000_000)]
    assert found.batch_stats[1].compute_input.ns == 2_000_000
    assert found.batch_stats[1].compute_output.ns == 4_000_000


@pytest.mark.parametrize(
    ("error", "code", "reason", "begin"),
    [
        (errors.ModelNotFound("a"), "NOT_FOUND", "MODEL_NOT_FOUND", "Request for unknown model: a"),
        (errors.VersionNotFound("a"), "NOT_FOUND", "VERSION_NOT_FOUND", "Request for unknown"),
        (errors.LabelNotFound("a"), "NOT_FOUND", "LABEL_NOT_FOUND", "Request for unknown"),
        (errors.CardNotFound("a"), "NOT_FOUND", "CARD_NOT_FOUND", "a"),
        (errors.ModelUnavailable("a"), "UNAVAILABLE", "MODEL_UNAVAILABLE", "Request for unknown"),
        (errors.QueueFull("a", retry_after=2), "UNAVAILABLE", "QUEUE_FULL", "a"),
        (errors.CardOutOfOrder("a"), "UNAVAILABLE", "CARD_OUT_OF_ORDER", "a"),
        (errors.DeadlineExpired("a"), "DEADLINE_EXCEEDED", "DEADLINE_EXPIRED", "a"),
        (errors.InvalidTensor("a"), "INVALID_ARGUMENT", "INVALID_TENSOR", "a"),
        (errors.EngineFailed("a"), "INTERNAL", "ENGINE_FAILED", "a"),
    ],
)
def test_errors_of_the_core_have_tritons_status_and_their_own_reason(
    error: errors.PbserveError, code: str, reason: str, begin: str
) -> None:
    with pytest.raises(errors.PbserveError) as raised, triton_errors():
        raise error
    found = raised.value
    assert (status.code_of(found).name, found.reason) == (code, reason)
    assert found.message.startswith(begin)
    assert found.retry_after == error.retry_after
    assert status.from_proto(status.to_proto(found)).reason == reason


def test_a_timeout_of_the_request_may_be_tried_again() -> None:
    late = errors.DeadlineExpired("late")
    found = triton_error(late, timed=True)
    assert status.code_of(found).name == "UNAVAILABLE"
    assert found.reason == "DEADLINE_EXPIRED"
    assert triton_error(late) is late
