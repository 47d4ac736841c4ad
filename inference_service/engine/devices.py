"""Which device a card runs on. Values in, values out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from service_kit import errors

# More lanes than any machine has cores: a typing error.
_MAX_LANES = 1024
_ONE_GPU = re.compile(r"gpu:(0|[1-9][0-9]{0,3})")
_LANES = re.compile(r"cpu:([1-9][0-9]{0,3})")


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, or a lane of the CPU: cards on different lanes run at the same time."""

    kind: Literal["cpu", "gpu"]
    index: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.index}"


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """The devices that were asked for, all different; none: choose what the machine has."""

    devices: tuple[Device, ...] = ()

    @property
    def auto(self) -> bool:
        """Whether the machine decides."""
        return not self.devices

    def __str__(self) -> str:
        return ",".join(map(str, self.devices)) or "auto"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a card runs, and which of the artifact's towers it runs.

    `tower` is the card's own index, or 0 for a copy; `shares_with` has the other cards on the
    same device, in ascending order.
    """

    card: int
    tower: int
    device: Device
    shares_with: tuple[int, ...]


def parse_devices(text: str) -> DeviceRequest:
    """Returns what `auto`, `gpu:0,gpu:2` or `cpu:4` asks for; `cpu:4` are four lanes of the CPU.

    Raises:
        InvalidRequest: it is none of the three forms, or names a GPU twice.
    """
    parts = [part.strip() for part in text.split(",")]
    if parts == ["auto"]:
        return DeviceRequest()
    lanes = _LANES.fullmatch(parts[0])
    if lanes and len(parts) == 1 and int(lanes[1]) <= _MAX_LANES:
        return DeviceRequest(tuple(Device("cpu", lane) for lane in range(int(lanes[1]))))
    gpus = [_ONE_GPU.fullmatch(part) for part in parts]
    devices = tuple(Device("gpu", int(gpu[1])) for gpu in gpus if gpu)
    if len(set(devices)) < len(parts):
        raise errors.InvalidRequest(
            f"{text!r} does not name devices: write auto, different GPUs like gpu:0,gpu:2, or "
            f"cpu:N for N lanes of the CPU, 1 to {_MAX_LANES}"
        )
    return DeviceRequest(devices)


def resolve_devices(request: DeviceRequest, gpus: int, cores: int) -> tuple[Device, ...]:
    """Returns the devices to use, at least one, in the order of the cards.

    Args:
        request: what was asked for.
        gpus: how many GPUs are visible to this process.
        cores: how many cores this process may use; without GPUs `auto` makes a lane of each.

    Raises:
        InvalidRequest: a GPU that is not visible is asked for; names those that are.
    """
    visible = tuple(Device("gpu", index) for index in range(gpus))
    if request.auto:
        return visible or tuple(Device("cpu", lane) for lane in range(max(cores, 1)))
    for device in request.devices:
        if device.kind == "gpu" and device not in visible:
            names = ", ".join(map(str, visible))
            seen = f"visible are {names}" if names else "no GPU is visible"
            raise errors.InvalidRequest(
                f"{device} is not visible here; {seen} (CUDA_VISIBLE_DEVICES decides)"
            )
    return request.devices


def place_cards(
    towers: int, devices: Sequence[Device], *, replicate: bool
) -> tuple[Placement, ...]:
    """Returns the cards in order; card i runs on device i modulo the number of devices.

    Args:
        towers: how many the artifact has, 1 or more; each is the tower of the card of its index.
        devices: all different, at least one. With fewer than towers, cards share them.
        replicate: whether devices that have no tower run copies of tower 0.
    """
    cards = max(towers, len(devices)) if replicate else towers
    count = len(devices)
    return tuple(
        Placement(
            card=card,
            tower=card if card < towers else 0,
            device=devices[card % count],
            shares_with=tuple(n for n in range(card % count, cards, count) if n != card),
        )
        for card in range(cards)
    )


def intra_op_threads(cards: int, cores: int) -> int:
    """Returns how many threads one card's operations may use, so that all together fill the cores.

    At least 1; `cards` and `cores` are 1 or more.
    """
    return max(cores // max(cards, 1), 1)
