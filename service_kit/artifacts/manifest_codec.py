"""Manifest <-> `pbserve.artifact.v1.Manifest` <-> the JSON of `manifest.json`.

`message_codec` converts the parts, which mirror their messages; what the messages of a manifest
and of a parity report mean beyond their fields is here.
"""

from __future__ import annotations

from dataclasses import replace

from google.protobuf import json_format

from pbserve.artifact.v1 import manifest_pb2 as pb
from service_kit import errors
from service_kit.artifacts import manifest
from service_kit.artifacts.manifest_check import check_usable
from service_kit.artifacts.message_codec import from_message, from_number, to_message

# The first readers that know `unbatched`, and `max_batch` or kept dropouts, and find such a graph.
_UNBATCHED_READER, _LIMITED_READER = 2, 3


def to_json(document: manifest.Manifest) -> bytes:
    """Returns the text of `manifest.json`, UTF-8."""
    text = json_format.MessageToJson(to_proto(document), preserving_proto_field_name=True)
    return text.encode() + b"\n"


def from_json(text: bytes, origin: str) -> manifest.Manifest:
    """Returns the manifest that `text` holds; `origin` names its place in errors.

    Fields of later releases are passed over.

    Raises:
        ArtifactCorrupt: it is not a manifest.
    """
    message = pb.Manifest()
    try:
        json_format.Parse(text, message, ignore_unknown_fields=True)
        _check_reader(message, origin)
        document = from_proto(message)
    # A RecursionError comes from deeply nested JSON; neither it nor any ValueError is a defect.
    except (json_format.ParseError, ValueError, RecursionError) as error:
        raise errors.ArtifactCorrupt(f"{origin} is not a manifest: {error}") from error
    check_usable(document, origin)
    return document


def _check_reader(message: pb.Manifest, origin: str) -> None:
    if message.min_reader > manifest.READER:
        raise errors.ArtifactCorrupt(
            f"upgrade pbserve: {origin} is for readers from {message.min_reader} on, and this one "
            f"is {manifest.READER}"
        )


def to_proto(document: manifest.Manifest) -> pb.Manifest:
    """Returns the manifest's message."""
    message = to_message(pb.Manifest, document)
    message.min_reader = (
        _LIMITED_READER
        if document.max_batch or document.varies
        else _UNBATCHED_READER * document.unbatched
    )
    if message.min_reader:
        message.guarded_graph.CopyFrom(message.graph)
        message.ClearField("graph")
    return message


def from_proto(message: pb.Manifest) -> manifest.Manifest:
    """Returns the manifest in a message.

    Raises:
        ValueError: an enum has a value that this release does not know.
    """
    document = from_message(manifest.Manifest, message)
    if message.HasField("guarded_graph"):
        graph = from_message(manifest.GraphFile, message.guarded_graph)
        document = replace(document, graph=graph)
    return replace(document, parity=_with_allowances(document.parity))


def parity_to_proto(report: manifest.ParityReport) -> pb.ParityReport:
    """Returns the message of a parity report."""
    return to_message(pb.ParityReport, report)


def parity_from_proto(message: pb.ParityReport) -> manifest.ParityReport:
    """Returns the parity report in a message."""
    return _with_allowances(from_message(manifest.ParityReport, message))


def _with_allowances(report: manifest.ParityReport) -> manifest.ParityReport:
    # Manifests of release 0.1 allowed the tolerance itself.
    comparisons = (
        replace(one, allowed_difference=one.allowed_difference or report.tolerance)
        for one in report.comparisons
    )
    return replace(report, comparisons=tuple(comparisons))


def mode_to_proto(mode: manifest.MovingAverageMode) -> pb.MovingAverageMode.ValueType:
    """Returns the enum value of a mode."""
    return pb.MovingAverageMode.Value(f"MOVING_AVERAGE_MODE_{mode.name}")


def mode_from_proto(value: pb.MovingAverageMode.ValueType) -> manifest.MovingAverageMode:
    """Returns the mode; unspecified means AUTO.

    Raises:
        ValueError: this release does not know the value.
    """
    return from_number(manifest.MovingAverageMode, pb.MovingAverageMode.DESCRIPTOR, value)
