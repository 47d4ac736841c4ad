"""Servables of engines without TensorFlow."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial

from inference_service.cards.batch_limit import BatchTiming
from inference_service.cards.card_spec import CardLimits, CardSpec
from inference_service.engine.devices import Device, place_cards
from inference_service.models.servable import LoadedModel, Servable
from service_kit.artifacts.manifest import published_as
from tests.support.engines import MeanEngine, pixels
from tests.support.manifests import conversion


def mean_servable(
    engine: MeanEngine | None = None,
    *,
    model: str = "m",
    version: int = 1,
    cards: int = 1,
    limits: CardLimits = CardLimits(4),  # noqa: B008 - immutable
    packs: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> Servable:
    """Returns a servable with a card for each tower, each on its own device."""
    engine = engine or MeanEngine()
    manifest = published_as(
        conversion(cards=cards), model, version, datetime(2026, 1, 2, tzinfo=timezone.utc)
    )
    devices = [Device("cpu", index) for index in range(cards)]
    specs = tuple(
        CardSpec(
            tower=tower,
            placement=placement,
            run=partial(engine.run, tower.index),
            blank={"input": pixels(0)},
            timings=(BatchTiming(1, 0.5),),
            packs=packs,
        )
        for tower, placement in zip(
            manifest.towers, place_cards(cards, devices, replicate=False), strict=True
        )
    )
    return Servable(LoadedModel(manifest, engine, specs, 1.5), lambda _: limits, clock=clock)
