"""What became of one request, for those who count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inference_service.cards.batch_run import BatchTrace
from inference_service.cards.card_answer import CardAnswer


@dataclass(slots=True)
class RequestOutcome:
    """A request from its arrival to its end, whatever protocol, call or stream it came in.

    Attributes:
        trace: takes what can only be told while it runs; None: nobody traces it.
        model: that was found; empty: there is none of the name, or none is served.
        version: that was found; 0: none.
        card: that was asked for; None: any, or it was not found.
        images: that were answered.
        shares: what the cards answered; empty: nothing.
        error: that ended it; None: it was answered.
        expired: whether its deadline had passed then.
        seconds: from its arrival to its end, decoding of images included.
    """

    trace: BatchTrace | None = None
    model: str = ""
    version: int = 0
    card: int | None = None
    images: int = 0
    shares: Sequence[CardAnswer] = ()
    error: BaseException | None = None
    expired: bool = False
    seconds: float = 0.0


Observer = Callable[[RequestOutcome], None]
BeginTrace = Callable[[], BatchTrace | None]
