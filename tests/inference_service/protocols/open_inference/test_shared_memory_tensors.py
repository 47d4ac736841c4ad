"""Triton's own shared memory, through a running server."""

from __future__ import annotations

import os
import queue
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException

from inference_service.protocols.open_inference.shared_memory import FOLDER
from service_kit.store.artifact_store import ArtifactStore
from tests.support.engines import pixels
from tests.support.inference_server import InferenceServer, inference_server
from tests.support.triton import code_of, image_input

SIZE = 2**16


class Shared:
    """A region for inputs at the beginning and outputs in the second half."""

    def __init__(self, client: Any) -> None:
        self.key = f"pbserve-test-{uuid.uuid4().hex}"
        self.handle = shm.create_shared_memory_region("r", self.key, SIZE)
        self.client = client
        client.register_system_shared_memory("r", f"/{self.key}", SIZE)

    def put(self, array: np.ndarray, datatype: str = "FP32", offset: int = 0) -> Any:
        """Writes an array and returns the input that is there."""
        shm.set_shared_memory_region(self.handle, [array], offset)
        tensor = triton.InferInput("input", list(array.shape), datatype)
        tensor.set_shared_memory("r", array.nbytes, offset)
        return tensor

    def wanted(self, size: int, offset: int = SIZE // 2) -> Any:
        """Returns the output that is to be written there."""
        output = triton.InferRequestedOutput("probs")
        output.set_shared_memory("r", size, offset)
        return output

    def got(self, shape: list[int], offset: int = SIZE // 2) -> np.ndarray:
        found: np.ndarray = shm.get_contents_as_numpy(self.handle, np.float32, shape, offset)
        return found


@pytest.fixture
def shared(server: InferenceServer, client: Any) -> Iterator[Shared]:
    server.publish()
    made = Shared(client)
    yield made
    shm.destroy_shared_memory_region(made.handle)


def test_inputs_and_outputs_go_through_shared_memory(shared: Shared, client: Any) -> None:
    image = shared.put(pixels(1, 2, 3), offset=128)
    result = client.infer("m", [image], outputs=[shared.wanted(1000)])
    np.testing.assert_array_equal(shared.got([3, 3]), [[1, 1, 1], [2, 2, 2], [3, 3, 3]])
    response = result.get_response()
    assert list(response.raw_output_contents) == [b""]
    (output,) = response.outputs
    assert (output.datatype, list(output.shape)) == ("FP32", [3, 3])
    assert output.parameters["shared_memory_region"].string_param == "r"
    assert output.parameters["shared_memory_byte_size"].int64_param == 36
    assert output.parameters["shared_memory_offset"].int64_param == SIZE // 2


def test_one_of_the_two_may_be_in_the_message(shared: Shared, client: Any) -> None:
    result = client.infer("m", [shared.put(pixels(5))])
    assert result.as_numpy("probs").tolist() == [[5, 5, 5]]
    client.infer("m", [image_input(6)], outputs=[shared.wanted(12)])
    assert shared.got([1, 3]).tolist() == [[6, 6, 6]]


def test_the_bytes_are_those_of_the_request_whatever_the_client_does_next(
    server: InferenceServer, shared: Shared, client: Any
) -> None:
    engine = server.engines[0]
    engine.gate.clear()
    answers: queue.Queue[Any] = queue.Queue()
    client.async_infer(
        "m", [shared.put(pixels(7))], callback=lambda result, error: answers.put((result, error))
    )
    assert engine.started.acquire(timeout=30)
    shared.put(pixels(8))
    engine.gate.set()
    result, error = answers.get(timeout=30)
    assert error is None
    assert result.as_numpy("probs").tolist() == [[7, 7, 7]]


def test_much_memory_is_read_and_written_beside_the_event_loop(
    server: InferenceServer, client: Any
) -> None:
    server.publish()
    size = 2**23
    key = f"pbserve-test-{uuid.uuid4().hex}"
    handle = shm.create_shared_memory_region("big", key, size)
    try:
        client.register_system_shared_memory("big", key, size)
        # More than the output takes, and more than the event loop would be asked to write.
        output = triton.InferRequestedOutput("probs")
        output.set_shared_memory("big", size)
        client.infer("m", [image_input(1, 2)], outputs=[output])
        found = shm.get_contents_as_numpy(handle, np.float32, [2, 3])
        assert found.tolist() == [[1, 1, 1], [2, 2, 2]]
    finally:
        shm.destroy_shared_memory_region(handle)


def test_the_status_and_the_end_of_a_region(shared: Shared, client: Any) -> None:
    (region,) = client.get_system_shared_memory_status().regions.values()
    assert (region.name, region.key, region.byte_size) == ("r", f"/{shared.key}", SIZE)
    client.unregister_system_shared_memory("r")
    assert not client.get_system_shared_memory_status().regions
    with pytest.raises(InferenceServerException, match="no shared memory region 'r'") as raised:
        client.infer("m", [shared.put(pixels(5))])
    assert code_of(raised.value) == "NOT_FOUND"
    with pytest.raises(InferenceServerException) as raised:
        client.get_system_shared_memory_status("r")
    assert code_of(raised.value) == "NOT_FOUND"
    client.unregister_system_shared_memory()


def test_a_client_that_shrinks_its_memory_does_not_end_the_server(
    shared: Shared, client: Any
) -> None:
    image = shared.put(pixels(5), offset=SIZE // 2)
    os.truncate(FOLDER / shared.key, 100)
    with pytest.raises(InferenceServerException, match="smaller than when") as raised:
        client.infer("m", [image])
    assert code_of(raised.value) == "INVALID_ARGUMENT"
    with pytest.raises(InferenceServerException, match="smaller than when"):
        client.infer("m", [image_input(5)], outputs=[shared.wanted(12)])
    assert client.infer("m", [image_input(5)]).as_numpy("probs")[0, 0] == 5
    # What the test's own mapping needs to be closed.
    os.truncate(FOLDER / shared.key, SIZE)


@pytest.mark.parametrize(
    ("key", "offset", "size", "code"),
    [
        ("absent", 0, 1, "NOT_FOUND"),
        ("../etc/passwd", 0, 1, "INVALID_ARGUMENT"),
        ("..", 0, 1, "INVALID_ARGUMENT"),
        ("", 0, 1, "INVALID_ARGUMENT"),
        (None, 0, SIZE + 1, "INVALID_ARGUMENT"),
        (None, 2**64 - 1, 2, "INVALID_ARGUMENT"),
        (None, 0, 0, "INVALID_ARGUMENT"),
    ],
)
def test_what_is_no_region_is_refused(
    shared: Shared, client: Any, key: str | None, offset: int, size: int, code: str
) -> None:
    with pytest.raises(InferenceServerException) as raised:
        client.register_system_shared_memory("n", shared.key if key is None else key, size, offset)
    assert code_of(raised.value) == code


def test_a_name_is_taken_once(shared: Shared, client: Any) -> None:
    with pytest.raises(InferenceServerException) as raised:
        client.register_system_shared_memory("r", shared.key, SIZE)
    assert code_of(raised.value) == "ALREADY_EXISTS"


def test_an_output_that_does_not_fit_is_refused(shared: Shared, client: Any) -> None:
    with pytest.raises(InferenceServerException, match="gives 11 bytes to an output of 12"):
        client.infer("m", [image_input(5)], outputs=[shared.wanted(11)])


def test_a_server_that_others_can_reach_offers_none(store: ArtifactStore, tmp_path: Path) -> None:
    with (
        inference_server(store, tmp_path, shared_memory=False) as server,
        triton.InferenceServerClient(server.address) as client,
    ):
        server.publish()
        assert "system_shared_memory" not in client.get_server_metadata().extensions
        assert not client.get_system_shared_memory_status().regions
        client.unregister_system_shared_memory()
        with pytest.raises(InferenceServerException, match="not offered") as raised:
            client.register_system_shared_memory("r", "key", 1)
        assert code_of(raised.value) == "UNIMPLEMENTED"
        image = triton.InferInput("input", [1, 2, 2, 3], "FP32")
        image.set_shared_memory("r", 48)
        with pytest.raises(InferenceServerException, match="not offered") as raised:
            client.infer("m", [image])
        assert code_of(raised.value) == "UNIMPLEMENTED"
