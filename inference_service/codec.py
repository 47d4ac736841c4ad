"""Messages of the inference contract <-> values. The only place of the server that knows both."""

from __future__ import annotations

from inference_service.predictor import Answer, Question
from inference_service.registry import ModelStatus, VersionStatus
from inference_service.servable import Servable
from inference_service.tensor_codec import decode_tensor, encode_tensor
from pbserve.inference.v1 import inference_pb2 as pb
from service_kit import errors, manifest_codec


def question(message: pb.PredictRequest) -> Question:
    """Returns the question in a request.

    Raises:
        InvalidRequest: a field is out of range.
        InvalidTensor: a tensor's bytes do not fit its dtype and shape.
    """
    if not message.model:
        raise errors.InvalidRequest("model is empty: name the model, ListModels has them all")
    if message.version < 0:
        raise errors.InvalidRequest(f"version is {message.version}: versions begin at 1")
    return Question(
        model=message.model,
        version=message.version,
        label=message.label,
        card=message.card if message.HasField("card") else None,
        inputs={name: decode_tensor(name, tensor) for name, tensor in message.inputs.items()},
        request_id=message.request_id,
    )


def answer_message(answer: Answer) -> pb.PredictResponse:
    """Returns the response for an answer."""
    message = pb.PredictResponse(
        request_id=answer.request_id,
        model=answer.model,
        version=answer.version,
        card=answer.card,
        outputs={name: encode_tensor(array) for name, array in answer.outputs.items()},
        batch_size=answer.batch_size,
    )
    message.queue_time.FromNanoseconds(round(answer.queue_seconds * 1e9))
    message.compute_time.FromNanoseconds(round(answer.compute_seconds * 1e9))
    return message


def model_message(status: ModelStatus) -> pb.ModelStatus:
    """Returns the message of a model's status."""
    return pb.ModelStatus(
        name=status.name,
        default_version=status.default_version,
        versions=[_version_message(version) for version in status.versions],
    )


def _version_message(status: VersionStatus) -> pb.VersionStatus:
    servable = status.servable
    return pb.VersionStatus(
        version=status.version,
        state=pb.VersionStatus.State.Value(f"STATE_{status.state.name}"),
        reason=status.reason,
        cards=_card_messages(servable) if servable else [],
        graph_sha256=servable.manifest.graph.sha256 if servable else "",
    )


def _card_messages(servable: Servable) -> list[pb.CardStatus]:
    return [
        pb.CardStatus(
            index=card.index,
            device=card.tower.device,
            inputs=[manifest_codec.tensor_spec_to_proto(spec) for spec in card.tower.inputs],
            outputs=[manifest_codec.tensor_spec_to_proto(spec) for spec in card.tower.outputs],
            outstanding_images=card.outstanding,
            answered_images=card.answered,
            max_batch_size=card.max_batch_size,
        )
        for card in servable.cards
    ]
