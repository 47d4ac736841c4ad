"""Card 0 of the frozen graph as an ONNX model. Needs the extra `onnx`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow.compat.v1 as tf

from exporter_service.checkpoints.key_list import counted
from exporter_service.formats.converter_log import failures_logged
from exporter_service.formats.extra_format import Answers, ExtraFormat, Feeds
from exporter_service.formats.model_file import write_message
from exporter_service.formats.tensor_type import data_type
from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec, Tower

# What tf2onnx prefers as of 1.17, said here so that its next release changes no bytes.
_OPSET = 15
_BATCH = "batch"
_OUTPUT = "pbserve_output_"
_FATAL_ONLY = 4


def write_onnx(graph_def: Any, towers: Sequence[Tower], folder: Path) -> Path:
    """Writes the first tower as `model.onnx` into `folder` and returns its path.

    ONNX has no devices, so there is one tower. Inputs and outputs have the semantic names, and
    the tower's dtypes and layout (images stay [batch, height, width, channels]); a free first
    dimension is called `batch`. The converter numbers the names of inner nodes as it comes
    to them, so two conversions of one graph may differ in these.

    Args:
        graph_def: a frozen GraphDef; is not changed.
        towers: its tensors.
        folder: exists.

    Raises:
        Unconvertible: the extra is missing; ONNX cannot express an op, and the message names
            all such; an input is called like an output; or the file would be larger than
            protobuf allows.
        ScratchUnavailable: the file cannot be written.
    """
    ExtraFormat.ONNX.check_installed()
    tower = towers[0]
    _check_names(tower)
    with failures_logged() as failures:
        try:
            model = _convert(graph_def, tower)
        # A converter meets every graph; whatever it raises says that it cannot do this one.
        except Exception as error:
            raise errors.Unconvertible(
                f"tf2onnx cannot convert this graph: {_first_line(error)}"
            ) from error
    _check_complete(model, failures)
    _name_free_dimensions(model.graph.input, tower.inputs)
    _name_free_dimensions(model.graph.output, tower.outputs)
    return write_message(model, folder / ExtraFormat.ONNX.file_name)


def answers_of_onnx(folder: Path, towers: Sequence[Tower], feeds: Feeds) -> Answers:
    """Returns, for the first tower alone, output name -> what ONNX Runtime answers on the CPU.

    Args:
        folder: holds `model.onnx`.
        towers: what was written.
        feeds: semantic name of an input -> array of its dtype, [batch, ...].

    Raises:
        Unconvertible: the extra is missing, or ONNX Runtime cannot run the model.
    """
    ExtraFormat.ONNX.check_installed()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # What goes wrong is raised; the rest is chatter.
    options.log_severity_level = _FATAL_ONLY
    fed = {spec.name: feeds[spec.name] for spec in towers[0].inputs}
    names = [spec.name for spec in towers[0].outputs]
    try:
        session = onnxruntime.InferenceSession(
            str(folder / ExtraFormat.ONNX.file_name), options, providers=["CPUExecutionProvider"]
        )
        outputs = session.run(names, fed)
    # Its errors have no common class below Exception.
    except Exception as error:
        raise errors.Unconvertible(
            f"ONNX Runtime cannot run the converted graph: {_first_line(error)}"
        ) from error
    return [dict(zip(names, outputs, strict=True))]


def _check_names(tower: Tower) -> None:
    both = {spec.name for spec in tower.inputs} & {spec.name for spec in tower.outputs}
    if both:
        raise errors.Unconvertible(
            "an ONNX model cannot have an input and an output of the same name; here "
            f"{counted(sorted(both))}"
        )


def _convert(graph_def: Any, tower: Tower) -> Any:
    import tf2onnx

    inputs = {spec.tensor_name: spec.name for spec in tower.inputs}
    outputs = {f"{_OUTPUT}{index}:0": spec.name for index, spec in enumerate(tower.outputs)}
    model, _ = tf2onnx.convert.from_graph_def(
        _subgraph(graph_def, tower),
        name="a frozen graph",
        input_names=list(inputs),
        output_names=list(outputs),
        tensors_to_rename=inputs | outputs,
        opset=_OPSET,
    )
    return model


def _subgraph(graph_def: Any, tower: Tower) -> Any:
    """Returns what one tower needs, so that no work goes into the others.

    Each output gets a node of its own: two may be the same tensor, or one an input, and a
    tensor in ONNX has one name.
    """
    specs = (*tower.inputs, *tower.outputs)
    nodes = sorted({spec.tensor_name.partition(":")[0] for spec in specs})
    subgraph = tf.graph_util.extract_sub_graph(graph_def, nodes)
    for index, spec in enumerate(tower.outputs):
        node = subgraph.node.add(name=f"{_OUTPUT}{index}", op="Identity", input=[spec.tensor_name])
        node.attr["T"].type = data_type(spec)
    return subgraph


def _check_complete(model: Any, failures: Sequence[str]) -> None:
    import onnx

    versions = {opset.domain: opset.version for opset in model.opset_import}
    unknown = sorted(
        f"{node.op_type} ({node.name})"
        for node in _nodes(model.graph)
        if not onnx.defs.has(node.op_type, versions.get(node.domain, 0), node.domain)
    )
    if unknown:
        raise errors.Unconvertible(f"ONNX has no counterpart of these ops: {counted(unknown)}")
    # An op that failed may bear the name of one of ONNX's.
    if failures:
        raise errors.Unconvertible(f"tf2onnx cannot convert this graph: {counted(failures)}")


def _nodes(graph: Any) -> Iterator[Any]:
    """Yields the nodes of a graph and of the branches and bodies within it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _name_free_dimensions(values: Any, specs: Sequence[TensorSpec]) -> None:
    """Replaces the converter's numbered names: `batch`, and the rest by tensor and position."""
    named = {value.name: value for value in values}
    for spec in specs:
        for position, dimension in enumerate(named[spec.name].type.tensor_type.shape.dim):
            if not dimension.HasField("dim_value"):
                dimension.dim_param = f"{spec.name}_{position}" if position else _BATCH


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
