"""A graph that never ends: nobody else waits for it, and it ends when it may take no longer."""

from __future__ import annotations

import threading

import pytest

from inference_service.client import InferenceClient
from tests.faults.conftest import Arena
from tests.support.fault_checks import answers_right, end, reason, resources, states, until
from tests.support.hostile_graphs import endless, plain


@pytest.mark.parametrize("hangs", ["later", "from the start"])
def test_other_models_are_swapped_while_one_hangs(arena: Arena, good: bytes, hangs: str) -> None:
    arena.publish("good", good)
    if hangs == "from the start":
        # Before the other one, by its name.
        arena.publish("a-hangs", endless())
    with arena.serving() as server, InferenceClient(server.address) as client:
        client.wait_until_ready("good")
        arena.publish("hangs", endless())
        until(lambda: states(client, "hangs") == {1: "LOADING"})
        arena.publish("good", plain(1.0))
        until(lambda: states(client, "good") == {2: "AVAILABLE"})
        assert answers_right(client, "good", 1.0)
        assert states(client, "hangs") == {1: "LOADING"}
        assert end(server) == 0


def test_a_load_that_took_too_long_computes_no_more(arena: Arena, good: bytes) -> None:
    arena.publish("good", good)
    arena.publish("hangs", endless())
    with (
        arena.serving("--load-timeout", "10") as server,
        InferenceClient(server.address) as client,
    ):
        until(lambda: states(client, "hangs") == {1: "FAILED"})
        assert "--load-timeout" in reason(client, "hangs")
        until(lambda: "load_ended" in server.log.read_text())
        before = resources(server.pid).processor_seconds
        threading.Event().wait(2)
        # Two cores' worth of endless loop would be seconds.
        assert resources(server.pid).processor_seconds - before < 1
        assert answers_right(client, "good")
        assert end(server) == 0


def test_a_server_that_is_told_to_end_while_it_loads_ends_in_order(arena: Arena) -> None:
    arena.publish("hangs", endless())
    with (
        arena.serving("--grace", "5") as server,
        InferenceClient(server.address) as client,
    ):
        until(lambda: states(client, "hangs") == {1: "LOADING"})
        assert end(server, seconds=15) == 0
    # And nobody takes it for a death.
    with arena.serving(log="again") as server, InferenceClient(server.address) as client:
        until(lambda: states(client, "hangs") == {1: "LOADING"})
        assert "server_died_while_loading" not in server.log.read_text()
