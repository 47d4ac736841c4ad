"""What a training graph holds, as values that cross to the server. No TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InputContents:
    """A port that brings values in; dtype and shape are None when they are not known."""

    tensor_name: str
    kind: str
    dtype: str | None
    shape: tuple[int, ...] | None
    reaches_output: bool


@dataclass(frozen=True, slots=True)
class OutputContents:
    """A tensor that may be an answer; `training`: its net would be switched."""

    tensor_name: str
    kind: str
    training: bool


@dataclass(frozen=True, slots=True)
class UnregisteredOp:
    """A node whose op this TensorFlow does not have."""

    node: str
    op: str
    reaches_output: bool


@dataclass(frozen=True, slots=True)
class MetaGraphContents:
    """A training graph; the fields are those of the contract's message of this name."""

    node_count: int
    inputs: tuple[InputContents, ...]
    outputs: tuple[OutputContents, ...]
    batch_norms: Mapping[str, int]
    dropout_count: int
    towers: tuple[str, ...]
    unregistered_ops: tuple[UnregisteredOp, ...]
    averaged_variables: int
