"""What a server dies of is not loaded for ever again, and nothing else is lost with it."""

from __future__ import annotations

import re
import signal

import pytest

from inference_service.client import InferenceClient
from service_kit import errors
from tests.faults.conftest import Arena
from tests.support.engines import pixels
from tests.support.fault_checks import answers_right, end, reason, states, until
from tests.support.hostile_graphs import endless, plain
from tests.support.http_calls import call
from tests.support.services import Service


def is_loading(arena: Arena, model: str) -> bool:
    """Whether a server has begun to load a model, and would be taken for having died of it."""
    files = (arena.folder / "state").rglob("*.running")
    return any(f'"{model}"' in path.read_text() for path in files)


def kill_while_loading(arena: Arena, model: str, log: str) -> None:
    with arena.serving(log=log) as server:
        until(lambda: is_loading(arena, model))
        assert end(server, signal.SIGKILL) == -signal.SIGKILL


def page(server: Service) -> str:
    assert server.process.stdout
    found = re.search(r"http://\S+", server.process.stdout.readline())
    assert found
    return call(found[0], path="status.json").text


def test_what_two_servers_died_of_is_kept_out_until_somebody_asks(
    arena: Arena, good: bytes
) -> None:
    arena.publish("bad", endless())
    arena.publish("good", good)
    for number in range(2):
        kill_while_loading(arena, "bad", f"log{number}")
    with arena.serving(log="log2") as server, InferenceClient(server.address) as client:
        client.wait_until_ready()
        assert answers_right(client, "good")
        assert states(client, "bad") == {1: "FAILED"}
        assert "pbserve load bad" in reason(client, "bad")
        with pytest.raises(errors.ModelUnavailable, match="pbserve load bad"):
            client.predict("bad", pixels(1), timeout=1)
        assert "pbserve load bad" in page(server)
        assert "server_died_while_loading" in server.log.read_text()
        # Who asks has it tried again, at the cost of everybody.
        with pytest.raises(errors.PbserveError):
            client.load("bad", timeout=2)
        until(lambda: is_loading(arena, "bad"))
        # Another graph under the name is another matter.
        arena.publish("bad", plain(3.0))
        until(lambda: states(client, "good") == {1: "AVAILABLE"})
        assert end(server) == 0


def test_a_healthy_model_whose_load_was_interrupted_is_served(arena: Arena, good: bytes) -> None:
    arena.publish("good", good)
    kill_while_loading(arena, "good", "log0")
    for number in (1, 2, 3):
        # Evictions come with a SIGTERM first.
        with arena.serving(log=f"log{number}") as server:
            until(lambda: is_loading(arena, "good"))
            assert end(server) == 0
    with arena.serving(log="log4") as server, InferenceClient(server.address) as client:
        client.wait_until_ready("good")
        assert answers_right(client, "good")
