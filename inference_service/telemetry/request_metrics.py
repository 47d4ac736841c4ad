"""Requests by where they came from, what answered them and how they ended, and their times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping

import grpc
from prometheus_client.core import Metric

from inference_service.cards.card_answer import slowest
from inference_service.prediction.outcome import RequestOutcome
from inference_service.protocols.rpc_roles import RPC_ROLES
from service_kit import errors, status
from service_kit.telemetry.current_call import current_call
from service_kit.telemetry.histogram import SECONDS, Histogram
from service_kit.telemetry.metric import MetricName

_PROTOCOLS: Mapping[str, str] = {
    "pbserve": "pbserve",
    "inference": "open_inference",
    "tensorflow": "tensorflow_serving",
}
# What is no rpc is the status page's form.
_PAGE = ("status_page", "predict")
# Of a request that several cards answered.
_SEVERAL = "several"
# What every version has a count of from its load on, even if 0: how a call of our own may end that
# rules and panels ask for. A series that begins with its first error hides that one from `rate`.
_ALWAYS = (
    grpc.StatusCode.OK,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNKNOWN,
)
_OURS = "/pbserve.inference.v1.InferenceService/Predict"

_VERSION = ("model", "version")
_REQUESTS = MetricName(
    "pbserve_requests_total",
    "counter",
    ("protocol", "method", *_VERSION, "card", "code"),
    "Requests that have ended, those inside streams one by one; model, version and card are empty "
    "where there was none.",
)
_IMAGES = MetricName("pbserve_images_total", "counter", _VERSION, "Images that were answered.")
_TIMES = {
    "whole": MetricName(
        "pbserve_request_seconds",
        "histogram",
        _VERSION,
        "Seconds from a request's arrival to its answer, decoding of images included.",
    ),
    "queue": MetricName(
        "pbserve_queue_seconds",
        "histogram",
        _VERSION,
        "Seconds that an answered request waited for its first batch.",
    ),
    "batch": MetricName(
        "pbserve_batch_seconds",
        "histogram",
        _VERSION,
        "Seconds that an answered request's batches took beside the engine: stacking inputs, "
        "checking outputs.",
    ),
    "compute": MetricName(
        "pbserve_compute_seconds",
        "histogram",
        _VERSION,
        "Seconds that the engine ran an answered request's batches.",
    ),
}

# Once: an enumeration's names are computed.
_OK = grpc.StatusCode.OK.name
# Model and version.
_Key = tuple[str, int]


class _VersionCounts:
    """Of one version."""

    __slots__ = ("images", "requests", "times")

    def __init__(self) -> None:
        # By (full method, card, code).
        self.requests: Counter[tuple[str, str, str]] = Counter(
            {(_OURS, "", code.name): 0 for code in _ALWAYS}
        )
        self.images = 0
        self.times = {name: Histogram(SECONDS) for name in _TIMES}


class RequestMetrics:
    """Is told of requests at their end, see `Predictor`. Belongs to the event loop.

    Names get into labels only once they were found: what callers ask for in vain is counted
    without its name.
    """

    def __init__(self, versions: Callable[[], Collection[_Key]]) -> None:
        """Counts for what `versions` returns, and forgets what is not in it any more."""
        self._versions = versions
        self._counts: dict[_Key, _VersionCounts] = {}
        # Those that found no version, by (full method, code).
        self._lost: Counter[tuple[str, str]] = Counter()

    def __call__(self, outcome: RequestOutcome) -> None:
        """Counts a request."""
        method = current_call.get().method
        code = _OK if outcome.error is None else _code(outcome.error, outcome.expired).name
        if not outcome.version:
            self._lost[method, code] += 1
            return
        key = (outcome.model, outcome.version)
        counts = self._counts.get(key)
        if counts is None:
            # So that they go even where nobody scrapes.
            self._forget_gone(key)
            counts = self._counts[key] = _VersionCounts()
        shares = outcome.shares
        counts.requests[method, _card(outcome), code] += 1
        if outcome.error is None and shares:
            counts.images += outcome.images
            times = counts.times
            longest = slowest(shares)
            times["whole"].add(outcome.seconds)
            times["queue"].add(longest.queue_seconds)
            times["batch"].add(longest.input_seconds + longest.output_seconds)
            times["compute"].add(longest.compute_seconds)

    def collect(self) -> Iterator[Metric]:
        """See `Measured`."""
        self._forget_gone()
        for key in self._versions():
            # One that nobody has asked for yet has its zeros, and a scaler its answer.
            self._counts.setdefault(key, _VersionCounts())
        found = [
            ((model, str(version)), counts) for (model, version), counts in self._counts.items()
        ]
        yield _REQUESTS.family(
            [
                *(
                    ((*_origin(method), *version, card, code), number)
                    for version, counts in found
                    for (method, card, code), number in counts.requests.items()
                ),
                *(
                    ((*_origin(method), "", "", "", code), number)
                    for (method, code), number in self._lost.items()
                ),
            ]
        )
        yield _IMAGES.family((version, counts.images) for version, counts in found)
        for name, metric in _TIMES.items():
            yield metric.family((version, counts.times[name]) for version, counts in found)

    def _forget_gone(self, *new: _Key) -> None:
        for key in self._counts.keys() - {*self._versions(), *new}:
            del self._counts[key]


def _code(error: BaseException, expired: bool) -> grpc.StatusCode:  # noqa: FBT001
    if isinstance(error, errors.PbserveError):
        return status.code_of(error)
    if isinstance(error, Exception):
        return grpc.StatusCode.INTERNAL
    # Cancelled: by the caller, or by gRPC when the deadline had passed.
    return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED


def _card(outcome: RequestOutcome) -> str:
    if len(outcome.shares) > 1:
        return _SEVERAL
    if outcome.shares:
        return str(outcome.shares[0].card)
    return "" if outcome.card is None else str(outcome.card)


def _origin(method: str) -> tuple[str, str]:
    """Returns protocol and method as labels."""
    if method not in RPC_ROLES:
        return _PAGE
    service, _, name = method.removeprefix("/").partition("/")
    return _PROTOCOLS[service.partition(".")[0]], name
