"""OpenVINO as an engine: it reads the frozen graph itself, and needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inference_service.engine import EngineCard, Precision, Tensors
from inference_service.engine.card_groups import group_cards
from inference_service.engine.compiled_tower import CompiledTower, words
from inference_service.engine.devices import Device, intra_op_threads, resolve_devices
from inference_service.engine.engine_settings import EngineSettings
from inference_service.engine.openvino_import import import_openvino
from inference_service.engine.tower_file import TowerFile, tower_file
from service_kit import errors
from service_kit.frozen_graph.served_graph import parse_graph_as
from service_kit.frozen_graph.tower_graph import TowerGraph
from service_kit.tensorflow_messages import GraphDef

_DEVICE = "CPU"
_PRECISION = "INFERENCE_PRECISION_HINT"
_CAPABILITY = {Precision.BF16: "BF16", Precision.F16: "FP16"}


class OpenVINOEngines:
    """Loads frozen graphs for this machine's processor."""

    def __init__(self, settings: EngineSettings) -> None:
        """Imports nothing yet."""
        self._settings = settings

    def devices(self) -> Sequence[Device]:
        """See `Engines.devices`."""
        request = self._settings.request
        if any(device.kind != "cpu" for device in request.devices):
            raise errors.InvalidRequest(
                "ask for --devices cpu:N, or for --engine tensorflow: OpenVINO runs on the CPU, "
                f"and the devices are {request}"
            )
        return resolve_devices(request, 0, self._settings.cores)

    def load(self, graph: bytes, cards: Sequence[EngineCard]) -> OpenVINOEngine:
        """See `Engines.load`."""
        return OpenVINOEngine(graph, cards, self._settings)


class OpenVINOEngine:
    """Runs every different tower of a frozen graph as one compiled model."""

    def __init__(
        self,
        graph: bytes,
        cards: Sequence[EngineCard],
        settings: EngineSettings,
    ) -> None:
        """Reads the towers that are needed.

        Raises:
            EngineFailed: the bytes are no graph, a tensor is not in it, or OpenVINO does not take
                it: then with its words, which name the op.
            EngineUnfit: the processor does not compute in the precision.
            GraphRefused: an op is not allowed.
        """
        self._module = import_openvino()
        self._core = self._module.Core()
        self._precision = cards[0].precision
        _check_precision(self._core, self._precision)
        self._threads = settings.threads or intra_op_threads(len(cards), settings.cores)
        towers = TowerGraph(parse_graph_as(GraphDef, graph))
        self._call_of = group_cards(cards, towers)
        # The first card of every group stands for it.
        self._towers = [
            cards[self._call_of.index(call)].tower for call in range(max(self._call_of) + 1)
        ]
        self._read: dict[int, tuple[Any, TowerFile]] = {}
        for call, tower in enumerate(self._towers):
            with tower_file(towers, tower, settings.allowed_ops) as file:
                self._read[call] = (self._read_model(file), file)
        self._compiled: dict[int, CompiledTower] = {}

    def prepare(self, card: int) -> int:
        """See `Engine.prepare`."""
        call = self._call_of[card]
        if call not in self._compiled:
            model, file = self._read.pop(call)
            self._compiled[call] = CompiledTower(
                self._module, self._compile(model, call), self._towers[call], file.inputs,
                file.outputs,
            )  # fmt: skip
        self._compiled[call].prepare(card)
        return call

    def run(self, card: int, inputs: Tensors) -> Tensors:
        """See `Engine.run`."""
        return self._compiled[self._call_of[card]].run(card, inputs)

    def close(self) -> None:
        """See `Engine.close`."""
        for compiled in self._compiled.values():
            compiled.close()
        self._compiled.clear()
        self._read.clear()

    def _read_model(self, file: TowerFile) -> Any:
        try:
            # Not by its front end's own functions, which hold the interpreter's lock meanwhile.
            return self._core.read_model(file.path)
        except RuntimeError as error:
            raise errors.EngineFailed(f"OpenVINO cannot read the graph: {words(error)}") from error

    def _compile(self, model: Any, call: int) -> Any:
        # One stream a card: what a card's thread runs in.
        streams = self._call_of.count(call)
        try:
            return self._core.compile_model(
                model,
                _DEVICE,
                {
                    "NUM_STREAMS": streams,
                    "INFERENCE_NUM_THREADS": streams * self._threads,
                    # Versions that are served together would be bound to the same cores.
                    "ENABLE_CPU_PINNING": False,
                    # Without it, it takes what the processor is fastest in.
                    _PRECISION: self._precision.value,
                },
            )
        except RuntimeError as error:
            raise errors.EngineFailed(
                f"OpenVINO cannot compile the graph: {words(error)}"
            ) from error


def _check_precision(core: Any, precision: Precision) -> None:
    """Refuses what the processor has not: OpenVINO would compute in f32 and say nothing."""
    capability = _CAPABILITY.get(precision)
    found = core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
    if capability and capability not in found:
        raise errors.EngineUnfit(
            f"leave out the model's `precision`: this processor does not compute in "
            f"{precision.value}, only in {', '.join(one for one in found if one[-1].isdigit())}"
        )
