"""Finds the key rewrites that make a checkpoint's keys those of a model. Values in, values out."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import chain

from exporter_service.checkpoints.key_rewrites import KeyRewrite, rewritten
from exporter_service.checkpoints.moving_average import SHADOW_SUFFIX, shadowed_key
from service_kit import errors

Shape = tuple[int, ...]
_OUTPUT = ":0"
_WITHOUT_OUTPUT = KeyRewrite(":0$", "")
_WITH_OUTPUT = KeyRewrite("$", ":0")


def suggest_rewrites(
    wanted: Mapping[str, Shape], found: Mapping[str, Shape]
) -> tuple[KeyRewrite, ...] | None:
    """Returns rewrites that give every wanted variable a key of its shape; None: none are known.

    Known are a prefix that is absent, added or another one, `:0` at the end, and both at once.
    A variable that has only a moving average is there as well. Other keys may be anything.

    Args:
        wanted: the model's variables, name -> shape.
        found: the checkpoint's keys, key -> shape.
    """
    shapes = _own_shapes(found)
    for outputs, renamed in _output_forms(wanted, shapes):
        for old, new in _prefix_changes(wanted, renamed):
            try:
                prefix = () if old == new else (_prefix_rewrite(old, new),)
                names = rewritten(found, outputs + prefix)
            except errors.InvalidRequest:
                # It makes one name of two keys, or is longer than a rewrite may be.
                continue
            if _all_there(wanted, {name: found[key] for name, key in names.items()}):
                return outputs + prefix
    return None


def _own_shapes(found: Mapping[str, Shape]) -> dict[str, Shape]:
    """Returns shapes by own key, also of variables of which only the moving average is there."""
    owners = {
        owner: shape
        for key, shape in found.items()
        if (owner := shadowed_key(key)) is not None
    }  # fmt: skip
    return owners | {key: shape for key, shape in found.items() if shadowed_key(key) is None}


def _output_forms(
    wanted: Mapping[str, Shape], shapes: Mapping[str, Shape]
) -> Iterator[tuple[tuple[KeyRewrite, ...], Mapping[str, Shape]]]:
    yield (), shapes
    if any(key.endswith(_OUTPUT) for key in shapes):
        yield (
            (_WITHOUT_OUTPUT,),
            {key.removesuffix(_OUTPUT): shape for key, shape in shapes.items()},
        )
    if all(name.endswith(_OUTPUT) for name in wanted):
        yield (_WITH_OUTPUT,), {key + _OUTPUT: shape for key, shape in shapes.items()}


def _prefix_changes(
    wanted: Mapping[str, Shape], shapes: Mapping[str, Shape]
) -> Iterator[tuple[str, str]]:
    """Yields old and new prefixes that would do; two empty ones if nothing has to change."""
    missing = [name for name, shape in wanted.items() if shapes.get(name) != shape]
    if not missing:
        yield "", ""
        return
    keys_of = defaultdict[Shape, list[str]](list)
    for key, shape in shapes.items():
        keys_of[shape].append(key)
    # One variable decides between as few keys as possible; all of them then have to agree.
    rarest = min(missing, key=lambda name: len(keys_of[wanted[name]]))
    changes = {
        change: key
        for key in keys_of[wanted[rarest]]
        for change in _differences(key, rarest)
    }  # fmt: skip
    # Whole scopes first; the longer what stays, the likelier; ties stand as in the checkpoint.
    for old, new in sorted(changes, key=lambda change: (not _are_scopes(*change), len(change[1]))):
        # Where it fails first: a key that has lost a name which was right, and what is missing.
        taken = changes[old, new]
        order = chain({taken} & wanted.keys(), missing, wanted)
        if all(_fits(name, wanted[name], old, new, shapes) for name in order):
            yield old, new


def _differences(key: str, name: str) -> Iterator[tuple[str, str]]:
    """Yields the prefixes that differ: of whole scopes, and the shortest ones."""
    length = 0
    for left, right in zip(reversed(key), reversed(name), strict=False):
        if left != right:
            break
        length += 1
    if not length:
        return
    old, new, same = key[:-length], name[:-length], key[-length:]
    scope, slash, rest = same.partition("/")
    if rest and not _are_scopes(old, new):
        yield old + scope + slash, new + scope + slash
    yield old, new


def _are_scopes(*prefixes: str) -> bool:
    return all(not prefix or prefix.endswith("/") for prefix in prefixes)


def _fits(name: str, shape: Shape, old: str, new: str, shapes: Mapping[str, Shape]) -> bool:
    """Whether a key of that shape has the name once `old` is replaced by `new`."""
    if name.startswith(new) and shapes.get(old + name.removeprefix(new)) == shape:
        return True
    return not name.startswith(old) and shapes.get(name) == shape


def _prefix_rewrite(old: str, new: str) -> KeyRewrite:
    return KeyRewrite(f"^{re.escape(old)}", new.replace("\\", r"\\"))


def _all_there(wanted: Mapping[str, Shape], shapes: Mapping[str, Shape]) -> bool:
    return all(
        shapes.get(name, shapes.get(name + SHADOW_SUFFIX)) == shape
        for name, shape in wanted.items()
    )
