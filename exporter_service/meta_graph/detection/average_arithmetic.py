"""Whether an assigned value is a moving average: its arithmetic is tried out on numbers.

The ops between a variable and what it follows work element by element, so one number stands for
a whole tensor. Values that depend on neither are given some number each; a true average must not
care which.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping

import tensorflow.compat.v1 as tf

from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port
from exporter_service.meta_graph.reading.variables import variable_of

_CLOSE = 1e-6
# So large that n / (n - 1), the correction of a variance, is 1.
_SIZE = 1e12
_SIZES = frozenset(["Shape", "ShapeN", "Size", "Rank"])
_OF_SIZES = frozenset(
    ["StridedSlice", "Slice", "GatherV2", "Prod", "Cast", "Identity", "Squeeze", "Reshape"]
)
_FIRST = frozenset(
    ["Identity", "IdentityN", "Cast", "Squeeze", "Reshape", "ExpandDims", "StopGradient", "Switch",
     "RefSwitch", "RefIdentity", "Enter", "RefEnter", "Exit", "CheckNumerics", "ReadVariableOp",
     "Merge", "RefMerge", "Print"]
)  # fmt: skip
_FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "Add": lambda a, b: a + b,
    "AddV2": lambda a, b: a + b,
    "AddN": lambda *values: sum(values),
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "RealDiv": lambda a, b: a / b,
    "Div": lambda a, b: a / b,
    "Neg": lambda a: -a,
    "Reciprocal": lambda a: 1 / a,
    "Square": lambda a: a * a,
    "Sqrt": math.sqrt,
    "Rsqrt": lambda a: 1 / math.sqrt(a),
    "Exp": math.exp,
    "Log": math.log,
    "Abs": abs,
    "Pow": lambda a, b: a**b,
    "Minimum": min,
    "Maximum": max,
    "Floor": math.floor,
    "Ceil": math.ceil,
    "Greater": lambda a, b: float(a > b),
    "GreaterEqual": lambda a, b: float(a >= b),
    "Less": lambda a, b: float(a < b),
    "LessEqual": lambda a, b: float(a <= b),
    "Select": lambda condition, a, b: a if condition else b,
    "SelectV2": lambda condition, a, b: a if condition else b,
    "Fill": lambda _, value: value,
    "AssignSub": lambda a, b: a - b,
    "AssignAdd": lambda a, b: a + b,
    "Assign": lambda _, b: b,
}
_CHOICES = frozenset(["Merge", "RefMerge", "Select", "SelectV2"])
# What an op that changes a variable makes of its value and the input.
_NEW_VALUE = {
    "AssignSub": "AssignSub", "AssignSubVariableOp": "AssignSub",
    "AssignAdd": "AssignAdd", "AssignAddVariableOp": "AssignAdd",
    "Assign": "Assign", "AssignVariableOp": "Assign",
}  # fmt: skip
ASSIGNS = frozenset(_NEW_VALUE)
ARITHMETIC = frozenset(_FUNCTIONS) | _FIRST
_DEEPEST = 200


class _Undefined(Exception):
    pass


def is_size(graph: NodeGraph, port: Port) -> bool:
    """Whether a port is made from sizes alone: `tf.cast(tf.shape(x)[0], tf.float32)`."""
    return graph.op(graph.through(port, _OF_SIZES)) in _SIZES


def is_average(graph: NodeGraph, update: str, variable: str, source: Port) -> bool:
    """Whether an update moves a variable S a part of the way towards V, S + k (V - S), 0 < k < 1.

    Args:
        graph: holds the update.
        update: the node that assigns.
        variable: S.
        source: V; a port, or the variable whose value it is.
    """
    return _manner(graph, update, variable, source, last=False) == "average"


def manners(graph: NodeGraph, update: str, variable: str, source: Port) -> frozenset[str]:
    """Returns what an update makes of a variable S and a tensor V, as one word or two.

    `average`: as `is_average` says; `extremum`: the greater or the smaller one; `same`: S;
    `copy`: V; `other`: anything else. Where the graph chooses between values, its first choices
    are tried, and its last.
    """
    return frozenset(_manner(graph, update, variable, source, last=one) for one in (False, True))


def _manner(graph: NodeGraph, update: str, variable: str, source: Port, *, last: bool) -> str:
    points = [(1.0, 1.0), (2.5, 2.5), (1.0, 2.0), (1.0, 4.0), (3.0, 1.5)]
    try:
        values = [_new_value(graph, update, {variable: s}, source, v, last=last) for s, v in points]
    except (_Undefined, ArithmeticError, ValueError, OverflowError):
        return "other"
    share = values[2] - 1.0
    wanted = {
        "same": [s for s, _ in points],
        "copy": [v for _, v in points],
        "extremum": [(max if share else min)(point) for point in points],
    }
    if 0 < share < 1:
        wanted["average"] = [s + share * (v - s) for s, v in points]
    return next((word for word, those in wanted.items() if _near(values, those)), "other")


def _near(values: list[float], wanted: list[float]) -> bool:
    return all(
        abs(value - one) < _CLOSE * max(1.0, abs(one))
        for value, one in zip(values, wanted, strict=True)
    )


def is_corrected(graph: NodeGraph, update: str, biased: str, source: Port) -> bool:
    """Whether an update assigns a multiple of another average, whatever that is: `B / (1 - d^n)`.

    Args:
        graph: holds the update.
        update: the node that assigns.
        biased: the variable B.
        source: what B follows.
    """
    inner = _inner_update(graph, update, biased)
    ratios = []
    try:
        for b, v in ((1.0, 1.0), (2.0, 5.0), (4.0, 0.5)):
            value = _new_value(graph, update, {biased: b}, source, v)
            # B is read after its own update, where that is a part of the value.
            now = b if inner is None else _new_value(graph, inner, {biased: b}, source, v)
            ratios.append(value / now)
    except (_Undefined, ArithmeticError, ValueError, OverflowError):
        return False
    return min(ratios) > 0 and max(ratios) - min(ratios) < _CLOSE * max(ratios)


def _inner_update(graph: NodeGraph, update: str, biased: str) -> str | None:
    for name in graph.ancestors(graph.inputs(update)[1:2]):
        if graph.nodes[name].op in _NEW_VALUE:
            target = graph.inputs(name)[0]
            if variable_of(graph, target) == biased:
                return name
    return None


def _new_value(
    graph: NodeGraph,
    update: str,
    variables: Mapping[str, float],
    source: Port,
    value: float,
    *,
    last: bool = False,
) -> float:
    target, assigned = graph.inputs(update)[:2]
    name = variable_of(graph, target) or target.node
    trial = _Trial(graph, variables, source, value, last=last)
    function = _FUNCTIONS[_NEW_VALUE[graph.nodes[update].op]]
    return float(function(trial.variable(name), trial.of(assigned)))


class _Trial:
    """One evaluation, with a number for each leaf."""

    def __init__(
        self,
        graph: NodeGraph,
        variables: Mapping[str, float],
        source: Port,
        value: float,
        *,
        last: bool = False,
    ) -> None:
        """Takes what is known; `last`: choices are for their last value, not for their first."""
        self._graph = graph
        self._variables = variables
        self._source = source
        self._value = value
        self._last = last
        self._known: dict[Port, float] = {}
        self._depth = 0

    def of(self, port: Port) -> float:
        if port not in self._known:
            self._depth += 1
            if self._depth > _DEEPEST:
                raise _Undefined
            self._known[port] = self._compute(port)
            self._depth -= 1
        return self._known[port]

    def variable(self, name: str) -> float:
        if Port(name) == self._source:
            return self._value
        return self._variables.get(name, _arbitrary(name))

    def _compute(self, port: Port) -> float:
        if port == self._source:
            return self._value
        read = variable_of(self._graph, port)
        if read is not None:
            return self.variable(read)
        op = self._graph.op(port)
        if is_size(self._graph, port):
            return _SIZE
        if op == "Const":
            return self._constant(port)
        # What is no arithmetic depends on neither: a decay, a counter, a rate.
        return self._apply(op, port) if op in ARITHMETIC else _arbitrary(port.node)

    def _constant(self, port: Port) -> float:
        array = tf.make_ndarray(self._graph.node(port).attr["value"].tensor)
        if array.dtype.kind not in "fiub" or not array.size or (array != array.flat[0]).any():
            return _arbitrary(port.node)
        return float(array.flat[0])

    def _apply(self, op: str, port: Port) -> float:
        inputs = self._graph.inputs(port.node)
        if op in _CHOICES and self._last:
            return self.of(inputs[-1])
        if op in _FIRST:
            return self.of(inputs[0])
        if op in _NEW_VALUE:
            target = variable_of(self._graph, inputs[0])
            before = self.variable(target) if target else self.of(inputs[0])
            return float(_FUNCTIONS[op](before, self.of(inputs[1])))
        return float(_FUNCTIONS[op](*map(self.of, inputs)))


def _arbitrary(name: str) -> float:
    """Returns a number in 0.2..0.8 that belongs to a name."""
    return 0.2 + 0.6 * (zlib.crc32(name.encode()) % 1000) / 1000
