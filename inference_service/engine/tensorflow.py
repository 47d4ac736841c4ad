"""TensorFlow as an engine: one TensorFlow session, and a prepared call for every tower."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from inference_service.engine.session import device_name, session_config  # sets the environment

import tensorflow.compat.v1 as tf  # isort: skip
from tensorflow.core.protobuf import config_pb2

from inference_service.engine import EngineCard, Tensors, check_f32
from inference_service.engine.card_groups import group_cards
from inference_service.engine.devices import (
    Device,
    DeviceRequest,
    intra_op_threads,
    resolve_devices,
)
from service_kit import errors
from service_kit.frozen_graph.channels import has_channels_first
from service_kit.frozen_graph.served_graph import import_towers, parse_graph
from service_kit.frozen_graph.tower_graph import PinnedTower, TowerGraph

# Runs ops on the thread that calls: a card's thread is its lane, and a lane of a version that
# is being warmed can be given less of the processor.
_IN_CALLERS_THREAD = -1


class TensorFlowEngines:
    """Loads frozen graphs for this machine's devices."""

    def __init__(
        self,
        request: DeviceRequest,
        *,
        cores: int,
        threads: int | None = None,
        gpu_memory_bytes: int | None = None,
        share_towers: bool = True,
        allowed_ops: Collection[str] = (),
    ) -> None:
        """Nothing is looked at yet.

        Args:
            request: devices to use.
            cores: that the process may use.
            threads: inside an op; None: the cores divided among the cards.
            gpu_memory_bytes: to take at most on each GPU.
            share_towers: whether cards with equal towers in one memory run one prepared call.
            allowed_ops: that graphs may have besides those that only compute.
        """
        self._request = request
        self._cores = cores
        self._threads = threads
        self._gpu_memory_bytes = gpu_memory_bytes
        self._share_towers = share_towers
        self._allowed_ops = allowed_ops

    def devices(self) -> Sequence[Device]:
        """See `Engines.devices`."""
        gpus = len(tf.config.list_physical_devices("GPU"))
        return resolve_devices(self._request, gpus, self._cores)

    def load(self, graph: bytes, cards: Sequence[EngineCard]) -> TensorFlowEngine:
        """See `Engines.load`."""
        check_f32(cards, "TensorFlow")
        devices = self.devices()
        threads = self._threads or intra_op_threads(len(cards), self._cores)
        return TensorFlowEngine(
            graph,
            cards,
            devices,
            threads=threads,
            gpu_memory_bytes=self._gpu_memory_bytes,
            share_towers=self._share_towers,
            allowed_ops=self._allowed_ops,
        )


class TensorFlowEngine:
    """Runs a frozen graph in one session; all towers share its constants."""

    def __init__(
        self,
        graph: bytes,
        cards: Sequence[EngineCard],
        devices: Sequence[Device],
        *,
        threads: int,
        gpu_memory_bytes: int | None,
        share_towers: bool,
        allowed_ops: Collection[str] = (),
    ) -> None:
        """Parses the graph and imports the towers that are needed.

        Raises:
            EngineFailed: the bytes are no graph, or a tensor is not in it.
            GraphRefused: an op is not allowed.
        """
        self._cards = tuple(cards)
        towers = TowerGraph(parse_graph(graph))
        self._call_of = group_cards(cards, towers) if share_towers else list(range(len(cards)))
        # The first card of every group stands for it.
        leaders = [cards[self._call_of.index(call)] for call in range(max(self._call_of) + 1)]
        # TensorFlow feeds a call from its first CPU; on another one, ops would not run on the
        # caller's thread. Lanes are threads, so it is only kept for who wants devices apart.
        together = share_towers and devices[0].kind == "cpu"
        wanted = [
            PinnedTower(one.tower, device_name(devices[0] if together else one.device, devices))
            for one in leaders
        ]
        self._graph, self._ports = import_towers(towers, wanted, allowed_ops)
        del towers
        self._in_callers_thread = all(device.kind == "cpu" for device in devices)
        self.computes_on_caller = self._in_callers_thread and threads == 1
        config = session_config(
            devices,
            intra_op_threads=threads,
            gpu_memory_bytes=gpu_memory_bytes,
            channels_first=has_channels_first(self._graph),
        )
        self._session = tf.Session(graph=self._graph, config=config)
        self._calls: dict[int, Any] = {}

    def prepare(self, card: int) -> int:
        """See `Engine.prepare`."""
        call = self._call_of[card]
        if call not in self._calls:
            ports = self._ports[call]
            options = config_pb2.CallableOptions(feed=ports.feeds, fetch=ports.fetches)
            if self._in_callers_thread:
                options.run_options.inter_op_thread_pool = _IN_CALLERS_THREAD
            try:
                # Only this way a prepared call takes run options; it is what Keras uses.
                self._calls[call] = self._session._make_callable_from_options(options)  # noqa: SLF001
            except (tf.errors.OpError, ValueError) as error:
                raise errors.EngineFailed(
                    f"TensorFlow cannot prepare card {card}: {error}"
                ) from error
        return call

    def run(self, card: int, inputs: Tensors) -> Tensors:
        """See `Engine.run`."""
        tower = self._cards[card].tower
        try:
            outputs = self._calls[self._call_of[card]](
                *(inputs[spec.name] for spec in tower.inputs)
            )
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise errors.EngineFailed(f"TensorFlow failed on card {card}: {error}") from error
        # Copies: TensorFlow's own buffers are freed here, on the card's thread. Its allocator may
        # wait for memory for seconds, and the event loop would wait with it.
        return {
            spec.name: np.array(output) for spec, output in zip(tower.outputs, outputs, strict=True)
        }

    def close(self) -> None:
        """See `Engine.close`."""
        self._calls.clear()
        self._session.close()
        # The graph has a copy of every constant.
        del self._session, self._graph
