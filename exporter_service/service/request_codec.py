"""Requests for conversion and adoption: message -> validated values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from google.protobuf import json_format, struct_pb2

from exporter_service.checkpoints.key_rewrites import MAX_REWRITES, KeyRewrite
from exporter_service.formats.extra_format import ExtraFormat
from exporter_service.meta_graph.reading.parameters import TENSOR_NAME
from exporter_service.service.probe_codec import probe_arrays
from exporter_service.specs.conversion import (
    TOLERANCE,
    AdoptionRequest,
    ConversionRequest,
    DeviceKind,
    DevicePins,
    FreezingRoute,
    ParityDemand,
    TowerOptions,
)
from pbserve.artifact.v1 import manifest_pb2
from pbserve.exporter.v1 import exporter_pb2 as pb
from service_kit import errors
from service_kit.artifacts import manifest_codec
from service_kit.artifacts.class_labels import problem_of_label
from service_kit.artifacts.manifest import (
    ArchitectureSpec,
    Augmentation,
    MovingAverageMode,
    Preprocessing,
)
from service_kit.artifacts.message_codec import from_message, struct_to_dict
from service_kit.artifacts.model_name import checked_model_name

_Value = TypeVar("_Value")
_MAX_CARDS = 64
_LARGEST_SIDE = 8192
_CHANNELS = 3
_LONGEST_ID = 200
_LARGEST_TOLERANCE = 0.01
_MAX_NAMES, _LONGEST_NAME = 64, 1000
_INPUT_DTYPES = ("", "float32", "uint8")
# What can be one node of TensorFlow's; a scope may have several parts.
_NODE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\-]{0,99}")
_SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\-/]{0,98}[A-Za-z0-9_.\-]|[A-Za-z0-9.]")
_DEVICE_KINDS: dict[int, DeviceKind] = {
    pb.DEVICE_KIND_UNSPECIFIED: "gpu",
    pb.DEVICE_KIND_GPU: "gpu",
    pb.DEVICE_KIND_CPU: "cpu",
}
_PINS: dict[int, DevicePins] = {
    pb.DEVICE_PINS_UNSPECIFIED: DevicePins.RECIPE,
    pb.DEVICE_PINS_KEEP: DevicePins.KEEP,
    pb.DEVICE_PINS_CLEAR: DevicePins.CLEAR,
}
_ROUTES: dict[int, FreezingRoute] = {
    pb.FREEZING_ROUTE_UNSPECIFIED: FreezingRoute.SESSION,
    pb.FREEZING_ROUTE_SESSION: FreezingRoute.SESSION,
    pb.FREEZING_ROUTE_META_GRAPH: FreezingRoute.META_GRAPH,
}
_DEMANDS: dict[int, ParityDemand] = {
    pb.PARITY_DEMAND_UNSPECIFIED: ParityDemand.ANY,
    pb.PARITY_DEMAND_END_TO_END: ParityDemand.END_TO_END,
    pb.PARITY_DEMAND_BEHIND_AUGMENTATION: ParityDemand.BEHIND_AUGMENTATION,
}
_FORMATS: dict[int, ExtraFormat] = {
    pb.EXTRA_FORMAT_SAVED_MODEL: ExtraFormat.SAVED_MODEL,
    pb.EXTRA_FORMAT_ONNX: ExtraFormat.ONNX,
}


def conversion_request(message: pb.ConvertCheckpointRequest) -> ConversionRequest:
    """Returns the validated request.

    Raises:
        InvalidRequest: says which field, what it holds and what is allowed.
    """
    if not message.architecture.name:
        raise errors.InvalidRequest("architecture has no name: ListArchitectures has them all")
    if len(message.request_id) > _LONGEST_ID:
        raise errors.InvalidRequest(f"request_id is longer than {_LONGEST_ID} characters")
    preprocessing = (
        _preprocessing(message.preprocessing) if message.HasField("preprocessing") else None
    )
    demand = _known("parity", _DEMANDS, message.parity)
    _check_demand(demand, preprocessing)
    return ConversionRequest(
        model=checked_model_name(message.model),
        version=_version(message.version),
        checkpoint=message.checkpoint,
        architecture=_architecture(message.architecture),
        towers=_towers(message),
        moving_average=_moving_average(message.moving_average),
        preprocessing=preprocessing,
        freezing_route=_known("freezing_route", _ROUTES, message.freezing_route),
        keep_checkpoint=message.keep_checkpoint,
        formats=_formats(message.formats),
        key_map=_key_map(message.key_map),
        parity=demand,
        tolerance=_tolerance(message.tolerance),
        probe=probe_arrays(message.probe),
        class_labels=_labels(message.class_labels),
        unbatched=message.unbatched,
        request_id=message.request_id,
    )


def adoption_request(message: pb.AdoptGraphRequest) -> AdoptionRequest:
    """Returns the validated request.

    Raises:
        InvalidRequest: says which field, what it holds and what is allowed.
    """
    return AdoptionRequest(
        model=checked_model_name(message.model),
        version=_version(message.version),
        graph=message.graph,
        inputs=_names("inputs", message.inputs),
        outputs=_names("outputs", message.outputs),
        formats=_formats(message.formats),
        tolerance=_tolerance(message.tolerance),
        probe=probe_arrays(message.probe),
        class_labels=_labels(message.class_labels),
        unbatched=message.unbatched,
        parameters=_parameters(message.parameters),
    )


def _parameters(message: struct_pb2.Struct) -> dict[str, Any]:
    try:
        return struct_to_dict(message)
    except (json_format.Error, ValueError) as error:
        raise errors.InvalidRequest(f"parameters: {error}") from error


def _version(value: int) -> int | None:
    if value < 0:
        raise errors.InvalidRequest(f"version is {value}: versions begin at 1")
    return value or None


def _known(field: str, table: Mapping[int, _Value], value: int) -> _Value:
    try:
        return table[value]
    except KeyError:
        raise errors.InvalidRequest(f"{field} {value} is not known here") from None


def _towers(message: pb.ConvertCheckpointRequest) -> TowerOptions:
    if not 0 <= message.cards <= _MAX_CARDS:
        raise errors.InvalidRequest(f"cards is {message.cards}: 1 to {_MAX_CARDS} are possible")
    if message.input_dtype not in _INPUT_DTYPES:
        raise errors.InvalidRequest(
            f"input_dtype is {message.input_dtype!r}: float32 and uint8 are possible"
        )
    if message.free_image_size and message.HasField("image_size"):
        raise errors.InvalidRequest("free_image_size and image_size cannot be had together")
    for field, pattern in (
        ("scope_prefix", _SCOPE), ("input_name", _NODE), ("output_name", _NODE)
    ):  # fmt: skip
        value = getattr(message, field)
        if value and not pattern.fullmatch(value):
            raise errors.InvalidRequest(
                f"{field} is {value!r}: letters, digits, `_`, `.` and `-` are possible, at most 100"
            )
    if message.input_name and message.input_name == message.output_name:
        raise errors.InvalidRequest(f"input_name and output_name are both {message.input_name!r}")
    return TowerOptions(
        cards=message.cards or 1,
        device_kind=_known("device_kind", _DEVICE_KINDS, message.device_kind),
        device_pins=_known("device_pins", _PINS, message.device_pins),
        scope_prefix=message.scope_prefix or "Card",
        input_name=message.input_name,
        output_name=message.output_name,
        image_size=_image_size(message),
        free_image_size=message.free_image_size,
        input_dtype=message.input_dtype,
    )


def _architecture(message: manifest_pb2.ArchitectureSpec) -> ArchitectureSpec:
    try:
        return from_message(ArchitectureSpec, message)
    except (json_format.Error, ValueError) as error:
        raise errors.InvalidRequest(f"architecture.parameters: {error}") from error


def _image_size(message: pb.ConvertCheckpointRequest) -> tuple[int, int] | None:
    if not message.HasField("image_size"):
        return None
    size = (message.image_size.height, message.image_size.width)
    if not all(1 <= side <= _LARGEST_SIDE for side in size):
        raise errors.InvalidRequest(
            f"image_size is {size[0]}x{size[1]}: each side must be 1 to {_LARGEST_SIDE} pixels"
        )
    return size


def _moving_average(value: manifest_pb2.MovingAverageMode.ValueType) -> MovingAverageMode:
    try:
        return manifest_codec.mode_from_proto(value)
    except ValueError:
        raise errors.InvalidRequest(f"moving_average {value} is not known here") from None


def _preprocessing(message: manifest_pb2.Preprocessing) -> Preprocessing:
    try:
        preprocessing = from_message(Preprocessing, message)
    except ValueError:
        raise errors.InvalidRequest(
            f"preprocessing.augmentation {message.augmentation} is not known here"
        ) from None
    _check_channels("mean", preprocessing.mean)
    _check_channels("scale", preprocessing.scale)
    return preprocessing


def _check_channels(name: str, values: Sequence[float]) -> None:
    # What the graph will compute with.
    with np.errstate(over="ignore"):
        finite = np.isfinite(np.array(values, np.float32)).all()
    if values and (len(values) != _CHANNELS or not finite):
        raise errors.InvalidRequest(
            f"preprocessing.{name} is {list(values)}: give {_CHANNELS} numbers that are finite "
            "as float32, one a channel, or none"
        )
    if name == "scale" and not all(values):
        raise errors.InvalidRequest("preprocessing.scale has a 0, which would blank its channel")


def _check_demand(demand: ParityDemand, preprocessing: Preprocessing | None) -> None:
    training = preprocessing is not None and preprocessing.augmentation is Augmentation.TRAINING
    if training and demand is ParityDemand.END_TO_END:
        raise errors.InvalidRequest(
            "augmentation TRAINING and parity END_TO_END cannot be had together: the augmentation "
            "changes each image at random, so the same image gives another answer on every call; "
            "ask for parity BEHIND_AUGMENTATION, or leave the augmentation out"
        )
    if demand is ParityDemand.BEHIND_AUGMENTATION and not training:
        raise errors.InvalidRequest(
            "parity BEHIND_AUGMENTATION is for augmentation TRAINING, which was not asked for"
        )


def _formats(values: Iterable[int]) -> tuple[ExtraFormat, ...]:
    return tuple(dict.fromkeys(_known("formats", _FORMATS, value) for value in values))


def _key_map(messages: Sequence[pb.KeyRewrite]) -> tuple[KeyRewrite, ...]:
    if len(messages) > MAX_REWRITES:
        raise errors.InvalidRequest(
            f"key_map has {len(messages)} rewrites: at most {MAX_REWRITES} are possible"
        )
    return tuple(KeyRewrite(message.pattern, message.replacement) for message in messages)


def _tolerance(value: float) -> float:
    if not (value == 0 or 0 < value <= _LARGEST_TOLERANCE) or math.isnan(value):
        raise errors.InvalidRequest(
            f"tolerance is {value}: above 0, at most {_LARGEST_TOLERANCE}; 0 means {TOLERANCE}"
        )
    return value or TOLERANCE


def _names(field: str, values: Sequence[str]) -> tuple[str, ...]:
    if len(values) > _MAX_NAMES or any(len(value) > _LONGEST_NAME for value in values):
        raise errors.InvalidRequest(
            f"{field} has {len(values)} names: at most {_MAX_NAMES} are possible, of "
            f"{_LONGEST_NAME} characters"
        )
    wrong = [value for value in values if not re.fullmatch(TENSOR_NAME, value)]
    if wrong:
        raise errors.InvalidRequest(
            f"{field} has {wrong[0]!r}: write NAME, NAME:PORT or ALIAS=NAME:PORT"
        )
    return tuple(values)


def _labels(values: Sequence[str]) -> tuple[str, ...]:
    for index, label in enumerate(values):
        problem = problem_of_label(label)
        if problem:
            raise errors.InvalidRequest(f"class_labels[{index}] {problem}")
    return tuple(values)
