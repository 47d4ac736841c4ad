"""Parameters of requests, read with their types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inference_service.cards.batching import Priority
from inference_service.images.decoding import Fit
from service_kit import errors

_FIT_OF = {fit.value.lower(): fit for fit in Fit}
_FINAL_RESPONSE = "triton_enable_empty_final_response"
_MAX_INTEGER = 2**63 - 1
# No clock of ours reaches further than this timeout may.
_LONGEST_SECONDS = 1e6


@dataclass(frozen=True, slots=True)
class RequestParameters:
    """What a request's parameters ask for.

    Attributes:
        card: None for any.
        label: of a version; "": none.
        priority: Triton's 1, the most urgent, and 0, its default, are interactive.
        seconds: until nobody waits for the answer; None: no limit.
        fit: how encoded images are brought to the model's size.
        marks_final: whether a stream's answers say that they are their requests' last.
    """

    card: int | None = None
    label: str = ""
    priority: Priority = Priority.INTERACTIVE
    seconds: float | None = None
    fit: Fit = Fit.EXACT
    marks_final: bool = False


_NOTHING_ASKED = RequestParameters()


class Parameters:
    """A map of parameters; a value of another type than is asked for is an `InvalidRequest`."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        """Reads `InferParameter` messages by name; `where` they are is for errors."""
        self._values = values
        self._where = where

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def integer(self, key: str, *, minimum: int = 0, maximum: int = _MAX_INTEGER) -> int | None:
        """Returns a whole number within a range; None: it is not there."""
        number: int | None = self._value(key, ("int64_param", "uint64_param"), "a whole number")
        if number is not None and not minimum <= number <= maximum:
            raise errors.InvalidRequest(
                f"{self._where}: parameter {key} is {number}; {minimum} to {maximum} are possible"
            )
        return number

    def text(self, key: str) -> str:
        """Returns a string; "": it is not there."""
        return str(self._value(key, ("string_param",), "a string") or "")

    def flag(self, key: str) -> bool:
        """Returns a boolean; False: it is not there."""
        return bool(self._value(key, ("bool_param",), "a boolean"))

    def _value(self, key: str, choices: tuple[str, ...], what: str) -> Any:
        # A map of messages makes an entry of a key that it is asked for.
        if key not in self._values:
            return None
        message = self._values[key]
        choice = message.WhichOneof("parameter_choice")
        if choice not in choices:
            raise errors.InvalidRequest(
                f"{self._where}: parameter {key} is {choice or 'empty'}; it has to be {what} "
                f"({' or '.join(choices)})"
            )
        return getattr(message, choice)


def request_parameters(values: Mapping[str, Any]) -> RequestParameters:
    """Returns what a request's `InferParameter` messages ask for.

    `priority` and `timeout` are those of Triton's schedule policy: 1 is the most urgent, and
    microseconds; its `sequence_*` are ignored, as by every model of Triton's without a state. What
    is unknown is ignored, too.

    Raises:
        InvalidRequest: a value is of the wrong type or out of range, or begins with Triton's
            reserved `triton_` and is none that is known.
    """
    if not values:
        return _NOTHING_ASKED
    for key in values:
        if key.startswith("triton_") and key != _FINAL_RESPONSE:
            raise errors.InvalidRequest(
                f"parameter {key[:100]!r}: names with triton_ are reserved, and only "
                f"{_FINAL_RESPONSE} is known"
            )
    parameters = Parameters(values, "the request")
    timeout = parameters.integer("timeout")
    urgency = parameters.integer("priority", maximum=2**64 - 1) or 1
    fit = parameters.text("image_fit") or Fit.EXACT.value.lower()
    if fit not in _FIT_OF:
        raise errors.InvalidRequest(
            f"parameter image_fit is {fit[:100]!r}; there is {', '.join(_FIT_OF)}"
        )
    return RequestParameters(
        card=parameters.integer("card"),
        label=parameters.text("label"),
        priority=Priority.INTERACTIVE if urgency == 1 else Priority.BULK,
        seconds=min(timeout / 1e6, _LONGEST_SECONDS) if timeout else None,
        fit=_FIT_OF[fit],
        marks_final=parameters.flag(_FINAL_RESPONSE),
    )
