from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.engine.devices import (
    Device,
    DeviceRequest,
    Placement,
    intra_op_threads,
    parse_devices,
    place_cards,
    resolve_devices,
)
from service_kit import errors


def gpus(*indices: int) -> tuple[Device, ...]:
    return tuple(Device("gpu", index) for index in indices)


def lanes(count: int) -> tuple[Device, ...]:
    return tuple(Device("cpu", lane) for lane in range(count))


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("auto", ()),
        (" auto ", ()),
        ("gpu:0", gpus(0)),
        ("gpu:0,gpu:2", gpus(0, 2)),
        (" gpu:12 , gpu:3", gpus(12, 3)),
        ("cpu:1", lanes(1)),
        ("cpu:3", lanes(3)),
        ("cpu:1024", lanes(1024)),
    ],
)
def test_reads_the_three_forms(text: str, devices: tuple[Device, ...]) -> None:
    request = parse_devices(text)
    assert request == DeviceRequest(devices)
    assert request.auto == ("auto" in text)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ",", "gpu:0,", "auto,auto", "auto,gpu:0", "Auto", "gpu", "gpu:", "gpu:-1"),
        *("gpu:x", "gpu:1.0", "gpu:01", "gpu:99999", "gpu:²", "gpu: 1", "gpu:0,gpu:0", "0"),
        *("gpu:0,cpu:1", "cpu:1,gpu:0", "cpu:1,cpu:2", "cpu:0", "cpu:1025", "cpu:-2", "cpu"),
        "cpu:" + "9" * 5000,
    ],
)
def test_what_is_none_of_them_is_answered_with_all_three(text: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=r"write auto, .* gpu:0,gpu:2, or cpu:N "):
        parse_devices(text)


@given(st.lists(st.integers(0, 9999), min_size=1, max_size=20, unique=True))
def test_a_written_device_reads_as_itself(indices: list[int]) -> None:
    devices = gpus(*indices)
    assert parse_devices(",".join(map(str, devices))) == DeviceRequest(devices)


@given(st.text(max_size=20) | st.text("auto,gpcu:012 ", max_size=20))
def test_no_text_is_more_than_refused(text: str) -> None:
    try:
        devices = parse_devices(text).devices
    except errors.InvalidRequest:
        return
    assert len(set(devices)) == len(devices)
    assert len({device.kind for device in devices}) <= 1


@pytest.mark.parametrize(
    ("text", "visible", "devices"),
    [
        ("auto", 2, gpus(0, 1)),
        ("auto", 0, lanes(4)),
        ("gpu:1", 2, gpus(1)),
        ("gpu:1,gpu:0", 2, gpus(1, 0)),
        ("cpu:9", 2, lanes(9)),
    ],
)
def test_auto_takes_the_gpus_or_else_the_cores_and_names_mean_what_they_say(
    text: str, visible: int, devices: tuple[Device, ...]
) -> None:
    assert resolve_devices(parse_devices(text), visible, cores=4) == devices


@pytest.mark.parametrize(
    ("visible", "words"),
    [
        (2, "gpu:2 is not visible here; visible are gpu:0, gpu:1 "),
        (0, "gpu:0 is not visible here; no GPU is visible "),
    ],
)
def test_an_invisible_gpu_is_refused_with_those_that_are_visible(visible: int, words: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=words) as caught:
        resolve_devices(parse_devices("gpu:0,gpu:2"), visible, cores=4)
    assert "CUDA_VISIBLE_DEVICES decides" in str(caught.value)


def test_more_towers_than_devices_share_them() -> None:
    first, second = gpus(0, 1)
    assert place_cards(3, [first, second], replicate=True) == (
        Placement(0, 0, first, (2,)),
        Placement(1, 1, second, ()),
        Placement(2, 2, first, (0,)),
    )


def test_devices_without_a_tower_run_copies_of_the_first_when_asked_to() -> None:
    first, second, third = gpus(0, 1, 2)
    own = (Placement(0, 0, first, ()), Placement(1, 1, second, ()))
    assert place_cards(2, [first, second, third], replicate=False) == own
    assert place_cards(2, [first, second, third], replicate=True) == (
        *own,
        Placement(2, 0, third, ()),
    )


@given(towers=st.integers(1, 40), devices=st.integers(1, 40), replicate=st.booleans())
def test_every_tower_has_its_card_and_devices_are_used_evenly(
    *, towers: int, devices: int, replicate: bool
) -> None:
    placed = place_cards(towers, gpus(*range(devices)), replicate=replicate)
    assert len(placed) == (max(towers, devices) if replicate else towers)
    assert [one.card for one in placed] == list(range(len(placed)))
    assert [one.tower for one in placed[:towers]] == list(range(towers))
    assert {one.tower for one in placed[towers:]} <= {0}
    used = Counter(one.device for one in placed)
    counts = [used[device] for device in gpus(*range(devices))]
    assert max(counts) - min(counts) <= 1


@given(towers=st.integers(1, 20), devices=st.integers(1, 20), replicate=st.booleans())
def test_cards_share_with_exactly_those_on_their_device(
    *, towers: int, devices: int, replicate: bool
) -> None:
    placed = place_cards(towers, lanes(devices), replicate=replicate)
    for one in placed:
        there = [other.card for other in placed if other.device == one.device and other != one]
        assert list(one.shares_with) == there
        assert all(one.card in placed[other].shares_with for other in one.shares_with)


@pytest.mark.parametrize(
    ("cards", "cores", "threads"), [(1, 8, 8), (3, 8, 2), (8, 8, 1), (9, 8, 1), (1, 1, 1)]
)
def test_the_cards_threads_fill_the_cores(cards: int, cores: int, threads: int) -> None:
    assert intra_op_threads(cards, cores) == threads
