"""A loaded artifact: cards that answer, and the engine behind them."""

from __future__ import annotations

from collections.abc import Sequence

from inference_service.card import Card
from inference_service.dispatch import choose_card
from inference_service.engine import Engine
from service_kit import errors
from service_kit.manifest import Manifest


class Servable:
    """One version of one model, ready to answer."""

    def __init__(self, manifest: Manifest, engine: Engine, cards: Sequence[Card]) -> None:
        """Owns the engine and the cards from now on."""
        self.manifest = manifest
        self.cards = tuple(cards)
        self._engine = engine
        self._turn = 0

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.manifest.model

    @property
    def version(self) -> int:
        """Version of the model."""
        return self.manifest.version

    def card(self, index: int | None) -> Card:
        """Returns the named card, or the one with the fewest outstanding images.

        Raises:
            CardNotFound: there is no such card; the message names those that exist.
        """
        if index is None:
            self._turn += 1
            return self.cards[choose_card([card.outstanding for card in self.cards], self._turn)]
        if not 0 <= index < len(self.cards):
            known = ", ".join(str(card.index) for card in self.cards)
            raise errors.CardNotFound(
                f"model {self.model} version {self.version} has no card {index}; it has {known}"
            )
        return self.cards[index]

    def close(self) -> None:
        """Finishes what the cards have queued and frees the engine. Blocks."""
        for card in self.cards:
            card.close()
        self._engine.close()
