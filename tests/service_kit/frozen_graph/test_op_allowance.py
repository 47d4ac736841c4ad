from __future__ import annotations

from typing import Any

import pytest
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import op_def_registry

from service_kit import errors
from service_kit.frozen_graph.op_allowance import check_ops
from tests.support import allowed_ops
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
        "DataServiceDatasetV4", "FixedUnigramCandidateSampler", "AddSparseToTensorsMap",
    ],
)  # fmt: skip
def test_what_reaches_out_or_is_unknown_is_refused_by_name_until_an_operator_allows_it(
    op: str,
) -> None:
    assert op_def_registry.get(op) is not None
    with pytest.raises(errors.GraphRefused, match=rf"--allow-op.*{op} \(node n1\)"):
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
    with pytest.raises(errors.GraphRefused, match="ReadFile"):
        check_ops(graph, ())
    del function.node_def[:]
    # Nor would it be called: TensorFlow takes no function that has the name of an op.
    with tf.Graph().as_default(), pytest.raises(ValueError, match="same name already exists"):
        tf.import_graph_def(graph, name="")


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("StatelessIf", ("then_branch", "else_branch")),
        ("If", ("then_branch", "else_branch")),
        ("While", ("cond", "body")),
        ("PartitionedCall", ("f",)),
    ],
)
def test_an_op_in_the_place_of_a_function_is_found(op: str, attributes: tuple[str, ...]) -> None:
    graph = graph_of("Const", op)
    for name in attributes:
        graph.node[1].attr[name].func.name = "inside"
    function = graph.library.function.add()
    function.signature.name = "inside"
    check_ops(graph, ())
    graph.node[1].attr[attributes[-1]].func.name = "WriteFile"
    with pytest.raises(errors.GraphRefused, match=r"WriteFile \(node n1\)"):
        check_ops(graph, ())


def test_an_op_in_a_list_of_functions_or_bound_to_one_is_found() -> None:
    graph = graph_of("Case")
    graph.node[0].attr["branches"].list.func.add().name = "WriteFile"
    with pytest.raises(errors.GraphRefused, match="WriteFile"):
        check_ops(graph, ())
    graph = graph_of("PartitionedCall")
    called = graph.node[0].attr["f"].func
    called.name = "inside"
    called.attr["g"].func.name = "ReadFile"
    with pytest.raises(errors.GraphRefused, match="ReadFile"):
        check_ops(graph, ())


def test_the_list_is_what_the_registry_has() -> None:
    assert allowed_ops.LIST.read_text().split() == allowed_ops.allowed_ops()


def chain(*calls: str) -> Any:
    """Returns a graph with the functions f0, f1, ..., each of which calls the one named."""
    graph = graph_of("Const")
    for number, called in enumerate(calls):
        function = graph.library.function.add()
        function.signature.name = f"f{number}"
        node = function.node_def.add(name="call", op="PartitionedCall")
        node.attr["f"].func.name = called
        node.attr["g"].func.name = "Relu"
    return graph


@pytest.mark.parametrize("calls", [["f0"], ["f1", "f0"], ["f1", "f2", "f3", "f1"]])
def test_functions_that_call_themselves_are_refused(calls: list[str]) -> None:
    with pytest.raises(errors.GraphRefused, match=r"function f\d calls itself"):
        check_ops(chain(*calls), ())


def test_a_function_that_is_its_own_gradient_is_refused() -> None:
    graph = chain("Relu")
    graph.library.gradient.add(function_name="f0", gradient_func="f0")
    with pytest.raises(errors.GraphRefused, match="f0 calls itself"):
        check_ops(graph, ())


@pytest.mark.parametrize("backwards", [False, True])
def test_functions_are_nested_only_so_deep(*, backwards: bool) -> None:
    def nested(depth: int) -> Any:
        if backwards:
            return chain("Relu", *(f"f{number}" for number in range(depth - 1)))
        return chain(*(f"f{number}" for number in range(1, depth)), "Relu")

    check_ops(nested(64), ())
    for depth in (65, 5000):
        with pytest.raises(errors.GraphRefused, match="nested more than 64 deep"):
            check_ops(nested(depth), ())


def test_functions_that_share_one_are_not_deep() -> None:
    graph = chain(*["f200"] * 200, "Relu")
    for number in range(200):
        graph.library.function[number].node_def.add(name="again", op="f200")
    check_ops(graph, ())
