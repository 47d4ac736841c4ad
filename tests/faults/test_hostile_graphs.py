"""Graphs that are meant to harm, all at once: the server stays, and everybody else is answered."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from inference_service.client import InferenceClient
from service_kit import errors
from tests.faults.conftest import Arena
from tests.support import hostile_graphs
from tests.support.engines import pixels
from tests.support.fault_checks import answers_right, end, reason, states, until

# Refused, or failing, while they are loaded.
NEVER_SERVED: dict[str, Callable[[], bytes]] = {
    "reads-a-file": hostile_graphs.reads_a_file,
    "calls-itself": hostile_graphs.calls_itself,
    "calls-in-a-circle": lambda: hostile_graphs.calls_itself(2),
    "calls-deep": hostile_graphs.calls_deep,
    "no-op": hostile_graphs.names_no_op,
    "waits-for-itself": hostile_graphs.waits_for_itself,
    "huge": hostile_graphs.huge,
    "huge-constant": hostile_graphs.claims_a_huge_constant,
    "garbage": lambda: b"\xff" * 5000,
    "empty": lambda: b"",
}


@pytest.mark.timeout(300)
def test_no_hostile_graph_costs_anybody_else_an_answer(arena: Arena, good: bytes) -> None:
    arena.publish("good", good)
    for model, make in NEVER_SERVED.items():
        arena.publish(model, make())
    arena.publish("triggered", hostile_graphs.huge_on_trigger())
    with arena.serving() as server, InferenceClient(server.address) as client:
        client.wait_until_ready("good")
        until(lambda: states(client, "triggered").get(1) == "AVAILABLE", seconds=120)
        for model in NEVER_SERVED:
            until(lambda: states(client, model).get(1) in ("FAILED", "AVAILABLE"))  # noqa: B023
            # A constant that nobody reads may be left out; then the answer is right.
            if states(client, model)[1] == "AVAILABLE":
                assert model == "huge-constant"
                assert answers_right(client, model)
            else:
                assert reason(client, model)
        # Harmless when it was warmed, it asks for 100 GiB now, and fails alone.
        with pytest.raises(errors.EngineFailed):
            client.predict("triggered", pixels(hostile_graphs.TRIGGER), timeout=60)
        found = client.predict("triggered", pixels(0.5)).outputs["probs"]
        np.testing.assert_allclose(found, 0.5, atol=1e-6)
        assert answers_right(client, "good")
        assert server.process.poll() is None
        assert end(server) == 0
