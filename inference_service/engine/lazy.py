"""TensorFlow's engines, whose TensorFlow is imported by the first load."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from inference_service.engine import Engine, EngineCard, check_f32
from inference_service.engine.devices import Device, DeviceRequest
from inference_service.engine.tensorflow_import import import_tensorflow

if TYPE_CHECKING:
    from inference_service.engine.tensorflow import TensorFlowEngines


class LazyEngines:
    """Loads frozen graphs with TensorFlow, which takes seconds to import.

    So a server's port is open at once, and the import happens on the thread that loads.
    """

    def __init__(
        self,
        request: DeviceRequest,
        *,
        cores: int,
        threads: int | None = None,
        gpu_memory_bytes: int | None = None,
        allowed_ops: Collection[str] = (),
    ) -> None:
        """Imports nothing yet; see `TensorFlowEngines`."""
        self._request = request
        self._cores = cores
        self._threads = threads
        self._gpu_memory_bytes = gpu_memory_bytes
        self._allowed_ops = allowed_ops
        self._importing = threading.Lock()
        self._engines: TensorFlowEngines | None = None

    def devices(self) -> Sequence[Device]:
        """See `Engines.devices`."""
        return self._import().devices()

    def load(self, graph: bytes, cards: Sequence[EngineCard]) -> Engine:
        """See `Engines.load`."""
        check_f32(cards, "TensorFlow")
        return self._import().load(graph, cards)

    def _import(self) -> TensorFlowEngines:
        with self._importing:
            if self._engines is None:
                import_tensorflow()
                from inference_service.engine.tensorflow import TensorFlowEngines

                self._engines = TensorFlowEngines(
                    self._request,
                    cores=self._cores,
                    threads=self._threads,
                    gpu_memory_bytes=self._gpu_memory_bytes,
                    allowed_ops=self._allowed_ops,
                )
            return self._engines
