from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pbserve.artifact.v1 import manifest_pb2 as pb
from service_kit.artifacts import manifest
from service_kit.artifacts.manifest import (
    ArchitectureSpec,
    ArtifactFile,
    ArtifactFileKind,
    Augmentation,
    CheckpointFormat,
    CheckpointOrigin,
    Manifest,
    MovingAverageMode,
    Preprocessing,
    published_as,
)
from service_kit.artifacts.message_codec import from_message, from_number, to_message, to_number
from tests.support.manifests import conversion

_MESSAGES = pb.DESCRIPTOR.message_types_by_name
_ENUMS = pb.DESCRIPTOR.enum_types_by_name


@pytest.mark.parametrize("name", sorted(_MESSAGES))
def test_dataclasses_have_every_field_of_the_contract(name: str) -> None:
    kind = getattr(manifest, name)
    alone = {"min_reader", "guarded_graph"} if kind is Manifest else set()
    wire = set(_MESSAGES[name].fields_by_name) - alone
    assert {field.name for field in fields(kind)} <= wire
    assert all(hasattr(kind, field) for field in wire)


@pytest.mark.parametrize("name", sorted(_ENUMS))
def test_members_have_every_value_of_the_contract_but_0(name: str) -> None:
    kind: type[enum.Enum] = getattr(manifest, name)
    numbers = set(_ENUMS[name].values_by_number) - {0}
    assert {to_number(member, _ENUMS[name]) for member in kind} - {0} == numbers
    assert {from_number(kind, _ENUMS[name], number) for number in numbers} | (
        {kind["UNSPECIFIED"]} if "UNSPECIFIED" in kind.__members__ else set()
    ) == set(kind)


@pytest.mark.parametrize(
    ("kind", "meant"),
    [
        (MovingAverageMode, MovingAverageMode.AUTO),
        (Augmentation, Augmentation.NONE),
        (ArtifactFileKind, ArtifactFileKind.UNSPECIFIED),
    ],
)
def test_0_is_what_the_contract_says_of_unspecified(
    kind: type[enum.Enum], meant: enum.Enum
) -> None:
    assert from_number(kind, _ENUMS[kind.__name__], 0) is meant


@pytest.mark.parametrize(
    ("kind", "number"), [(CheckpointFormat, 0), (MovingAverageMode, 9), (Augmentation, 9)]
)
def test_values_that_are_not_known_are_refused(kind: type[enum.Enum], number: int) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__} {number} is not known here"):
        from_number(kind, _ENUMS[kind.__name__], number)


def test_what_later_releases_put_beside_the_graph_is_unspecified() -> None:
    message = pb.ArtifactFile(file_name="a", size_bytes=1, sha256="b")
    message.kind = 77  # type: ignore[assignment]
    found = from_message(ArtifactFile, message)
    assert found == ArtifactFile("a", 1, "b", ArtifactFileKind.UNSPECIFIED)


@pytest.mark.parametrize("step", [None, 0, 2**62])
def test_a_step_is_absent_or_a_number_0_included(step: int | None) -> None:
    origin = CheckpointOrigin("model.ckpt", step, CheckpointFormat.V1, "ab")
    message = to_message(pb.CheckpointOrigin, origin)
    assert message.HasField("global_step") == (step is not None)
    assert from_message(CheckpointOrigin, message) == origin


def test_whole_numbers_of_parameters_are_ints_at_any_depth() -> None:
    parameters = {"classes": 10, "rate": 0.5, "deep": {"layers": [3, 4.0, "x", None, True]}}
    message = to_message(pb.ArchitectureSpec, ArchitectureSpec("densenet", parameters))
    found = from_message(ArchitectureSpec, message)
    assert found == ArchitectureSpec("densenet", parameters)
    assert isinstance(found.parameters["classes"], int)
    assert list(map(type, found.parameters["deep"]["layers"][:2])) == [int, int]


def test_parts_that_are_left_out_are_their_defaults() -> None:
    assert from_message(Preprocessing, pb.Preprocessing()) == Preprocessing()
    message = to_message(pb.Manifest, _document())
    assert not message.HasField("meta_graph")
    assert from_message(Manifest, message).meta_graph is None


def test_moments_travel_in_utc() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    message = to_message(pb.Manifest, _document(moment))
    found = from_message(Manifest, message).created_at
    assert found == moment
    assert found.tzinfo is timezone.utc


def test_properties_with_a_field_of_their_name_are_written() -> None:
    assert to_message(pb.Manifest, _document()).parity.passed


@dataclass(frozen=True, slots=True)
class _Stranger:
    name: str
    parameters: Mapping[str, Any]
    novelty: int = 0


def test_a_field_that_the_message_lacks_is_never_lost_in_silence() -> None:
    with pytest.raises(KeyError, match="novelty"):
        to_message(pb.ArchitectureSpec, _Stranger("a", {}, 1))


def _document(moment: datetime = datetime(2026, 1, 2, tzinfo=timezone.utc)) -> Manifest:
    return published_as(conversion(cards=2), "digits", 3, moment)
