"""A stream of images whose every answer is counted and checked, over restarts of the server."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from inference_service.client import InferenceClient
from service_kit.client.retry import RetryPolicy
from tests.support.engines import pixels

# A machine that is busy takes its time to start a server.
_PATIENT = RetryPolicy(stream_attempts=100)
# Values that a float32 mean of four equal numbers keeps exactly.
_VALUES = 1000


class CheckedLoad:
    """Sends images of changing values until it is ended; each answer must be its image's.

    `offsets` are the numbers that the versions add which may answer.
    """

    def __init__(self, address: str, model: str, offsets: tuple[float, ...] = (0.0,)) -> None:
        self.answered = 0
        self.problems: list[str] = []
        self._sent = 0
        self._seen: set[int] = set()
        self._model, self._offsets = model, offsets
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(address,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Sends no more, and checks that everything was answered once, rightly."""
        self._ended.set()
        self._thread.join(120)
        assert not self._thread.is_alive(), "the stream did not end"
        assert not self.problems, self.problems[:3]
        assert self._seen == set(range(self._sent))
        assert self.answered == self._sent

    def _images(self) -> Iterator[npt.NDArray[np.float32]]:
        while not self._ended.is_set():
            yield pixels(float(self._sent % _VALUES))
            self._sent += 1

    def _run(self, address: str) -> None:
        try:
            with InferenceClient(address, timeout=100, retry=_PATIENT) as client:
                for answer in client.stream(self._model, self._images(), window=16):
                    self._check(answer.index, answer.result().outputs["probs"])
        except Exception as error:
            self.problems.append(repr(error))

    def _check(self, index: int, found: npt.NDArray[np.float32]) -> None:
        if index in self._seen:
            self.problems.append(f"image {index} was answered twice")
        self._seen.add(index)
        self.answered += 1
        right = [np.full((1, 3), index % _VALUES + offset) for offset in self._offsets]
        if not any(np.array_equal(found, one) for one in right):
            self.problems.append(f"image {index} was answered {found.tolist()}")
