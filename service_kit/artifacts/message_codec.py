"""Dataclasses <-> messages that have the same field names.

How a field is converted follows from its type in the dataclass: numbers, texts and booleans as
they are, enums by the names of their members, `tuple[T, ...]`, mappings, dataclasses, `T | None`
by presence, `datetime` in UTC, and `Mapping[str, Any]` as a Struct.
"""

from __future__ import annotations

import enum
import functools
import operator
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from google.protobuf import json_format, struct_pb2, timestamp_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

AnyMessage = TypeVar("AnyMessage", bound=Message)
Value = TypeVar("Value")
Member = TypeVar("Member", bound=enum.Enum)
_Convert = Callable[[Any], Any]


def to_message(message_type: type[AnyMessage], value: object) -> AnyMessage:
    """Returns the message of a dataclass.

    A field that is a property of the dataclass is written too; one that only the message has is
    left out.

    Raises:
        KeyError: the message lacks a field of the dataclass.
        ValueError: a number is out of range, or a parameter is not of JSON's types.
    """
    return message_type(**_plan(cast("Any", type(value)), message_type.DESCRIPTOR).write(value))


def from_message(kind: type[Value], message: Message) -> Value:
    """Returns the dataclass of a message; fields that only the message has are passed over.

    Raises:
        ValueError: an enum has a value that the dataclass's enum does not have.
    """
    value: Value = _plan(cast("Any", kind), message.DESCRIPTOR).read(message)
    return value


def to_number(member: enum.Enum, wire: EnumDescriptor) -> int:
    """Returns a member's number in a message."""
    return wire.values_by_name[f"{_prefix(wire)}{member.name}"].number


def from_number(kind: type[Member], wire: EnumDescriptor, number: int) -> Member:
    """Returns the member of a number; where that is not known, UNSPECIFIED if it is a member.

    An alias UNSPECIFIED is what 0 means, and does not stand for numbers of later releases.

    Raises:
        ValueError: there is no such member.
    """
    known = wire.values_by_number.get(number)
    name = known.name.removeprefix(_prefix(wire)) if known else "UNSPECIFIED"
    member = kind.__members__.get(name)
    if member is None or not (known or member.name == name):
        raise ValueError(f"{kind.__name__} {number} is not known here")
    return member


def struct_to_dict(struct: struct_pb2.Struct) -> dict[str, Any]:
    """Returns a Struct as a dict; whole numbers, which travel as doubles, become ints."""
    return {key: _whole(value) for key, value in json_format.MessageToDict(struct).items()}


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return value


def _prefix(wire: EnumDescriptor) -> str:
    # By the contract's rules of names, 0 is `<NAME_OF_THE_ENUM>_UNSPECIFIED`.
    return wire.values_by_number[0].name.removesuffix("UNSPECIFIED")


@dataclass(frozen=True, slots=True)
class _Plan:
    """Functions that convert; a dataclass is written as the arguments of its message."""

    read: _Convert
    write: _Convert


_AS_IS = _Plan(lambda value: value, lambda value: value)


# Called with casts, as mypy does not see that every class can be hashed.
@functools.cache
def _plan(kind: Any, wire: Descriptor) -> _Plan:
    """Returns how a dataclass is converted: worked out once, as manifests have many towers."""
    hints = get_type_hints(kind)
    plans = {
        field.name: _field_plan(hints[field.name], wire.fields_by_name[field.name])
        for field in fields(kind)
    }
    readers = [(name, plan.read) for name, plan in plans.items()]
    computed = [one for one in wire.fields_by_name if isinstance(getattr(kind, one, 0), property)]
    writers = [(name, plan.write) for name, plan in plans.items()]
    writers += [(name, operator.attrgetter(name)) for name in computed]
    return _Plan(
        lambda message: kind(**{name: read(message) for name, read in readers}),
        lambda value: {name: write(value) for name, write in writers},
    )


def _field_plan(hint: Any, field: FieldDescriptor) -> _Plan:
    """Returns how a field is taken out of a message, and out of a dataclass."""
    get = operator.attrgetter(field.name)
    if get_origin(hint) is types.UnionType:
        one = _field_plan(get_args(hint)[0], field)
        return _Plan(
            lambda message: one.read(message) if message.HasField(field.name) else None,
            lambda value: None if get(value) is None else one.write(value),
        )
    many = get_origin(hint) is tuple
    plan = _value_plan(get_args(hint)[0] if many else hint, field)
    read, write = plan.read, plan.write
    if plan is _AS_IS:
        return _Plan(lambda message: tuple(get(message)), get) if many else _Plan(get, get)
    if many:
        return _Plan(
            lambda message: tuple(map(read, get(message))),
            lambda value: list(map(write, get(value))),
        )
    return _Plan(lambda message: read(get(message)), lambda value: write(get(value)))


def _value_plan(hint: Any, field: FieldDescriptor) -> _Plan:
    """Returns how a single value is converted."""
    wire: Any = field.message_type or field.enum_type
    if hint in {bool, int, float, str}:
        return _AS_IS
    if hint is datetime:
        return _Plan(operator.methodcaller("ToDatetime", tzinfo=timezone.utc), _timestamp)
    if get_origin(hint) is Mapping:
        if wire.full_name == struct_pb2.Struct.DESCRIPTOR.full_name:
            return _Plan(struct_to_dict, _struct)
        return _Plan(dict, dict)
    if issubclass(hint, enum.Enum):
        return _Plan(
            lambda number: from_number(hint, wire, number), lambda member: to_number(member, wire)
        )
    return _plan(hint, wire)


def _timestamp(moment: datetime) -> timestamp_pb2.Timestamp:
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(moment)
    return message


def _struct(values: Mapping[str, Any]) -> struct_pb2.Struct | None:
    """Returns the Struct of a dict; an empty one is left out, as empty maps are."""
    if not values:
        return None
    message = struct_pb2.Struct()
    message.update(dict(values))
    return message
