"""The placeholder graph and the multi-tower graph: scopes, devices, inputs and outputs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from exporter_service.graphs.preprocessing import preprocessed
from exporter_service.graphs.tower_copy import FirstTower
from exporter_service.specs.conversion import TowerOptions
from service_kit import errors
from service_kit.artifacts.class_labels import LABELLED_OUTPUT, problem_of_labels
from service_kit.artifacts.manifest import Preprocessing, TensorSpec, Tower
from service_kit.artifacts.manifest_check import problem_of_towers

INPUT = "input"
_CHANNELS = 3
_DEFAULT_DTYPE = "float32"


def build_towers(
    net: Callable[[Any], Any],
    *,
    image_size: tuple[int, int],
    options: TowerOptions,
    preprocessing: Preprocessing,
    output_name: str,
) -> tuple[Tower, ...]:
    """Adds the towers to the default graph and returns their description.

    One tower has the tensors `input:0` and `probs:0` and no device. Several lie in the scopes
    `Card_0`, `Card_1`, ..., each pinned to its device, and share every variable.

    Args:
        net: adds the layers; from float32 [batch, height, width, 3] to logits [batch, classes]
            or to a mapping of output names to tensors. Must reuse its variables from the
            second call on.
        image_size: height and width, in pixels; not used for images of any size.
        options: number, scopes, devices, names and types.
        preprocessing: arithmetic on the images before the net.
        output_name: of the softmax of logits.

    Raises:
        Unconvertible: an output has the input's name, or one that the graph has already.
    """
    size = (None, None) if options.free_image_size else image_size
    dtype = tf.as_dtype(options.input_dtype or _DEFAULT_DTYPE)
    name = options.input_name or INPUT
    towers: list[Tower] = []
    first: FirstTower | None = None
    for index in range(options.cards):
        scope, device = options.scope(index), options.device(index)
        with inside(scope, device):
            if first is not None:
                towers.append(_copy(first, towers[0], index, scope, device))
                continue
            images = tf.placeholder(dtype, [None, *size, _CHANNELS], name=name)
            made = _outputs(net(preprocessed(images, preprocessing)), output_name)
        specs = tuple(tensor_spec(one, tensor) for one, tensor in made.items())
        towers.append(Tower(index, scope, device, (tensor_spec(name, images),), specs))
        if index == 0 and options.cards > 1:
            made_first = FirstTower(towers[0])
            first = made_first if made_first.can_be_copied else None
    _check_names(towers)
    return tuple(towers)


def _copy(first: FirstTower, original: Tower, index: int, scope: str, device: str) -> Tower:
    tensors = first.copy(scope)

    def specs(of: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        return tuple(tensor_spec(one.name, tensors[one.tensor_name]) for one in of)

    return Tower(index, scope, device, specs(original.inputs), specs(original.outputs))


@contextlib.contextmanager
def inside(scope: str, device: str) -> Iterator[None]:
    """Enters a tower's name scope and device; empty ones are left out."""
    with contextlib.ExitStack() as stack:
        if device:
            stack.enter_context(tf.device(device))
        if scope:
            # The slash takes the name as it is, also when the scope was entered before.
            stack.enter_context(tf.name_scope(f"{scope}/"))
        yield


def tensor_spec(name: str, tensor: Any) -> TensorSpec:
    """Returns the description of a tensor at a tower's border."""
    shape = tuple(-1 if size is None else int(size) for size in tensor.shape.as_list())
    return TensorSpec(name, tensor.name, tensor.dtype.name, shape)


def check_servable(towers: Sequence[Tower], *, unbatched: bool) -> None:
    """Refuses tensors that no inference service could feed or fetch, before they are tried.

    Outputs that are `unbatched` need no dimension for the batch.

    Raises:
        Unconvertible: a dtype, a number of dimensions or a size.
    """
    problem = problem_of_towers(towers, unbatched=unbatched)
    if problem:
        raise errors.Unconvertible(f"it cannot be served: {problem}; choose other tensors")


def check_labels(labels: Sequence[str], towers: Sequence[Tower]) -> None:
    """Refuses class labels that are not those of the towers' answers, before values are read.

    Raises:
        Unconvertible: their number, or that it is not known which output they are for.
    """
    problem = problem_of_labels(labels, towers)
    if problem:
        raise errors.Unconvertible(
            f"{problem}; give one label for each class of the output {LABELLED_OUTPUT}, or of the "
            "only output, or none"
        )


def _outputs(result: Any, output_name: str) -> dict[str, Any]:
    if isinstance(result, Mapping):
        return {name: tf.identity(tensor, name=name) for name, tensor in result.items()}
    return {output_name: tf.nn.softmax(result, name=output_name)}


def _check_names(towers: list[Tower]) -> None:
    for tower in towers:
        prefix = f"{tower.scope}/" if tower.scope else ""
        for spec in (*tower.inputs, *tower.outputs):
            if spec.tensor_name != f"{prefix}{spec.name}:0":
                raise errors.Unconvertible(
                    f"{spec.name} cannot be the name of an input or output: the graph has a node "
                    "of that name already; choose another one"
                )
