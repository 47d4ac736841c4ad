"""Asks with Triton's own client: `triton_client.py [HOST:PORT [MODEL [IMAGES.npz]]]`.

From a fresh clone, with `make serve` and the digits converted. A client of Triton, KServe or Seldon
that exists needs another address, and nothing else. The archive has arrays `images` (uint8 [images,
height, width, 3]) and, to count what is right, `labels`.
"""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import shared_memory

GOLDEN = Path(__file__).resolve().parent.parent.parent / "tests" / "golden" / "digits"
Array = np.ndarray[Any, Any]


# --8<-- [start:predict]
def tensor(images: Array) -> triton.InferInput:
    """Returns the input for images, uint8 [images, height, width, 3]."""
    made = triton.InferInput("input", list(images.shape), "UINT8")
    made.set_data_from_numpy(images)
    return made


def predict(client: triton.InferenceServerClient, model: str, images: Array) -> Array:
    """Returns float32 [images, classes]."""
    found: Array = client.infer(model, [tensor(images)]).as_numpy("probs")
    return found


# --8<-- [end:predict]


# --8<-- [start:card]
def ask_card(client: triton.InferenceServerClient, model: str, image: Array) -> None:
    """Asks card 1 for the two best classes; the answer's parameters say how it came about."""
    best = triton.InferRequestedOutput("probs", class_count=2)
    result = client.infer(model, [tensor(image)], outputs=[best], parameters={"card": 1})
    parameters = result.get_response().parameters
    (texts,) = result.as_numpy("probs").tolist()
    print(f"card {parameters['card'].int64_param}: {', '.join(text.decode() for text in texts)}")


# --8<-- [end:card]


# --8<-- [start:stream]
def predict_stream(client: triton.InferenceServerClient, model: str, images: Array) -> Array:
    """One image a request; answers come in the order of the requests."""
    rows: list[Array] = []
    problems: list[Exception] = []

    def take(result: triton.InferResult, error: Exception | None) -> None:
        if error:
            problems.append(error)
        else:
            rows.append(result.as_numpy("probs"))

    client.start_stream(take)
    for number, image in enumerate(images):
        client.async_stream_infer(model, [tensor(image[np.newaxis])], request_id=str(number))
    # Returns when every request has its answer.
    client.stop_stream()
    if problems:
        raise problems[0]
    return np.concatenate(rows)


# --8<-- [end:stream]


# --8<-- [start:shared]
def predict_shared(client: triton.InferenceServerClient, model: str, images: Array) -> Array:
    """The pixels and the probabilities go through shared memory, only their places by gRPC."""
    classes = client.get_model_config(model).config.output[0].dims[0]
    size = len(images) * classes * np.dtype(np.float32).itemsize
    key = f"triton-client-{uuid.uuid4().hex}"
    region = shared_memory.create_shared_memory_region("images", key, images.nbytes + size)
    try:
        client.register_system_shared_memory("images", key, images.nbytes + size)
        shared_memory.set_shared_memory_region(region, [images])
        given = triton.InferInput("input", list(images.shape), "UINT8")
        given.set_shared_memory("images", images.nbytes)
        wanted = triton.InferRequestedOutput("probs")
        wanted.set_shared_memory("images", size, offset=images.nbytes)
        client.infer(model, [given], outputs=[wanted])
        shape = [len(images), classes]
        found = shared_memory.get_contents_as_numpy(region, np.float32, shape, images.nbytes)
        return np.array(found)
    finally:
        client.unregister_system_shared_memory("images")
        shared_memory.destroy_shared_memory_region(region)


# --8<-- [end:shared]


def main(address: str, model: str, archive: Path) -> None:
    """Asks in every way, and says how many images are right."""
    with np.load(archive) as loaded:
        images = loaded["images"]
        labels = loaded.get("labels")
    with triton.InferenceServerClient(address) as client:
        metadata = client.get_model_metadata(model)
        print(f"{model}: versions {', '.join(metadata.versions)}, {metadata.platform}")
        ask_card(client, model, images[:1])
        for way in (predict, predict_stream, predict_shared):
            found = way(client, model, images)
            right = "" if labels is None else f", {np.mean(found.argmax(1) == labels):.5f} right"
            print(f"{way.__name__}: {len(found)} images{right}")


if __name__ == "__main__":
    given = dict(enumerate(sys.argv[1:]))
    main(
        given.get(0, "127.0.0.1:8500"),
        given.get(1, "digits"),
        Path(given.get(2, GOLDEN / "expected.npz")),
    )
