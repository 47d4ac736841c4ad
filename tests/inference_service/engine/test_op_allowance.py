from __future__ import annotations

from typing import Any

import pytest
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import op_def_registry

from inference_service.engine.op_allowance import check_ops
from service_kit import errors
from tests.support.digits import GOLDEN


def graph_of(*ops: str) -> Any:
    graph = tf.GraphDef()
    for index, op in enumerate(ops):
        graph.node.add(name=f"n{index}", op=op)
    return graph


@pytest.mark.parametrize("name", ["single.pb", "multi.pb"])
def test_what_the_recipe_froze_may_run(name: str) -> None:
    check_ops(tf.GraphDef.FromString((GOLDEN / name).read_bytes()), ())


@pytest.mark.parametrize(
    "op",
    [
        "Conv2D", "FusedBatchNormV3", "Softmax", "Const", "Placeholder", "PlaceholderWithDefault",
        "RandomUniform", "StatelessRandomUniform", "Switch", "Merge", "Enter", "While", "If",
        "PartitionedCall", "TensorArrayV3", "TensorArrayReadV3", "StackPushV2", "DynamicStitch",
        "TensorListFromTensor", "ResizeBilinear", "DecodeJpeg", "NonMaxSuppressionV5",
        "QuantizedConv2D", "LRN", "Einsum", "Assert", "Print", "NoOp", "_FusedConv2D",
    ],
)  # fmt: skip
def test_what_computes_may_run(op: str) -> None:
    check_ops(graph_of(op), ())


@pytest.mark.parametrize(
    "op",
    [
        "ReadFile", "WriteFile", "MatchingFiles", "SaveV2", "RestoreV2", "MergeV2Checkpoints",
        "ImmutableConst", "PyFunc", "PyFuncStateless", "EagerPyFunc", "RemoteCall", "Abort",
        "TextLineReaderV2", "WholeFileReaderV2", "TFRecordDataset", "PrintV2", "DebugIdentityV3",
        "DebugNumericSummary", "_Send", "_Recv", "InitializeTableFromTextFileV2", "LoadDataset",
        "CollectiveReduceV2", "SummaryWriter", "CreateSummaryFileWriter", "RecordInput",
        "XlaLaunch", "LookupTableExportV2", "VarHandleOp", "IteratorGetNext",
        "DataServiceDatasetV4",
    ],
)  # fmt: skip
def test_what_reaches_out_or_is_unknown_is_refused_by_name_until_an_operator_allows_it(
    op: str,
) -> None:
    assert op_def_registry.get(op) is not None
    with pytest.raises(errors.GraphRefused, match=rf"{op} \(node n1\).*--allow-op"):
        check_ops(graph_of("Const", op), ())
    check_ops(graph_of("Const", op), {op})


def test_ops_hidden_in_functions_are_found_and_calls_of_functions_are_no_ops() -> None:
    graph = graph_of("innocent")
    function = graph.library.function.add()
    function.signature.name = "innocent"
    function.node_def.add(name="quiet", op="Relu")
    check_ops(graph, ())
    function.node_def.add(name="loud", op="WriteFile")
    with pytest.raises(errors.GraphRefused, match="function innocent"):
        check_ops(graph, ())


def test_a_function_with_the_name_of_an_op_does_not_hide_what_it_does() -> None:
    graph = graph_of("WriteFile")
    function = graph.library.function.add()
    function.signature.name = "WriteFile"
    function.node_def.add(name="inside", op="ReadFile")
    with pytest.raises(errors.GraphRefused, match=r"WriteFile .*, ReadFile"):
        check_ops(graph, ())
