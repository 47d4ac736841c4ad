"""Messages of the inference contract <-> what the client takes and returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from google.protobuf import duration_pb2
from typing_extensions import TypedDict, Unpack

from inference_service.client.image_inputs import Array, Images, Inputs, by_name, tensor_or_files
from inference_service.client.results import (
    BatchTiming,
    Card,
    CardCounts,
    EngineStatus,
    Model,
    Prediction,
    StreamAnswer,
    Version,
)
from inference_service.wire.scored_class import ScoredClass
from inference_service.wire.tensor_codec import decode_tensor, encode_elements, encode_tensor
from pbserve.inference.v1 import inference_pb2 as pb
from service_kit import errors, status
from service_kit.artifacts.manifest import ParityReport, TensorSpec
from service_kit.artifacts.message_codec import from_message
from service_kit.client.channel import sendable

__all__ = ["Array", "Images", "Inputs", "RequestOptions"]

_INPUT = "input"


class RequestOptions(TypedDict, total=False):
    """What a request may say besides its images.

    Attributes:
        card: card to run on; None: the least busy one.
        version: version to ask; 0: the one of the label `default`, or the newest.
        label: label of the version to ask, instead of its number.
        output_names: outputs to answer with; empty: all, or none with `top`.
        top: number of best classes to answer with for each image.
        priority: bulk goes when nothing interactive waits, and in every fourth batch.
        image_fit: how encoded images are brought to the model's size; exact: they have it.
    """

    card: int | None
    version: int
    label: str
    output_names: Sequence[str]
    top: int
    priority: Literal["interactive", "bulk"]
    image_fit: Literal["exact", "stretch", "crop"]


_FITS = {
    "exact": pb.IMAGE_FIT_UNSPECIFIED,
    "stretch": pb.IMAGE_FIT_STRETCH,
    "crop": pb.IMAGE_FIT_CROP,
}
_PRIORITIES = {"interactive": pb.PRIORITY_INTERACTIVE, "bulk": pb.PRIORITY_BULK}


def request_message(
    model: str, images: Inputs, request_id: str, **options: Unpack[RequestOptions]
) -> pb.PredictRequest:
    """Returns the request for a group of images.

    Raises:
        InvalidTensor: the contract has no such dtype, or see `tensor_or_files`.
        InvalidRequest: an option has a value that cannot be sent, or see `tensor_or_files`.
    """
    return with_images(request_without_images(model, **options), images, request_id)


def request_without_images(model: str, **options: Unpack[RequestOptions]) -> pb.PredictRequest:
    """Returns what the requests of a stream have in common.

    Raises:
        InvalidRequest: an option has a value that cannot be sent.
    """
    known = dict(options)
    priority = known.pop("priority", "interactive")
    fit = known.pop("image_fit", "exact")
    with sendable():
        if priority not in _PRIORITIES or fit not in _FITS:
            raise ValueError(
                f"priority {priority!r} is one of {', '.join(_PRIORITIES)}; image_fit {fit!r} is "
                f"one of {', '.join(_FITS)}"
            )
        return pb.PredictRequest(
            model=model,
            priority=_PRIORITIES[str(priority)],
            image_fit=_FITS[str(fit)],
            **known,  # type: ignore[arg-type]
        )


def with_images(common: pb.PredictRequest, images: Inputs, request_id: str) -> pb.PredictRequest:
    """Returns a request of its own for a group of images; reads their files.

    Raises:
        InvalidTensor, InvalidRequest: see `tensor_or_files`.
    """
    tensors = {name: _tensor(name, value) for name, value in by_name(images, _INPUT).items()}
    with sendable():
        request = pb.PredictRequest(inputs=tensors, request_id=request_id)
    request.MergeFrom(common)
    return request


def _tensor(name: str, images: Images) -> pb.Tensor:
    value = tensor_or_files(name, images)
    return encode_elements(value) if isinstance(value, list) else encode_tensor(value)


def prediction(message: pb.PredictResponse) -> Prediction:
    """Returns what a response says."""
    return Prediction(
        outputs={name: decode_tensor(name, tensor) for name, tensor in message.outputs.items()},
        model=message.model,
        version=message.version,
        card=message.card,
        cards=tuple(message.cards) or (message.card,),
        batch_size=message.batch_size,
        queue_seconds=_seconds(message.queue_time),
        compute_seconds=_seconds(message.compute_time),
        top=tuple(
            tuple(ScoredClass(one.index, one.score, one.label) for one in image.classes)
            for image in message.top
        ),
    )


def stream_answer(message: pb.StreamPredictResponse) -> StreamAnswer:
    """Returns what a response of a stream says.

    Raises:
        RemoteError: it answers nothing that this client asks.
    """
    if not message.request_id.isdecimal():
        raise errors.RemoteError(
            f"the server answered a request {message.request_id!r}, which was never sent"
        )
    index = int(message.request_id)
    if message.HasField("error"):
        return StreamAnswer(index, None, status.from_proto(message.error))
    return StreamAnswer(index, prediction(message.response), None)


def model(message: pb.ModelStatus) -> Model:
    """Returns a model's status."""
    return Model(
        name=message.name,
        default_version=message.default_version,
        versions=tuple(version(one) for one in message.versions),
        labels=dict(message.labels),
    )


def version(message: pb.VersionStatus) -> Version:
    """Returns a version's status."""
    state = pb.VersionStatus.State.Name(message.state)
    return Version(
        version=message.version,
        state=state.removeprefix("STATE_"),
        reason=message.reason,
        graph_sha256=message.graph_sha256,
        cards=tuple(_card(card) for card in message.cards),
        retry_in_seconds=_seconds(message.retry_in) if message.HasField("retry_in") else None,
        load_seconds=_seconds(message.load_time) if message.HasField("load_time") else None,
        leases=message.leases,
        engine=_engine(message.engine) if message.HasField("engine") else None,
    )


def _engine(message: pb.EngineStatus) -> EngineStatus:
    has_parity = message.HasField("parity")
    return EngineStatus(
        name=message.name,
        version=message.version,
        reason=message.reason,
        precision=message.precision,
        parity=from_message(ParityReport, message.parity) if has_parity else None,
    )


def _card(card: pb.CardStatus) -> Card:
    counts = card.counts
    return Card(
        index=card.index,
        device=card.device,
        inputs=tuple(from_message(TensorSpec, spec) for spec in card.inputs),
        outputs=tuple(from_message(TensorSpec, spec) for spec in card.outputs),
        outstanding_images=card.outstanding_images,
        outstanding_bytes=card.outstanding_bytes,
        answered_images=card.answered_images,
        max_batch_size=card.max_batch_size,
        runs_on=card.runs_on,
        shares_device_with=tuple(card.shares_device_with),
        tower=card.tower,
        timings=tuple(BatchTiming(one.batch_size, _seconds(one.time)) for one in card.timings),
        healthy=card.healthy,
        last_error=card.last_error,
        counts=CardCounts(
            batches=counts.batches,
            failed_requests=counts.failed_requests,
            expired_requests=counts.expired_requests,
            cancelled_requests=counts.cancelled_requests,
            refused_requests=counts.refused_requests,
            non_finite_inputs=counts.non_finite_inputs,
            non_finite_outputs=counts.non_finite_outputs,
            busy_seconds=_seconds(counts.busy_time),
        ),
    )


def _seconds(duration: duration_pb2.Duration) -> float:
    return duration.ToNanoseconds() / 1e9
