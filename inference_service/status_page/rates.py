"""How fast cards answer now, from two looks at what they count."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from inference_service.cards.card import Card

# Seconds between two looks, and between the two whose difference is the rate.
LOOK_SECONDS = 1.0
_WINDOW_SECONDS = 5.0
# Of rates that are kept: a minute.
_HISTORY = 60


@dataclass(frozen=True, slots=True)
class Counted:
    """What a card had done at a moment: images answered, seconds that its engine ran."""

    at: float
    images: int
    busy_seconds: float


@dataclass(frozen=True, slots=True)
class Rate:
    """Images per second, and the share of the time that the engine ran, 0 to 1."""

    images_per_second: float
    busy: float


IDLE = Rate(0.0, 0.0)


def rate_between(before: Counted, after: Counted) -> Rate:
    """Returns the rate between two looks at one card.

    Busy seconds are counted when a batch ends, so a long batch can seem to have taken more than
    the time between the looks; the share stays 1 then.
    """
    seconds = after.at - before.at
    if seconds <= 0:
        return IDLE
    return Rate(
        images_per_second=max(0.0, (after.images - before.images) / seconds),
        busy=min(1.0, max(0.0, (after.busy_seconds - before.busy_seconds) / seconds)),
    )


@dataclass(frozen=True, slots=True)
class CardRates:
    """The rate now, and those of the last minute, oldest first, in images per second."""

    now: Rate = IDLE
    history: tuple[float, ...] = ()


class Rates:
    """Looks at cards, and remembers. Belongs to the event loop."""

    def __init__(self) -> None:
        """Begins without looks."""
        # Weak: what is unloaded must not be kept in memory by having been looked at.
        self._looks: WeakKeyDictionary[Card, deque[Counted]] = WeakKeyDictionary()
        self._rates: WeakKeyDictionary[Card, CardRates] = WeakKeyDictionary()
        self._last: float | None = None

    def look(self, cards: Iterable[Card], now: float) -> None:
        """Looks at every card that there is; `now` is in seconds, of any clock that grows."""
        for card in cards:
            looks = self._looks.setdefault(card, self._begun())
            counts = card.status().counts
            looks.append(Counted(now, counts.answered_images, counts.runs.busy_seconds))
            while len(looks) > 2 and looks[1].at <= now - _WINDOW_SECONDS:
                looks.popleft()
            rate = rate_between(looks[0], looks[-1])
            before = self._rates.get(card, CardRates())
            history = (*before.history, rate.images_per_second)[-_HISTORY:]
            self._rates[card] = CardRates(rate, history)
        self._last = now

    def _begun(self) -> deque[Counted]:
        """Returns the looks at a card that was not there at the last one: it began from nothing."""
        return deque([] if self._last is None else [Counted(self._last, 0, 0.0)])

    def of(self, cards: Iterable[Card]) -> Mapping[Card, CardRates]:
        """Returns the cards' rates; they may be read on another thread."""
        return {card: self._rates.get(card, CardRates()) for card in cards}
