"""Asks with the stubs alone, as a client in any language: `pbserve_client.py [HOST:PORT]`.

From a fresh clone, with `make serve` and the digits converted. In Python `inference_service.client`
does all of this, and more.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from pbserve.inference.v1 import inference_pb2 as pb
from pbserve.inference.v1 import inference_pb2_grpc

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden" / "digits"
MODEL = "digits"
Array = np.ndarray[Any, Any]


# --8<-- [start:request]
def request(number: int, image: Array) -> pb.PredictRequest:
    """Returns the request for one image, uint8 [height, width, 3]."""
    tensor = pb.Tensor(dtype=pb.DATA_TYPE_UINT8, shape=[1, *image.shape], data=image.tobytes())
    return pb.PredictRequest(model=MODEL, inputs={"input": tensor}, request_id=str(number))


def probabilities(response: pb.PredictResponse) -> Array:
    """Returns float32 [images, classes]; the bytes are little-endian, whatever this machine is."""
    tensor = response.outputs["probs"]
    return np.frombuffer(tensor.data, "<f4").reshape(tensor.shape)


# --8<-- [end:request]


# --8<-- [start:unary]
def ask_once(stub: inference_pb2_grpc.InferenceServiceStub, image: Array) -> None:
    """One call, one answer; an error is the status of the call."""
    response = stub.Predict(request(0, image), timeout=10)
    best = int(probabilities(response)[0].argmax())
    print(f"version {response.version}, card {response.card}: it is a {best}")


# --8<-- [end:unary]


# --8<-- [start:stream]
def ask_all(stub: inference_pb2_grpc.InferenceServiceStub, images: Array) -> list[int]:
    """One call, many answers, each as it is ready; an error belongs to its request."""

    def requests() -> Iterator[pb.StreamPredictRequest]:
        for number, image in enumerate(images):
            yield pb.StreamPredictRequest(request=request(number, image))

    found = [-1] * len(images)
    for answer in stub.StreamPredict(requests(), timeout=60):
        if answer.HasField("error"):
            print(f"image {answer.request_id}: {answer.error.message}")
        else:
            found[int(answer.request_id)] = int(probabilities(answer.response)[0].argmax())
    return found


# --8<-- [end:stream]


def main(address: str) -> None:
    """Asks for one image, then for all of them."""
    with np.load(GOLDEN / "expected.npz") as golden:
        images, labels = golden["images"], golden["labels"]
    with grpc.insecure_channel(address) as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        ask_once(stub, images[0])
        found = ask_all(stub, images)
    print(f"{np.mean(found == labels):.5f} of {len(images)} images are right")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8500")
