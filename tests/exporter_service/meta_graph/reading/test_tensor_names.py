from __future__ import annotations

import pytest

from exporter_service.meta_graph.reading.node_graph import Port
from exporter_service.meta_graph.reading.tensor_names import nearest, parse_name, semantic_names


@pytest.mark.parametrize(
    ("text", "alias", "port"),
    [
        ("x", "", Port("x")),
        ("a/x:2", "", Port("a/x", 2)),
        ("mine=a/x:0", "mine", Port("a/x")),
    ],
)
def test_names_are_read_as_users_write_them(text: str, alias: str, port: Port) -> None:
    assert parse_name(text) == (alias, port)


def test_ports_are_written_as_nodes_and_sessions_take_them() -> None:
    assert (str(Port("x")), str(Port("x", 1))) == ("x", "x:1")
    assert (Port("x").tensor_name, Port("x", 1).tensor_name) == ("x:0", "x:1")


def test_the_same_last_part_is_nearest() -> None:
    names = ["model/head/probs", "probabilities", "other/thing", "prob"]
    assert nearest("probs", names)[0] == "model/head/probs"
    assert "prob" in nearest("probs", names)
    assert nearest("zzz", names) == []


def test_several_tensors_get_different_names() -> None:
    ports = [Port("a/x"), Port("b/x"), Port("it", 1), Port("c")]
    assert semantic_names(["", "", "", "mine"], ports, "sole") == ["x", "x_1", "it_1", "mine"]
    assert semantic_names([""], ports[:1], "sole") == ["sole"]
    assert semantic_names(["own"], ports[:1], "sole") == ["own"]
