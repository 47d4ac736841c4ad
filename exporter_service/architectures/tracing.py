"""Runs builders of other packages: reads their variables off a scratch graph, and guards them."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import tensorflow.compat.v1 as tf

from exporter_service.architectures.architecture import ImageSize, Variable
from exporter_service.checkpoints.key_list import counted
from service_kit import errors

_CHANNELS = 3
_LONGEST_REASON = 600
_VARIABLE_OPS = ("Variable", "VariableV2", "VarHandleOp")
_TABLE_OPS = ("HashTable", "HashTableV2", "MutableHashTable", "MutableHashTableV2")
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class TracedBuilder:
    """A builder that nobody has put on paper.

    Attributes:
        title: what messages call it: `the plug-in tiny`.
        function: from images and parameters to logits or a mapping of outputs.
    """

    title: str
    function: Callable[[Any, Any], Any]

    def variables(self, parameters: Any, image_size: ImageSize) -> dict[str, Variable]:
        """Returns the variables by name, as a first call makes them in an empty graph.

        Args:
            parameters: what the function takes.
            image_size: height and width, in pixels.

        Raises:
            Unconvertible: the function fails, or its state cannot come from a checkpoint.
        """
        with tf.Graph().as_default() as graph:
            images = tf.placeholder(tf.float32, [None, *image_size, _CHANNELS])
            self(images, parameters)
            made = tf.global_variables()
            self._check_state(graph, made)
            trainable = {variable.op.name for variable in tf.trainable_variables()}
        return {
            variable.op.name: Variable(
                tuple(variable.shape.as_list()),
                variable.op.name in trainable,
                variable.dtype.base_dtype.name,
            )
            for variable in made
        }

    def __call__(self, images: Any, parameters: Any) -> Any:
        """Calls the function; the second call in a graph shares the variables of the first.

        Returns:
            Logits, of floats [batch, classes], or a dictionary of outputs [batch, ...].

        Raises:
            Unconvertible: says what the function did instead.
        """
        graph = tf.get_default_graph()
        mark = f"pbserve/{self.title}"
        called_before = bool(graph.get_collection(mark))
        before = {variable.op.name for variable in tf.global_variables()}
        try:
            # The scope object, and not its name, lets unnamed scopes begin anew as well.
            with (
                tf.variable_scope(
                    tf.get_variable_scope(),
                    reuse=tf.AUTO_REUSE,
                    use_resource=False,
                    auxiliary_name_scope=False,
                ),
                warnings.catch_warnings(),
            ):
                # Nets of TensorFlow 1 use what has been deprecated since, and nobody here can
                # do anything about it.
                warnings.simplefilter("ignore")
                result = self.function(images, parameters)
        except errors.PbserveError:
            raise
        except (Exception, SystemExit) as error:
            raise errors.Unconvertible(
                f"{self.title} cannot be built for images of {_size(images)}: {_reason(error)}"
            ) from error
        graph.add_to_collection(mark, True)
        made = [v.op.name for v in tf.global_variables() if v.op.name not in before]
        if called_before and made:
            self._refuse(
                f"makes new variables for the second card ({counted(made)}): make them with "
                "tf.get_variable, which finds those of the first"
            )
        return self._check(result, images)

    def _check_state(self, graph: Any, made: list[Any]) -> None:
        known = {variable.op.name for variable in made}
        operations = graph.get_operations()
        others = [op.name for op in operations if op.type in _VARIABLE_OPS and op.name not in known]
        if others:
            self._refuse(
                f"has variables outside the collection GLOBAL_VARIABLES ({counted(others)}): only "
                "those in it are restored"
            )
        tables = [op.name for op in operations if op.type in _TABLE_OPS]
        if tables:
            self._refuse(f"has tables ({counted(tables)}): a frozen graph holds none")
        odd = [
            f"{variable.op.name} ({variable.dtype.base_dtype.name})"
            for variable in made
            if not variable.dtype.base_dtype.is_numpy_compatible
            or variable.dtype.base_dtype == tf.string
        ]
        if odd:
            self._refuse(f"has variables that are no numbers ({counted(odd)})")
        vague = [v.op.name for v in made if not v.shape.is_fully_defined()]
        if vague:
            self._refuse(f"has variables without a fixed shape ({counted(vague)})")
        first_with: dict[str, str] = {}
        for variable in made:
            # Values are restored by feeding this tensor.
            initial = variable.initializer.inputs[1].name
            first = first_with.setdefault(initial, variable.op.name)
            if first != variable.op.name:
                self._refuse(
                    f"gives {first} and {variable.op.name} one tensor as their initial value: "
                    "give each an initializer of its own"
                )

    def _check(self, result: Any, images: Any) -> Any:
        if isinstance(result, Mapping):
            if not result:
                self._refuse("returned no outputs")
            for name, tensor in result.items():
                if not isinstance(name, str) or not name:
                    self._refuse(f"returned an output called {name!r}: names are strings")
                self._check_tensor(f"output {name}", tensor, images)
            return dict(result)
        self._check_tensor("logits", result, images)
        if not result.dtype.is_floating or result.shape.rank != 2:
            self._refuse(
                f"returned {result.dtype.name} logits of shape {result.shape}: they must be "
                "floats of shape [batch, classes]; return a mapping for any other output"
            )
        return result

    def _check_tensor(self, what: str, tensor: Any, images: Any) -> None:
        if not isinstance(tensor, tf.Tensor):
            self._refuse(
                f"returned {type(tensor).__name__} as {what}: return the logits, or a mapping of "
                "names to tensors"
            )
        if tensor.graph is not images.graph:
            self._refuse(f"made {what} in another graph: build in the default graph")
        if (
            not tensor.dtype.is_floating
            and not tensor.dtype.is_integer
            and not tensor.dtype.is_bool
        ):
            self._refuse(f"returned {what} as {tensor.dtype.name}: only numbers can be served")
        # An unknown batch of images must stay one, or batches could not be split again.
        if not tensor.shape.rank or (images.shape[0] is None and tensor.shape[0] is not None):
            self._refuse(
                f"returned {what} of shape {tensor.shape}: the first dimension must be the batch"
            )

    def _refuse(self, problem: str) -> NoReturn:
        raise errors.Unconvertible(f"{self.title} {problem}")


def _size(images: Any) -> str:
    height, width = images.shape.as_list()[1:3]
    return f"{height}x{width}" if height and width else "any size"


def _reason(error: BaseException) -> str:
    """Returns the error's words, and the line of the foreign function that they are about."""
    words = " ".join(str(error).split())
    if len(words) > _LONGEST_REASON:
        words = words[: _LONGEST_REASON - 3] + "..."
    foreign = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).parent != _HERE
    ]
    place = ""
    if foreign:
        # The function's own file, at its innermost: TensorFlow's frames lie below.
        own = [frame for frame in foreign if frame.filename == foreign[0].filename]
        place = f" (line {own[-1].lineno} of {Path(own[-1].filename).name})"
    return f"{type(error).__name__}: {words}{place}"
