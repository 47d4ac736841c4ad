"""What `grpc.health.v1` says of models and cards."""

from __future__ import annotations

import asyncio

from inference_service.models.registry import Registry
from service_kit.server.health import Health


class ModelHealth:
    """Tells `<model>` and, of the version that answers by default, `<model>/card/<index>`."""

    def __init__(self, health: Health) -> None:
        """Tells `health`."""
        self._health = health
        self._told: dict[str, bool] = {}
        # Two tellers at a time could end with what the earlier one knew.
        self._telling = asyncio.Lock()

    async def tell(self, registry: Registry) -> None:
        """Says what has changed; a model is served while one of its cards works."""
        async with self._telling:
            await self._tell(registry)

    async def _tell(self, registry: Registry) -> None:
        now: dict[str, bool] = {}
        for status in registry.statuses():
            servable = registry.default(status.name)
            # Each card is asked once, so that the model's state is that of its cards.
            cards = {card.index: card.healthy for card in servable.cards} if servable else {}
            now[status.name] = any(cards.values())
            now |= {f"{status.name}/card/{index}": healthy for index, healthy in cards.items()}
        told, self._told = self._told, now
        for name in told.keys() - now.keys():
            await self._health.forget(name)
        for name, serving in now.items():
            if told.get(name) != serving:
                await self._health.set(name, serving=serving)
