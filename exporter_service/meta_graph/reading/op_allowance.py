"""Ops that reach out of the graph: files, Python, debuggers. None of them may be run here.

An op is judged by its definition, because TensorFlow marks few of these as stateful and has more
of them with each release.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tensorflow.python.framework import op_def_registry

_OP = re.compile(
    r"Dataset|PyFunc|^Debug|^Abort$|^Copy(Host)?$|Iterator|^Save|^Restore|^ShardedFilename|Summary"
    r"|ReadFile|WriteFile|MatchingFiles|^ImmutableConst$|Remap|MergeV2Checkpoints|^PrintV2$"
    r"|TextFile|^Assert(CardinalityDataset|Next)|Rpc|Socket|^Send$|^Recv$|^_"
)
# Attributes and inputs that name something outside.
_REACHING = re.compile(r"file|path|url|descriptor_source|ops_spec|graph_def|output_stream")
# These have no such meaning.
_HARMLESS = frozenset(["explicit_paddings", "top_paths"])


def reaches_out(op: str) -> bool:
    """Whether an op reads, writes or calls what is not in the graph."""
    if _OP.search(op):
        return True
    definition = op_def_registry.get(op)
    if definition is None:
        return False
    names = [one.name for one in (*definition.attr, *definition.input_arg)]
    return any(_REACHING.search(name) and name not in _HARMLESS for name in names)


def called_names(attributes: Any) -> Iterator[str]:
    """Yields the names in a node's attributes that TensorFlow calls as functions.

    It runs an op whose name stands where a branch or a body should be a function.
    """
    for value in attributes.values():
        for one in (*([value.func] if value.HasField("func") else ()), *value.list.func):
            yield one.name
            yield from called_names(one.attr)
