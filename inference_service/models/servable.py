"""A loaded artifact: cards that answer, and the engine behind them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from inference_service.cards.admission import TooLate
from inference_service.cards.batch_run import BatchTrace
from inference_service.cards.batch_tensors import Tensors
from inference_service.cards.batching import Priority
from inference_service.cards.card import Card
from inference_service.cards.card_spec import CardLimits, CardSpec
from inference_service.cards.queued_request import Asker, QueuedRequest
from inference_service.engine import Engine
from inference_service.models.dispatch import Share, choose_card, spread
from inference_service.models.request_counts import RequestCounts
from inference_service.models.reservation import Reservation, ReservedShare
from service_kit import errors
from service_kit.artifacts.class_labels import labels_by_output
from service_kit.artifacts.manifest import Manifest

_log = structlog.get_logger(__name__)
# What a caller is told to wait for a card, when all are out of order.
_RETRY_AFTER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What loading a version has made: everything but threads."""

    manifest: Manifest
    engine: Engine
    specs: tuple[CardSpec, ...]
    seconds: float


class Servable:
    """One version of one model, ready to answer."""

    def __init__(
        self,
        loaded: LoadedModel,
        limits: Callable[[CardSpec], CardLimits],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts the cards; they and the engine belong to it from now on.

        Args:
            loaded: what to serve.
            limits: of each card.
            clock: the cards' clock, in seconds.
        """
        self.manifest = loaded.manifest
        self.load_seconds = loaded.seconds
        self.requests = RequestCounts()
        self._engine = loaded.engine
        self._clock = clock
        self._turn = 0
        self.class_labels = labels_by_output(self.manifest.class_labels, loaded.specs[0].tower)
        self.cards: tuple[Card, ...] = tuple(
            Card(spec, limits(spec), self._move, clock=clock) for spec in loaded.specs
        )

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.manifest.model

    @property
    def version(self) -> int:
        """Version of the model."""
        return self.manifest.version

    @property
    def healthy(self) -> bool:
        """Whether at least one card takes requests."""
        return any(card.healthy for card in self.cards)

    def card(self, index: int | None) -> Card:
        """Returns the named card; the first one stands for all of them.

        Raises:
            CardNotFound: there is no such card; the message names those that exist.
        """
        if not 0 <= (index or 0) < len(self.cards):
            known = ", ".join(str(one.index) for one in self.cards)
            raise errors.CardNotFound(
                f"model {self.model} version {self.version} has no card {index}; it has {known}"
            )
        return self.cards[index or 0]

    def limit(self, limits: Callable[[CardSpec], CardLimits]) -> None:
        """Gives the cards other limits, from their next batch on."""
        for card in self.cards:
            card.limits = limits(card.spec)

    def reserve(
        self,
        images: int,
        size: int,
        *,
        card: int | None,
        deadline: float | None,
        priority: Priority,
        asker: Asker,
        trace: BatchTrace | None = None,
        inputs: Tensors | None = None,
    ) -> Reservation:
        """Takes places on a card, or for a large request on several.

        Args:
            images: at least 1.
            size: bytes of their inputs, as far as they are known.
            card: to run on; None: the one with the fewest images that wait or run.
            deadline: a time of the cards' clock after which nobody waits for the answer.
            priority: class of the request.
            asker: hears of the results.
            trace: has its batches written down; None: nobody traces it.
            inputs: are queued at once, see `Reservation.fill`; None: they come later.

        Raises:
            CardNotFound: there is no such card; the message names those that exist.
            QueueFull, DeadlineExpired, CardOutOfOrder, ServerStopping: see `Card.admit`; no place
                is taken.
        """

        def request(share: Share) -> QueuedRequest:
            part = share.stop - share.start
            return QueuedRequest(
                # What is whole is queued with its place; parts once all of them have theirs.
                inputs if inputs and part == images else {},
                part,
                None,
                priority,
                self._clock(),
                deadline,
                card is not None,
                size * part // images,
                trace,
                asker,
            )

        reservation = self._place(images, card, request)
        if len(reservation.shares) == 1:
            reservation.is_filled = bool(inputs)
        elif inputs:
            reservation.fill(inputs)
        return reservation

    def _place(
        self, images: int, card: int | None, request: Callable[[Share], QueuedRequest]
    ) -> Reservation:
        """Takes a place on the card, or where the request is done first."""
        if card is not None:
            return self._admit([Share(self.card(card).index, 0, images)], request)
        loads = self._loads()
        self._turn += 1
        shares = self._spread(images, loads)
        # The card with the fewest images need not be the one that is done first. The last one that
        # is asked says why there is no place, and counts it.
        while len(loads) > 1:
            try:
                return self._admit(shares, request, elsewhere=True)
            except TooLate as late:
                del loads[late.card]
            shares = self._spread(images, loads)
        return self._admit(shares, request)

    def _admit(
        self,
        shares: Sequence[Share],
        request: Callable[[Share], QueuedRequest],
        *,
        elsewhere: bool = False,
    ) -> Reservation:
        """Takes a place for every share, or none."""
        admitted: list[ReservedShare] = []
        try:
            for share in shares:
                one = ReservedShare(self.cards[share.card], share, request(share))
                one.card.admit(one.request, elsewhere=elsewhere)
                admitted.append(one)
        except (errors.PbserveError, TooLate):
            for one in admitted:
                one.request.leave()
            raise
        return Reservation(admitted)

    def _spread(self, images: int, outstanding: Mapping[int, int]) -> list[Share]:
        if not self.cards[0].spec.packs:
            return [Share(choose_card(outstanding, self._turn), 0, images)]
        limit = max(self.cards[index].limits.batch for index in outstanding)
        return spread(images, limit, outstanding, self._turn)

    def _loads(self) -> dict[int, int]:
        """Returns the load of each card that takes requests."""
        loads = {at: card.load for at, card in enumerate(self.cards) if card.healthy}
        if not loads:
            raise errors.CardOutOfOrder(
                f"all cards of model {self.model} version {self.version} are out of order; the "
                f"last error of card 0: {self.cards[0].last_error}",
                retry_after=_RETRY_AFTER_SECONDS,
            )
        return loads

    def _move(self, requests: Sequence[QueuedRequest], source: Card) -> None:
        """Gives what one card cannot answer to the others. Runs on any thread."""
        others = [card for card in self.cards if card is not source]
        for request in requests:
            if not any(_takes(card, request) for card in sorted(others, key=_load)):
                request.refuse(
                    errors.CardOutOfOrder(
                        f"card {source.index} is out of order, and no other card of model "
                        f"{self.model} version {self.version} is there: {source.last_error}",
                        retry_after=_RETRY_AFTER_SECONDS,
                    )
                )

    def check_runs(self) -> None:
        """Takes cards out of order whose engines do not come back; to be called regularly."""
        for card in self.cards:
            card.check_run()

    def close(self) -> None:
        """Finishes what the cards have queued and frees the engine. Blocks.

        A run that does not end keeps the engine, whose memory is lost then.
        """
        stuck = [card.index for card in self.cards if not card.close()]
        if stuck:
            _log.error("engine_kept", model=self.model, version=self.version, cards=stuck)
        else:
            self._engine.close()


def _takes(card: Card, request: QueuedRequest) -> bool:
    try:
        card.take_over(request)
    # It is out of order as well, or was closed meanwhile.
    except errors.PbserveError:
        return False
    return True


def _load(card: Card) -> int:
    return card.load
