from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter_service.architectures.key_suggestion import Shape, suggest_rewrites
from exporter_service.checkpoints.key_rewrites import rewritten

EMA = "/ExponentialMovingAverage"
NET: dict[str, Shape] = {
    "conv1/weights": (3, 3, 3, 8),
    "conv1/biases": (8,),
    "conv2/weights": (3, 3, 8, 8),
    "conv2/biases": (8,),
    "logits/weights": (8, 10),
}
STATE: dict[str, Shape] = {"global_step": (), "beta1_power": ()}


def changed(net: dict[str, Shape], prefix: str = "", suffix: str = "") -> dict[str, Shape]:
    return {f"{prefix}{name}{suffix}": shape for name, shape in net.items()}


def suggested(wanted: dict[str, Shape], found: dict[str, Shape]) -> list[str] | None:
    rewrites = suggest_rewrites(wanted, found)
    return None if rewrites is None else [rewrite.text for rewrite in rewrites]


@pytest.mark.parametrize(
    ("wanted", "found", "texts"),
    [
        (NET, NET, []),
        (NET, changed(NET, "tower_0/"), ["^tower_0/="]),
        (changed(NET, "model/"), NET, ["^=model/"]),
        (changed(NET, "densenet121/"), changed(NET, "densenet_digits/"),
         ["^densenet_digits/=densenet121/"]),
        (changed(NET, "a/net/"), changed(NET, "b.c/net/"), [r"^b\.c/=a/"]),
        (NET, changed(NET, suffix=":0"), [":0$="]),
        (changed(NET, suffix=":0"), NET, ["$=:0"]),
        (NET, changed(NET, "tower_0/", ":0"), [":0$=", "^tower_0/="]),
        (NET, changed(NET, "model_"), ["^model_="]),
        (changed(NET, "model_"), NET, ["^=model_"]),
        (changed(NET, "conv/"), changed(NET, "conv/conv/"), ["^conv/="]),
        (NET, changed(NET, "tower_0/") | changed(NET, "tower_1/"), ["^tower_0/="]),
        # Some of the names are right already.
        (changed(NET, "m/") | {"head": (9,)}, changed(NET, "t/") | {"head": (9,)}, ["^t/=m/"]),
    ],
)  # fmt: skip
def test_the_shortest_change_is_found(
    wanted: dict[str, Shape], found: dict[str, Shape], texts: list[str]
) -> None:
    assert suggested(wanted, found | STATE) == texts


def test_shadows_and_slots_do_not_confuse() -> None:
    for suffix in (f"{EMA}:0", f":0{EMA}"):
        found = (
            changed(NET, "t/", ":0")
            | changed(NET, "t/", suffix)
            | changed(NET, "t/", "/Adam:0")
            | changed(NET, "t/", "/Adam_1:0")
        )
        rewrites = suggest_rewrites(NET, found | STATE)
        assert rewrites is not None
        assert [rewrite.text for rewrite in rewrites] == [":0$=", "^t/="]
        names = rewritten(found, rewrites)
        assert all(name in names and name + EMA in names for name in NET)


def test_shadows_alone_are_enough() -> None:
    assert suggested(NET, changed(NET, "t/", EMA)) == ["^t/="]


@pytest.mark.parametrize(
    "found",
    [
        {},
        changed(NET, "t/") | {"t/conv2/biases": (9,)},
        {key: shape for key, shape in changed(NET, "t/").items() if key != "t/conv2/biases"},
        changed(NET, "t/", "/Adam"),
        {"t/" + key.replace("conv2", "conv3"): shape for key, shape in NET.items()},
        changed(NET, "x" * 400 + "/"),
        # Both conv1/biases and t/conv1/biases would get the name.
        changed(NET, "t/") | {"conv1/biases": (9,)},
    ],
)
def test_nothing_is_suggested_unless_everything_would_match(found: dict[str, Shape]) -> None:
    assert suggested(NET, found) is None


SCOPES = st.lists(st.text("ab.1", min_size=1, max_size=3), max_size=2).map(
    lambda parts: "".join(f"{part}/" for part in parts)
)
NAMES = st.lists(st.text("abw", min_size=1, max_size=2), min_size=1, max_size=3).map("/".join)
NETS = st.dictionaries(NAMES, st.sampled_from([(1,), (2,), (2, 2)]), min_size=1, max_size=12)


@settings(max_examples=400)
@given(
    net=NETS,
    here=SCOPES,
    there=SCOPES,
    glued=st.sampled_from(["", "", "m_"]),
    outputs=st.sampled_from([("", ""), ("", ":0"), (":0", "")]),
    beside=st.sets(st.sampled_from([EMA, "/Adam", "/Momentum"])),
)
def test_every_change_of_prefix_and_output_is_undone(
    net: dict[str, Shape],
    here: str,
    there: str,
    glued: str,
    outputs: tuple[str, str],
    beside: set[str],
) -> None:
    wanted = changed(net, here, outputs[0])
    found = changed(net, there + glued, outputs[1]) | STATE
    for suffix in beside:
        found |= changed(net, there + glued, suffix + outputs[1])
    rewrites = suggest_rewrites(wanted, found)
    assert rewrites is not None
    names = rewritten(found, rewrites)
    assert {name: found[names[name]] for name in wanted} == wanted
    if EMA in beside:
        assert all(found[names[name + EMA]] == shape for name, shape in wanted.items())


def test_thousands_of_keys_of_one_shape_are_compared_at_once() -> None:
    net: dict[str, Shape] = {f"block_{number}/layer/weights": (64,) for number in range(3000)}
    found = changed(net, "tower_0/", ":0") | changed(net, "tower_0/", "/Adam:0")
    assert suggested(net, found) == [":0$=", "^tower_0/="]
    assert suggested(net, changed(net, "t/", "/Adam")) is None
