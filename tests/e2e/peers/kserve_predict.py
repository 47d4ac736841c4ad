"""Runs in an environment of its own (`make peers`), where KServe's package is.

    kserve_predict.py HOST:PORT MODEL SPARE_MODEL IMAGES.npz RESULTS.npz

Its stubs have the same names as those of tritonclient, and do not go into one process with them.
"""

from __future__ import annotations

import asyncio
import sys

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc


def request(model: str, images: np.ndarray, *, binary: bool) -> InferRequest:
    """Returns a request for images."""
    made = InferInput("input", list(images.shape), "UINT8")
    made.set_data_from_numpy(images, binary_data=binary)
    return InferRequest(model, [made], request_id="kserve")


async def predict(address: str, model: str, images: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the probabilities of raw and of typed contents."""
    found = {}
    async with InferenceGRPCClient(address) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready(model)
        assert not await client.is_model_ready("never-heard-of")
        for name, binary, some in (("raw", True, images), ("typed", False, images[:4])):
            answer = await client.infer(request(model, some, binary=binary))
            assert answer.id == "kserve"
            assert answer.model_version == "1"
            found[name] = answer.outputs[0].as_numpy()
        assert await failure(client, request("never-heard-of", images[:1], binary=True)) == (
            grpc.StatusCode.NOT_FOUND
        )
    return found


async def failure(client: InferenceGRPCClient, asked: InferRequest) -> grpc.StatusCode | None:
    """Returns the status of a request that fails; None: it did not."""
    try:
        await client.infer(asked)
    except grpc.RpcError as error:
        return error.code()
    return None


def unload_and_load(address: str, model: str) -> None:
    """Uses KServe's own messages, whose first field is the model's name."""
    with grpc.insecure_channel(address) as channel:
        stub = grpc_predict_v2_pb2_grpc.GRPCInferenceServiceStub(channel)
        asked = pb.ModelReadyRequest(name=model)
        stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=model))
        assert not stub.ModelReady(asked).ready
        stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=model))
        assert stub.ModelReady(asked).ready
        metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name=model))
        assert [tensor.name for tensor in metadata.inputs] == ["input"]
        assert stub.ServerMetadata(pb.ServerMetadataRequest()).name == "pbserve"


def main(address: str, model: str, spare: str, archive: str, results: str) -> None:
    """Predicts, then unloads and loads the spare model."""
    with np.load(archive) as loaded:
        images = loaded["images"]
    found = asyncio.run(predict(address, model, images))
    unload_and_load(address, spare)
    np.savez(results, raw=found["raw"], typed=found["typed"])


if __name__ == "__main__":
    main(*sys.argv[1:])
