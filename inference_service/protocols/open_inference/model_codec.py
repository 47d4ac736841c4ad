"""What a served version is: `ModelMetadataResponse` and `ModelConfig`."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from tritonclient.grpc import model_config_pb2 as config_pb
from tritonclient.grpc import service_pb2 as pb

from inference_service.cards.card import Card
from inference_service.models.servable import Servable
from inference_service.models.status import ModelStatus, State
from inference_service.protocols.open_inference.datatypes import DTYPES, datatype_of
from service_kit.artifacts.manifest import TensorSpec

PLATFORM = "tensorflow_graphdef"
# Triton's own word for a type that it does not have.
_NO_DATATYPE = "<invalid>"
_TYPE_OF = {
    datatype: config_pb.DataType.Value(f"TYPE_{datatype}")
    for datatype in DTYPES
    # BF16 is of later releases than BOOL and its like.
    if f"TYPE_{datatype}" in config_pb.DataType.keys()  # noqa: SIM118 - no mapping
}
# Channels of inputs that are taken for images, whose layout is then known.
_IMAGE_CHANNELS = (1, 3, 4)


def served_versions(status: ModelStatus) -> list[int]:
    """Returns the versions that answer, in order."""
    return [one.version for one in status.versions if one.state is State.AVAILABLE]


def metadata_message(servable: Servable, versions: Sequence[int]) -> pb.ModelMetadataResponse:
    """Returns the metadata of a version; shapes begin with -1, for any number of images."""
    tower = servable.cards[0].spec.tower
    return pb.ModelMetadataResponse(
        name=servable.model,
        versions=[str(version) for version in versions],
        platform=PLATFORM,
        inputs=[_tensor_metadata(spec) for spec in tower.inputs],
        outputs=[_tensor_metadata(spec) for spec in tower.outputs],
    )


def _tensor_metadata(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=_datatype(spec) or _NO_DATATYPE, shape=[-1, *spec.shape[1:]]
    )


def _datatype(spec: TensorSpec) -> str:
    return datatype_of(np.dtype(spec.dtype))


def config_message(
    servable: Servable, versions: Sequence[int], labels: dict[str, int]
) -> config_pb.ModelConfig:
    """Returns how a version is served.

    `max_batch_size` is the largest batch that a card forms, which larger requests are divided by;
    0 where requests never share one. Dimensions do without the images then, and only then.

    Args:
        servable: the version.
        versions: of the model that are served.
        labels: of the model's versions.
    """
    card_spec = servable.cards[0].spec
    batch = max(card.limits.batch for card in servable.cards) if card_spec.packs else 0
    config = config_pb.ModelConfig(
        name=servable.model,
        platform=PLATFORM,
        backend="tensorflow",
        default_model_filename=servable.manifest.graph.file_name,
        max_batch_size=batch,
        input=[_input(spec, batched=batch > 0) for spec in card_spec.tower.inputs],
        output=[_output(spec, batched=batch > 0) for spec in card_spec.tower.outputs],
        instance_group=[_instance_group(card) for card in servable.cards],
    )
    config.version_policy.specific.versions.extend(versions)
    if batch:
        _describe_batching(config.dynamic_batching, servable.cards, batch)
    for name, value in _facts(servable, labels).items():
        config.parameters[name].string_value = value
    return config


def _input(spec: TensorSpec, *, batched: bool) -> config_pb.ModelInput:
    images = len(spec.shape) == 4 and spec.shape[3] in _IMAGE_CHANNELS
    return config_pb.ModelInput(
        name=spec.name,
        data_type=_TYPE_OF.get(_datatype(spec), config_pb.TYPE_INVALID),
        format=config_pb.ModelInput.FORMAT_NHWC
        if images and batched
        else config_pb.ModelInput.FORMAT_NONE,
        dims=_dims(spec, batched=batched),
        reshape=_reshape(spec, batched=batched),
    )


def _output(spec: TensorSpec, *, batched: bool) -> config_pb.ModelOutput:
    return config_pb.ModelOutput(
        name=spec.name,
        data_type=_TYPE_OF.get(_datatype(spec), config_pb.TYPE_INVALID),
        dims=_dims(spec, batched=batched),
        reshape=_reshape(spec, batched=batched),
    )


def _dims(spec: TensorSpec, *, batched: bool) -> list[int]:
    # Triton takes no empty dims: one number an image is [1] there, with a reshape to [].
    return list(spec.shape[1:]) or [1] if batched else [-1, *spec.shape[1:]]


def _reshape(spec: TensorSpec, *, batched: bool) -> config_pb.ModelTensorReshape | None:
    return config_pb.ModelTensorReshape() if batched and len(spec.shape) == 1 else None


def _instance_group(card: Card) -> config_pb.ModelInstanceGroup:
    device = card.spec.placement.device
    gpu = device.kind == "gpu"
    group = config_pb.ModelInstanceGroup
    return group(
        name=f"card_{card.index}",
        kind=group.KIND_GPU if gpu else group.KIND_CPU,
        count=1,
        gpus=[device.index] if gpu else [],
    )


def _describe_batching(
    batching: config_pb.ModelDynamicBatching, cards: Sequence[Card], batch: int
) -> None:
    limits = cards[0].limits
    batching.preferred_batch_size.extend(limits.padded_sizes or [batch])
    batching.max_queue_delay_microseconds = round(limits.max_queue_delay * 1e6)
    # Interactive and bulk.
    batching.priority_levels = 2
    batching.default_priority_level = 1
    batching.default_queue_policy.allow_timeout_override = True


def _facts(servable: Servable, labels: dict[str, int]) -> dict[str, str]:
    """Returns what Triton's configuration has no field for."""
    limits = servable.cards[0].limits
    facts = {
        "graph_sha256": servable.manifest.graph.sha256,
        "devices": ",".join(str(card.spec.placement.device) for card in servable.cards),
        "queue_images": str(limits.queue_images),
        "queue_bytes": str(limits.queue_bytes),
    }
    if labels:
        facts["version_labels"] = json.dumps(labels, sort_keys=True)
    if servable.manifest.class_labels:
        facts["class_labels"] = json.dumps(servable.manifest.class_labels, ensure_ascii=False)
    return facts
