"""What became of each group of a stream: sent, answered, to be sent again. Without threads."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from inference_service.client.results import StreamAnswer
from service_kit import errors
from service_kit.client.retry import RetryPolicy, pause_before_retry

Message = TypeVar("Message")


@dataclass(slots=True)
class _Group(Generic[Message]):
    """A group without an answer: how often it was refused, and how often lost with its stream."""

    message: Message
    on_its_way: bool = False
    refused: int = 0
    lost: int = 0


class InFlightRequests(Generic[Message]):
    """Answers every group exactly once, whatever becomes of the streams that carry it.

    Times are seconds of any one clock. A group holds its place in the window from `add` or `fail`
    until `take`.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        window: int,
        in_order: bool,
        uniform: Callable[[], float],
    ) -> None:
        """Begins without groups.

        Args:
            policy: how often and when groups and streams are tried again.
            window: groups that are read and whose answers are not taken, at least 1.
            in_order: answers are taken in the order of the groups.
            uniform: random, from 0 to 1.

        Raises:
            InvalidRequest: the window is below 1.
        """
        if window < 1:
            raise errors.InvalidRequest(f"window {window}: at least 1 group has to be in flight")
        self._policy, self._window, self._in_order = policy, window, in_order
        self._uniform = uniform
        self._open = 0
        self._ended = False
        self._unanswered: dict[int, _Group[Message]] = {}
        # (when, index) of what is to be sent.
        self._to_send: list[tuple[float, int]] = []
        self._answered: dict[int, StreamAnswer] = {}
        self._ready: deque[StreamAnswer] = deque()
        self._next = 0
        self._had_answers = False
        self._failures = 0

    @property
    def has_place(self) -> bool:
        """Whether one more group may be added."""
        return self._open < self._window

    @property
    def has_ready(self) -> bool:
        """Whether `take` has an answer."""
        return bool(self._ready)

    @property
    def has_unsent(self) -> bool:
        """Whether something is to be sent, now or later."""
        return bool(self._to_send)

    @property
    def is_settled(self) -> bool:
        """Whether all groups have been added and answered."""
        return self._ended and not self._unanswered

    def add(self, index: int, message: Message) -> None:
        """Adds the next group."""
        self._open += 1
        self._unanswered[index] = _Group(message)
        self._send(index, 0.0)

    def fail(self, index: int, error: errors.PbserveError) -> None:
        """Adds the next group, which cannot be sent."""
        self._open += 1
        self._settle(StreamAnswer(index, None, error))

    def end(self) -> None:
        """There are no more groups."""
        self._ended = True

    def due(self, now: float) -> Message | None:
        """Returns what is to be sent now; it is on its way from then on."""
        if not self._to_send or self._to_send[0][0] > now:
            return None
        group = self._unanswered[heapq.heappop(self._to_send)[1]]
        group.on_its_way = True
        return group.message

    def due_in(self, now: float) -> float | None:
        """Returns the seconds until the next group is to be sent; None: there is none."""
        return max(0.0, self._to_send[0][0] - now) if self._to_send else None

    def answer(self, answer: StreamAnswer, *, now: float, left: float) -> None:
        """Notes what a server said of a group; sends it again where that may help.

        Args:
            answer: what it said; of a group that is not on its way, nothing is noted.
            now: the time.
            left: seconds until the deadline.
        """
        self._had_answers, self._failures = True, 0
        group = self._unanswered.get(answer.index)
        if group is None or not group.on_its_way:
            return
        if answer.error is not None:
            group.refused += 1
            pause = pause_before_retry(
                self._policy,
                group.refused,
                answer.error,
                attempts=self._policy.stream_attempts,
                left=left,
                random=self._uniform,
            )
            if pause is not None:
                self._send(answer.index, now + pause)
                return
        self._settle(answer)

    def lose(self, error: errors.PbserveError, *, left: float) -> float:
        """Notes that a stream has ended, and has what was on its way sent again.

        A group that went down with `stream_attempts` streams, others between them being
        answered, is not sent again: it may be what brings them down.

        Args:
            error: what ended it.
            left: seconds until the deadline.

        Returns:
            The seconds until another one is to be opened.

        Raises:
            PbserveError: `error`, when there is to be none.
        """
        self._failures += 1
        attempts = self._policy.stream_attempts if self._had_answers else self._policy.attempts
        pause = pause_before_retry(
            self._policy,
            self._failures,
            error,
            attempts=attempts,
            left=left,
            random=self._uniform,
        )
        if pause is None:
            raise error
        for index, group in list(self._unanswered.items()):
            if not group.on_its_way:
                continue
            group.lost += 1
            if group.lost >= self._policy.stream_attempts:
                self._settle(StreamAnswer(index, None, error))
            else:
                self._send(index, 0.0)
        return pause

    def take(self) -> StreamAnswer | None:
        """Returns the next answer, whose place is free then; None: there is none yet."""
        if not self._ready:
            return None
        self._open -= 1
        return self._ready.popleft()

    def _send(self, index: int, when: float) -> None:
        self._unanswered[index].on_its_way = False
        heapq.heappush(self._to_send, (when, index))

    def _settle(self, answer: StreamAnswer) -> None:
        self._unanswered.pop(answer.index, None)
        if not self._in_order:
            self._ready.append(answer)
            return
        self._answered[answer.index] = answer
        while (following := self._answered.pop(self._next, None)) is not None:
            self._ready.append(following)
            self._next += 1
