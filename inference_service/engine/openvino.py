"""OpenVINO as an engine: it reads the frozen graph itself, and needs no TensorFlow."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Collection, Sequence
from typing import Any

from inference_service.engine import EngineCard, Precision, Tensors
from inference_service.engine.card_groups import group_cards
from inference_service.engine.compiled_cache import CompiledCache, cache_key
from inference_service.engine.compiled_tower import CompiledTower, words
from inference_service.engine.devices import Device, intra_op_threads, resolve_devices
from inference_service.engine.engine_settings import EngineSettings
from inference_service.engine.openvino_import import import_openvino
from inference_service.engine.tower_file import TowerFile, tower_file
from service_kit import errors
from service_kit.artifacts.manifest import Tower
from service_kit.frozen_graph.served_graph import parse_graph_as
from service_kit.frozen_graph.tower_graph import TowerGraph
from service_kit.tensorflow_messages import GraphDef

_DEVICE = "CPU"
# Of what is kept in the cache.
_FORMAT = "1"
_CAPABILITY = {Precision.BF16: "BF16", Precision.F16: "FP16"}


class OpenVINOEngines:
    """Loads frozen graphs for this machine's processor."""

    def __init__(self, settings: EngineSettings) -> None:
        """Imports nothing yet.

        Raises:
            InvalidRequest: the folder of the cache cannot be used.
        """
        self._settings = settings
        self._cache = CompiledCache(settings.cache) if settings.cache else None

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
        return OpenVINOEngine(graph, cards, self._settings, self._cache)


class OpenVINOEngine:
    """Runs every different tower of a frozen graph as one compiled model."""

    # Threads of its own do.
    computes_on_caller = False

    def __init__(
        self,
        graph: bytes,
        cards: Sequence[EngineCard],
        settings: EngineSettings,
        cache: CompiledCache | None = None,
    ) -> None:
        """Reads the towers that are needed, or takes from the cache what was compiled of them.

        Raises:
            EngineFailed: the bytes are no graph, a tensor is not in it, or OpenVINO does not take
                it: then with its words, which name the op.
            EngineUnfit: the processor does not compute in the precision, or OpenVINO cannot be
                imported.
            GraphRefused: an op is not allowed.
        """
        self._module = _imported()
        self._core = self._module.Core()
        self._precision = cards[0].precision
        _check_precision(self._core, self._precision)
        self._threads = settings.threads or intra_op_threads(len(cards), settings.cores)
        self._read: dict[int, Any] = {}
        self._compiled: dict[int, CompiledTower] = {}
        self._cache, self._key = cache, ""
        if cache:
            self._key = self._cache_key(graph, cards, settings.allowed_ops)
            if self._restore(cards):
                return
        towers = TowerGraph(parse_graph_as(GraphDef, graph))
        self._call_of = group_cards(cards, towers)
        self._towers = _leaders(cards, self._call_of)
        self._files: list[TowerFile] = []
        for call, tower in enumerate(self._towers):
            with tower_file(towers, tower, settings.allowed_ops) as file:
                self._read[call] = self._read_model(file)
                self._files.append(file)

    def prepare(self, card: int) -> int:
        """See `Engine.prepare`."""
        call = self._call_of[card]
        if call not in self._compiled:
            self._compiled[call] = self._tower(call, self._compile(self._read.pop(call), call))
            if self._cache and not self._read:
                self._keep(self._cache)
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
        try:
            return self._core.compile_model(model, _DEVICE, self._properties(call))
        except RuntimeError as error:
            raise errors.EngineFailed(
                f"OpenVINO cannot compile the graph: {words(error)}"
            ) from error

    def _properties(self, call: int) -> dict[str, Any]:
        # One stream a card: what a card's batches run in.
        streams = self._call_of.count(call)
        return {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams * self._threads,
            # Versions that are served together would be bound to the same cores.
            "ENABLE_CPU_PINNING": False,
            # Without it, it takes what the processor is fastest in.
            "INFERENCE_PRECISION_HINT": self._precision.value,
        }

    def _tower(self, call: int, compiled: Any) -> CompiledTower:
        file = self._files[call]
        return CompiledTower(self._module, compiled, self._towers[call], file.inputs, file.outputs)

    def _cache_key(
        self, graph: bytes, cards: Sequence[EngineCard], allowed_ops: Collection[str]
    ) -> str:
        return cache_key(
            [
                _FORMAT,
                self._module.__version__,
                hashlib.sha256(graph).hexdigest(),
                self._precision.value,
                str(self._threads),
                *(repr((card.tower.inputs, card.tower.outputs)) for card in cards),
                *sorted(allowed_ops),
            ]
        )

    def _keep(self, cache: CompiledCache) -> None:
        facts = {
            "calls": self._call_of,
            "files": [[file.inputs, file.outputs] for file in self._files],
        }
        blobs = [self._compiled[call].exported() for call in range(len(self._files))]
        cache.put(self._key, [json.dumps(facts).encode(), *blobs])

    def _restore(self, cards: Sequence[EngineCard]) -> bool:
        """Returns whether everything was there."""
        pieces = self._cache.get(self._key) if self._cache else None
        if pieces is None:
            return False
        facts = json.loads(pieces[0])
        self._call_of = facts["calls"]
        self._towers = _leaders(cards, self._call_of)
        self._files = [TowerFile("", tuple(names[0]), tuple(names[1])) for names in facts["files"]]
        try:
            for call, blob in enumerate(pieces[1:]):
                compiled = self._core.import_model(
                    io.BytesIO(blob), _DEVICE, self._properties(call)
                )
                self._compiled[call] = self._tower(call, compiled)
        # Of a processor or a release that is not told apart by the key.
        except (RuntimeError, errors.EngineFailed):
            self._compiled.clear()
            if self._cache:
                self._cache.drop(self._key)
            return False
        return True


def _leaders(cards: Sequence[EngineCard], call_of: Sequence[int]) -> list[Tower]:
    """Returns the tower of each call: that of the first card of its group."""
    return [cards[call_of.index(call)].tower for call in range(max(call_of) + 1)]


def _imported() -> Any:
    try:
        return import_openvino()
    # A library of the system that is missing or too old, for example.
    except (ImportError, OSError) as error:
        raise errors.EngineUnfit(f"OpenVINO cannot be imported: {error}") from error


def _check_precision(core: Any, precision: Precision) -> None:
    """Refuses what the processor has not: OpenVINO would compute in f32 and say nothing."""
    capability = _CAPABILITY.get(precision)
    found = core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
    if capability and capability not in found:
        raise errors.EngineUnfit(
            f"leave out the model's `precision`: this processor does not compute in "
            f"{precision.value}, only in {', '.join(one for one in found if one[-1].isdigit())}"
        )
