"""The frozen graph as a SavedModel, for TensorFlow Serving and everything else that loads those.

Device pins are cleared. TensorFlow Serving, the C API and those upon it (Java, Go) load without
soft placement, where a graph with one pin to a card that is not there is refused as a whole; and
a SavedModel, unlike the frozen graph, goes to machines that this project knows nothing of. The
price: where there are several cards, every signature runs on the first that the process sees.
One server a card (`CUDA_VISIBLE_DEVICES`) uses them all; pbserve itself spreads over the cards
by the frozen graph, which keeps its pins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tensorflow.compat.v1 as tf
from tensorflow.core.protobuf import saved_model_pb2

from exporter_service.formats.extra_format import Answers, ExtraFormat, Feeds
from exporter_service.formats.model_file import write_message
from exporter_service.formats.tensor_type import data_type
from service_kit.artifacts.manifest import TensorSpec, Tower

_TAG = "serve"
_METHOD = "tensorflow/serving/predict"
DEFAULT_SIGNATURE = "serving_default"
# The only one there is, says TensorFlow's own saved_model/constants.py.
_SCHEMA_VERSION = 1


def signature_of(tower: Tower) -> str:
    """Returns the signature's name: `card_0`, `card_1`, ..."""
    return f"card_{tower.index}"


def write_saved_model(graph_def: Any, towers: Sequence[Tower], folder: Path) -> Path:
    """Writes `saved_model.pb` into `folder` and returns its path.

    Signatures are `card_0`, `card_1`, ... and `serving_default`, which is card 0; their inputs
    and outputs have the semantic names. Weights are constants of the graph, so there is no
    `variables` folder, and no loader asks for one. The same graph gives the same bytes.

    Args:
        graph_def: a frozen GraphDef; is not changed.
        towers: its tensors.
        folder: exists.

    Raises:
        Unconvertible: the file would be larger than protobuf allows.
        ScratchUnavailable: the file cannot be written.
    """
    saved = saved_model_pb2.SavedModel(saved_model_schema_version=_SCHEMA_VERSION)
    # Written without TensorFlow's builder: that makes an empty `variables` folder, and its
    # signatures need the graph to be imported first. Attributes that have their op's default
    # are left out so that releases before the one that added an attribute load it too.
    saved.meta_graphs.add().CopyFrom(
        tf.train.export_meta_graph(
            graph=tf.Graph(), graph_def=_without_pins(graph_def), strip_default_attrs=True
        )
    )
    meta = saved.meta_graphs[0]
    meta.meta_info_def.tags.append(_TAG)
    for tower in towers:
        _describe(tower, meta.signature_def[signature_of(tower)])
    _describe(towers[0], meta.signature_def[DEFAULT_SIGNATURE])
    return write_message(saved, folder / ExtraFormat.SAVED_MODEL.file_name)


def answers_of_saved_model(folder: Path, towers: Sequence[Tower], feeds: Feeds) -> Answers:
    """Returns, for each tower, output name -> what its signature answers on the CPU.

    Loads as TensorFlow Serving does: by the tag, without soft placement.

    Args:
        folder: holds `saved_model.pb`.
        towers: whose signatures to run.
        feeds: semantic name of an input -> array of its dtype, [batch, ...]; the same for
            every tower.
    """
    config = tf.ConfigProto(allow_soft_placement=False, device_count={"GPU": 0})
    with tf.Session(graph=tf.Graph(), config=config) as session:
        meta = tf.saved_model.load(session, [_TAG], str(folder))
        answers: Answers = []
        for tower in towers:
            signature = meta.signature_def[signature_of(tower)]
            fetches = {name: tensor.name for name, tensor in signature.outputs.items()}
            fed = {tensor.name: feeds[name] for name, tensor in signature.inputs.items()}
            answers.append(session.run(fetches, fed))
    return answers


def _without_pins(graph_def: Any) -> Any:
    unpinned = tf.GraphDef()
    unpinned.CopyFrom(graph_def)
    for node in unpinned.node:
        node.device = ""
    for function in unpinned.library.function:
        for node in function.node_def:
            node.device = ""
    return unpinned


def _describe(tower: Tower, signature: Any) -> None:
    signature.method_name = _METHOD
    _describe_tensors(tower.inputs, signature.inputs)
    _describe_tensors(tower.outputs, signature.outputs)


def _describe_tensors(specs: Iterable[TensorSpec], described: Any) -> None:
    for spec in specs:
        tensor = described[spec.name]
        tensor.name = spec.tensor_name
        tensor.dtype = data_type(spec)
        for size in spec.shape:
            tensor.tensor_shape.dim.add(size=size)
