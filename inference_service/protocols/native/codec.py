"""Messages of the inference contract <-> values. The only place of the server that knows both."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf import duration_pb2

from inference_service.cards.batching import Priority
from inference_service.cards.status import CardStatus
from inference_service.images.decoding import Fit
from inference_service.models.status import ModelStatus, VersionStatus
from inference_service.prediction.request import InferenceRequest, InferenceResult
from inference_service.wire.raw_tensor import Array
from inference_service.wire.scored_class import ScoredClass
from inference_service.wire.tensor_codec import decode_elements, decode_tensor, fill_tensor
from pbserve.artifact.v1 import manifest_pb2
from pbserve.inference.v1 import inference_pb2 as pb
from service_kit import errors
from service_kit.artifacts.message_codec import to_message
from service_kit.artifacts.model_name import checked_model_name

_PRIORITY_OF = {
    pb.PRIORITY_UNSPECIFIED: Priority.INTERACTIVE,
    pb.PRIORITY_INTERACTIVE: Priority.INTERACTIVE,
    pb.PRIORITY_BULK: Priority.BULK,
}
_FIT_OF = {
    pb.IMAGE_FIT_UNSPECIFIED: Fit.EXACT,
    pb.IMAGE_FIT_STRETCH: Fit.STRETCH,
    pb.IMAGE_FIT_CROP: Fit.CROP,
}
_MAX_TOP = 1000
# What becomes a message in a millisecond or two: measured, 0.9 microseconds a class, 2 ms for 4 MB.
_QUICK_CLASSES = 1000
_QUICK_BYTES = 4 * 2**20


def inference_request(message: pb.PredictRequest) -> InferenceRequest:
    """Returns the inference request in a message.

    Raises:
        InvalidRequest: a field is out of range.
        InvalidTensor: a tensor's bytes do not fit its dtype and shape.
    """
    if not message.model:
        raise errors.InvalidRequest("model is empty: name the model, ListModels has them all")
    if message.version < 0:
        raise errors.InvalidRequest(f"version is {message.version}: versions begin at 1")
    if not 0 <= message.top <= _MAX_TOP:
        raise errors.InvalidRequest(f"top is {message.top}: 0 to {_MAX_TOP} classes are possible")
    priority, fit = _PRIORITY_OF.get(message.priority), _FIT_OF.get(message.image_fit)
    if priority is None:
        raise errors.InvalidRequest(f"priority is {message.priority}: there is no such class")
    if fit is None:
        raise errors.InvalidRequest(f"image_fit is {message.image_fit}: there is no such way")
    inputs: dict[str, Array] = {}
    encoded: dict[str, Sequence[bytes]] = {}
    for name, tensor in message.inputs.items():
        if tensor.dtype == pb.DATA_TYPE_BYTES:
            encoded[name] = decode_elements(name, tensor)
        else:
            inputs[name] = decode_tensor(name, tensor)
    return InferenceRequest(
        message.model,
        inputs,
        message.version,
        message.label,
        message.card if message.HasField("card") else None,
        encoded,
        fit,
        list(message.output_names),
        message.top,
        priority,
        message.request_id,
    )


def model_and_version(
    message: pb.LoadModelRequest | pb.UnloadModelRequest | pb.SetLabelRequest,
) -> tuple[str, int]:
    """Returns what an operator's request names.

    Raises:
        InvalidRequest: the model's name is not allowed, or the version is negative.
    """
    if message.version < 0:
        raise errors.InvalidRequest(f"version is {message.version}: versions begin at 1")
    return checked_model_name(message.model), message.version


def is_slow_answer(answer: InferenceResult) -> bool:
    """Whether `answer_message` takes so long that nobody should wait for it on an event loop."""
    if sum(array.nbytes for array in answer.outputs.values()) > _QUICK_BYTES:
        return True
    return bool(answer.top) and len(answer.top) * len(answer.top[0]) > _QUICK_CLASSES


def answer_message(
    answer: InferenceResult, message: pb.PredictResponse | None = None
) -> pb.PredictResponse:
    """Returns the response for an answer; `message`: fills that one, which is empty."""
    if message is None:
        message = pb.PredictResponse()
    message.request_id, message.model, message.version = (
        answer.request_id,
        answer.model,
        answer.version,
    )
    message.card = answer.cards[0]
    message.cards.extend(answer.cards)
    for name, array in answer.outputs.items():
        fill_tensor(message.outputs[name], array)
    message.batch_size = answer.batch_size
    _set_duration(message.queue_time, answer.queue_seconds)
    _set_duration(message.compute_time, answer.compute_seconds)
    if answer.top:
        message.top.extend([_top_message(classes) for classes in answer.top])
    return message


def _top_message(classes: Sequence[ScoredClass]) -> pb.TopClasses:
    return pb.TopClasses(
        classes=[
            pb.ScoredClass(index=one.index, score=one.score, label=one.label) for one in classes
        ]
    )


def _duration(seconds: float) -> duration_pb2.Duration:
    message = duration_pb2.Duration()
    _set_duration(message, seconds)
    return message


def _set_duration(message: duration_pb2.Duration, seconds: float) -> None:
    # As `FromNanoseconds` for what is not negative, in a fifth of its time.
    message.seconds, message.nanos = divmod(round(seconds * 1e9), 1_000_000_000)


def model_message(status: ModelStatus) -> pb.ModelStatus:
    """Returns the message of a model's status."""
    return pb.ModelStatus(
        name=status.name,
        default_version=status.default_version,
        versions=[version_message(version) for version in status.versions],
        labels=status.labels,
    )


def version_message(status: VersionStatus) -> pb.VersionStatus:
    """Returns the message of a version's status."""
    servable = status.servable
    return pb.VersionStatus(
        version=status.version,
        state=pb.VersionStatus.State.Value(f"STATE_{status.state.name}"),
        reason=status.reason,
        cards=[_card_message(card.status()) for card in servable.cards] if servable else [],
        graph_sha256=servable.manifest.graph.sha256 if servable else "",
        retry_in=None if status.retry_in is None else _duration(status.retry_in),
        load_time=_duration(servable.load_seconds) if servable else None,
        leases=status.leases,
    )


def _card_message(card: CardStatus) -> pb.CardStatus:
    card_spec, counts = card.spec, card.counts
    return pb.CardStatus(
        index=card.index,
        device=card_spec.tower.device,
        inputs=[to_message(manifest_pb2.TensorSpec, spec) for spec in card_spec.tower.inputs],
        outputs=[to_message(manifest_pb2.TensorSpec, spec) for spec in card_spec.tower.outputs],
        outstanding_images=card.outstanding_images,
        outstanding_bytes=card.outstanding_bytes,
        answered_images=counts.answered_images,
        max_batch_size=card.limits.batch,
        runs_on=str(card_spec.placement.device),
        shares_device_with=card_spec.placement.shares_with,
        tower=card_spec.placement.tower,
        timings=[
            pb.BatchTiming(batch_size=timing.batch_size, time=_duration(timing.seconds))
            for timing in card_spec.timings
        ],
        healthy=card.healthy,
        last_error=card.last_error,
        counts=pb.CardCounts(
            batches=counts.runs.batches,
            failed_requests=counts.failed_requests,
            expired_requests=counts.expired_requests,
            cancelled_requests=counts.cancelled_requests,
            refused_requests=counts.refused_requests,
            non_finite_inputs=counts.runs.non_finite_inputs,
            non_finite_outputs=counts.runs.non_finite_outputs,
            busy_time=_duration(counts.runs.busy_seconds),
        ),
    )
