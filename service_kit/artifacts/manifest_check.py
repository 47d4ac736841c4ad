"""Whether a manifest, wherever it comes from, can be acted on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from service_kit import errors
from service_kit.artifacts import manifest
from service_kit.artifacts.class_labels import problem_of_labels
from service_kit.artifacts.model_name import is_model_name

# Element types that can be fed and fetched.
_DTYPES = frozenset(
    ["bool", "float16", "float32", "float64"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)
_MAX_DIMENSIONS = 16
# One image of this many elements fills 512 MiB.
_MAX_ELEMENTS = 2**27
_LONGEST_FILE_NAME = 255


def check_usable(document: manifest.Manifest, origin: str) -> None:
    """Refuses a manifest that readers could not act on safely; `origin` names its place.

    Raises:
        ArtifactCorrupt: says what it claims that cannot be.
    """
    problem = None
    name = document.graph.file_name
    if not is_model_name(document.model) or document.version < 1:
        problem = f"it names model {document.model!r} version {document.version}"
    elif not _is_file_name(name):
        problem = f"the graph's file name is {name!r}"
    elif not all(_is_file_name(file.file_name) for file in document.files):
        problem = "a file beside the graph has no usable name"
    elif document.folder and not _is_file_name(document.folder):
        problem = f"its files' folder is {document.folder!r}"
    elif len({name, *(file.file_name for file in document.files)}) <= len(document.files):
        problem = "two of its files have one name"
    elif [tower.index for tower in document.towers] != list(range(len(document.towers))):
        problem = "its towers are not numbered 0, 1, 2, ..."
    elif not document.towers or any(not t.inputs or not t.outputs for t in document.towers):
        problem = "it has no tower with an input and an output"
    elif any(
        len({spec.name for spec in specs}) != len(specs)
        for tower in document.towers
        for specs in (tower.inputs, tower.outputs)
    ):
        problem = "a tower has two tensors of one name"
    else:
        problem = (
            (f"it takes {document.max_batch} images at most" if document.max_batch < 0 else None)
            or problem_of_towers(document.towers, unbatched=document.unbatched)
            or problem_of_labels(document.class_labels, document.towers)
        )
    if problem:
        raise errors.ArtifactCorrupt(f"{origin} cannot be used: {problem}")


def problem_of_towers(towers: Sequence[manifest.Tower], *, unbatched: bool = False) -> str | None:
    """Returns what readers would refuse about the tensors of some towers; None if nothing.

    Outputs of an `unbatched` artifact need no dimension for the batch.
    """
    inputs = [_problem_of(spec) for tower in towers for spec in tower.inputs]
    outputs = [_problem_of(spec, whole=unbatched) for tower in towers for spec in tower.outputs]
    return next(filter(None, [*inputs, *outputs]), None)


def _is_file_name(name: str) -> bool:
    return (
        0 < len(name) <= _LONGEST_FILE_NAME
        and all(c not in "/\\" and c.isprintable() for c in name)
        and name not in {".", "..", manifest.MANIFEST_NAME, manifest.DIGEST_NAME}
    )


def _problem_of(spec: manifest.TensorSpec, *, whole: bool = False) -> str | None:
    if spec.dtype not in _DTYPES:
        return f"tensor {spec.tensor_name!r} has dtype {spec.dtype!r}"
    if not whole and spec.shape[:1] != (-1,):
        return f"tensor {spec.tensor_name!r} of shape {list(spec.shape)} does not take any batch"
    if not _fits(spec):
        return f"tensor {spec.tensor_name!r} cannot be probed with {list(spec.probe_shape)}"
    sizes = [1 if size == -1 else size for size in spec.shape]
    sizes[1:] = spec.probe_shape or sizes[1:]
    if (
        min(sizes, default=1) < 1
        or len(sizes) > _MAX_DIMENSIONS
        or math.prod(sizes) > _MAX_ELEMENTS
    ):
        return f"tensor {spec.tensor_name!r} has shape {list(spec.shape)[:_MAX_DIMENSIONS]}"
    return None


def _fits(spec: manifest.TensorSpec) -> bool:
    """Whether the sizes to probe with are such as the tensor has."""
    return not spec.probe_shape or (
        len(spec.probe_shape) == len(spec.shape) - 1
        and all(
            want in (-1, size) and size > 0
            for size, want in zip(spec.probe_shape, spec.shape[1:], strict=True)
        )
    )
