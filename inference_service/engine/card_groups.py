"""Which cards run the same prepared call."""

from __future__ import annotations

from collections.abc import Sequence

from inference_service.engine import EngineCard
from inference_service.engine.devices import Device
from service_kit.frozen_graph.tower_graph import TowerGraph


def group_cards(cards: Sequence[EngineCard], towers: TowerGraph) -> list[int]:
    """Returns the number of each card's prepared call; equal towers in one memory have one."""
    leaders: list[EngineCard] = []
    calls = []
    for card in cards:
        for call, leader in enumerate(leaders):
            if _memory(card.device) == _memory(leader.device) and towers.are_equal(
                leader.tower, card.tower
            ):
                calls.append(call)
                break
        else:
            calls.append(len(leaders))
            leaders.append(card)
    return calls


def _memory(device: Device) -> tuple[str, int]:
    """Returns the memory that a device computes in: all CPU lanes have the same."""
    return ("cpu", 0) if device.kind == "cpu" else ("gpu", device.index)
