"""Servers that are killed, or told to end, under load: every request is answered once, rightly."""

from __future__ import annotations

import signal
import socket

import pytest

from inference_service.client import InferenceClient
from service_kit.store.artifact_store import ArtifactStore
from tests.faults.conftest import Arena
from tests.support.checked_load import CheckedLoad
from tests.support.fault_checks import end, resources, states, until
from tests.support.hostile_graphs import plain


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_request_is_lost_or_answered_twice_over_restarts(
    arena: Arena, good: bytes, number: signal.Signals
) -> None:
    arena.publish("good", good)
    port = free_port()
    load: CheckedLoad | None = None
    for restart in range(4):
        options = ("--listen", f"127.0.0.1:{port}", "--grace", "10")
        with arena.serving(*options, log=f"log{restart}") as server:
            load = load or CheckedLoad(server.address, "good")
            before = load.answered
            until(lambda: load.answered > before + 200 or load.problems != [])  # noqa: B023
            if restart < 3:
                assert end(server, number) == (0 if number is signal.SIGTERM else -number)
            else:
                load.end()
    assert load
    assert load.answered > 800


@pytest.mark.timeout(300)
def test_swaps_under_load_keep_no_memory_threads_or_descriptors(arena: Arena) -> None:
    arena.publish("good", plain(0.0))
    with arena.serving() as server, InferenceClient(server.address) as client:
        client.wait_until_ready("good")
        offsets = tuple(float(number) for number in range(31))
        load = CheckedLoad(server.address, "good", offsets)
        before = None
        for version in range(2, 32):
            arena.publish("good", plain(offsets[version - 1]))
            until(lambda: states(client, "good") == {version: "AVAILABLE"})  # noqa: B023
            if version == 10:
                # Until then allocators and caches fill up.
                before = resources(server.pid)
        after = resources(server.pid)
        load.end()
        assert before
        assert after.threads <= before.threads + 2
        assert after.descriptors <= before.descriptors + 2
        assert after.resident_bytes < 1.15 * before.resident_bytes
        assert end(server) == 0


def test_what_a_killed_server_served_is_served_again(arena: Arena, good: bytes) -> None:
    store: ArtifactStore = arena.store
    for model in ("a", "b", "c"):
        arena.publish(model, good)
    for restart in range(2):
        with (
            arena.serving(log=f"log{restart}") as server,
            InferenceClient(server.address) as client,
        ):
            for model in store.published():
                client.wait_until_ready(model)
            assert {one.name for one in client.models()} == {"a", "b", "c"}
            assert end(server, signal.SIGKILL) == -signal.SIGKILL
