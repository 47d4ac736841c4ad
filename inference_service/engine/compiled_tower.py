"""A tower that OpenVINO has compiled, and the requests of the cards that run it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from inference_service.engine import Tensors
from inference_service.engine.shared_array import writable_view
from service_kit import errors
from service_kit.artifacts.manifest import Tower

# Its words about ops, among the lines that say where in its source they are from.
_NO_RULE = re.compile(r"No conversion rule found for operations: (.+)")
_SOURCE = re.compile(r"^(Exception from|Check .* failed at) .*:\d+:?$")


class CompiledTower:
    """Computes batches; every card has a request of its own, and they run side by side."""

    def __init__(
        self,
        module: Any,
        compiled: Any,
        tower: Tower,
        inputs: Sequence[str],
        outputs: Sequence[str],
    ) -> None:
        """Finds the tower's tensors.

        Args:
            module: `openvino`.
            compiled: the compiled model.
            tower: what it computes.
            inputs: names of the tower's inputs in the model, in their order.
            outputs: those of its outputs.

        Raises:
            EngineFailed: the model has no such output.
        """
        self._module = module
        self._compiled = compiled
        fed = {name: port for port in compiled.inputs for name in port.names}
        fetched = {name: port for port in compiled.outputs for name in port.names}
        if missing := [name for name in outputs if name not in fetched]:
            raise errors.EngineFailed(f"OpenVINO has lost the outputs {', '.join(missing)}")
        # What no output needs is not in the model.
        self._inputs = [
            (spec.name, fed[name])
            for spec, name in zip(tower.inputs, inputs, strict=True)
            if name in fed
        ]
        self._outputs = [
            (spec.name, fetched[name]) for spec, name in zip(tower.outputs, outputs, strict=True)
        ]
        self._requests: dict[int, Any] = {}

    def prepare(self, card: int) -> None:
        """Makes the card's request."""
        self._requests[card] = self._compiled.create_infer_request()

    def run(self, card: int, inputs: Tensors) -> Tensors:
        """Computes a batch on a card that is prepared.

        Inputs are read where they are. Outputs are copied: the next batch writes over them.

        Raises:
            EngineFailed: with OpenVINO's words.
        """
        request = self._requests[card]
        try:
            request.infer(
                {
                    port: self._module.Tensor(writable_view(inputs[name]), shared_memory=True)
                    for name, port in self._inputs
                },
                share_outputs=True,
            )
            return {name: np.array(request.get_tensor(port).data) for name, port in self._outputs}
        except (RuntimeError, ValueError, TypeError) as error:
            raise errors.EngineFailed(f"OpenVINO failed on card {card}: {words(error)}") from error

    def exported(self) -> bytes:
        """Returns what was compiled, for `import_model` of the same release on such a processor."""
        content: bytes = self._compiled.export_model().getvalue()
        return content

    def close(self) -> None:
        """Frees the model."""
        self._requests.clear()
        del self._compiled, self._inputs, self._outputs


def words(error: Exception) -> str:
    """Returns what OpenVINO says, without the lines of its source."""
    if no_rule := _NO_RULE.search(str(error)):
        return f"it has no rule for the ops {no_rule[1].strip()}"
    said = [line.strip() for line in str(error).splitlines()]
    return " ".join(line for line in said if line and not _SOURCE.match(line))[:500]
