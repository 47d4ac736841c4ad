"""The default engines, whose TensorFlow is imported by the first load."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from inference_service.devices import Device, DeviceRequest
from inference_service.engine import Engine, EngineCard

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
    ) -> None:
        """Imports nothing yet; see `TensorFlowEngines`."""
        self._request = request
        self._cores = cores
        self._threads = threads
        self._gpu_memory_bytes = gpu_memory_bytes
        self._importing = threading.Lock()
        self._engines: TensorFlowEngines | None = None

    def devices(self) -> Sequence[Device]:
        """See `Engines.devices`."""
        return self._imported().devices()

    def load(self, graph: bytes, cards: Sequence[EngineCard]) -> Engine:
        """See `Engines.load`."""
        return self._imported().load(graph, cards)

    def _imported(self) -> TensorFlowEngines:
        with self._importing:
            if self._engines is None:
                os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
                from inference_service.engine.tensorflow import TensorFlowEngines

                self._engines = TensorFlowEngines(
                    self._request,
                    cores=self._cores,
                    threads=self._threads,
                    gpu_memory_bytes=self._gpu_memory_bytes,
                )
                # What the import has made stays; looking through it, which nobody else can run
                # beside, would take 200 ms of each full collection instead of 20.
                gc.collect()
                gc.freeze()
            return self._engines
