"""How many files does a reader cross who follows one prediction to the engine?

A server in this process answers `Predict` of the native protocol with a tensor, over an engine that
sleeps and averages. The files of `inference_service` that are entered between the servicer's method
and the engine's run are printed in their order, on whichever thread, and their number. The request
is not the first one, and has a deadline, so that its card knows what a batch takes, and looks.

    python benchmarks/predict_path.py
"""

from __future__ import annotations

import tempfile
import threading
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import grpc

import inference_service
from inference_service.protocols.native.servicer import InferenceServicer
from inference_service.wire.tensor_codec import encode_tensor
from pbserve.inference.v1 import inference_pb2 as pb
from pbserve.inference.v1 import inference_pb2_grpc
from service_kit.store.artifact_store import ArtifactStore
from tests.support.engines import MeanEngines, SleepingEngine, pixels
from tests.support.inference_server import inference_server

PACKAGE = Path(inference_service.__file__).parent
BEGIN: CodeType = InferenceServicer.Predict.__code__
END: CodeType = SleepingEngine.run.__code__
# Before the one that is followed, and of each batch: a card knows its times for as long as 4 runs.
REQUESTS_BEFORE, SECONDS = 3, 0.1


class Trail:
    """Notes the files that are entered from `BEGIN` to `END`, of all threads."""

    def __init__(self) -> None:
        """Notes nothing yet."""
        self.files: dict[str, None] = {}
        # Of the next request; a coroutine is entered again whenever it goes on.
        self.is_wanted = False
        self._follows = False

    def note(self, frame: FrameType, event: str, argument: object) -> None:  # noqa: ARG002
        """See `threading.setprofile`."""
        if event != "call":
            return
        if frame.f_code is BEGIN and self.is_wanted:
            self.is_wanted, self._follows = False, True
        elif frame.f_code is END:
            self._follows = False
        file = Path(frame.f_code.co_filename)
        if self._follows and PACKAGE in file.parents:
            self.files[str(file.relative_to(PACKAGE))] = None


def main() -> None:
    """Follows one request, and prints where it went."""
    trail = Trail()
    # For the threads of the server and of its cards, which begin after this.
    threading.setprofile(trail.note)
    engines = MeanEngines(make=partial(SleepingEngine, batch=SECONDS))
    with (
        tempfile.TemporaryDirectory() as store,
        tempfile.TemporaryDirectory() as folder,
        inference_server(ArtifactStore(store), Path(folder), engines=engines) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        server.publish(cards=1)
        stub: Any = inference_pb2_grpc.InferenceServiceStub(channel)
        request = pb.PredictRequest(model="m", inputs={"input": encode_tensor(pixels(1.0))})
        for _ in range(REQUESTS_BEFORE):
            stub.Predict(request, timeout=30.0)
        trail.is_wanted = True
        stub.Predict(request, timeout=30.0)
    threading.setprofile(None)
    for number, file in enumerate(trail.files, 1):
        print(f"{number:3} {file}")
    print(f"{len(trail.files)} files")


if __name__ == "__main__":
    main()
