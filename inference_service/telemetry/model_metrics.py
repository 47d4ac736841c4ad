"""Models and their versions: states, loads, swaps, and the store that they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import Metric

from inference_service.loading.counts import HotLoadCounts
from inference_service.loading.store_watch import Problems
from inference_service.models.registry import Registry
from inference_service.models.status import State
from service_kit.telemetry.metric import MetricName

_STATE = MetricName(
    "pbserve_version_state",
    "gauge",
    ("model", "version", "state"),
    "1 for the state that a version is in (LOADING, AVAILABLE, UNLOADING, FAILED), 0 for the "
    "others.",
)
_DEFAULT = MetricName(
    "pbserve_default_version",
    "gauge",
    ("model",),
    "Version that answers who names none; 0: none does.",
)
_LEASES = MetricName(
    "pbserve_version_leases", "gauge", ("model", "version"), "Requests that have the version now."
)
_LOADS = MetricName(
    "pbserve_loads_total",
    "counter",
    ("model", "result"),
    "Loads that have ended: OK, or the reason of the failure.",
)
_LOAD_SECONDS = MetricName(
    "pbserve_load_seconds",
    "histogram",
    ("model",),
    "Seconds to read, verify, import and warm a version.",
)
_SWAP_SECONDS = MetricName(
    "pbserve_swap_seconds",
    "histogram",
    ("model",),
    "Seconds from when the server wanted a version until requests got it.",
)
_POLLS = MetricName("pbserve_store_polls_total", "counter", (), "Looks at the store.")
_POLL_ERRORS = MetricName(
    "pbserve_store_poll_errors_total", "counter", (), "Looks that did not reach the store."
)
_POLL_SECONDS = MetricName(
    "pbserve_store_poll_seconds", "histogram", (), "Seconds that a look at the store took."
)
_REACHABLE = MetricName(
    "pbserve_store_reachable", "gauge", (), "1 if the last look reached the store, else 0."
)
_MODELS_FILE = MetricName(
    "pbserve_models_file_valid",
    "gauge",
    (),
    "0 while the models file cannot be read or is bad, and what it said before holds; else 1.",
)


class ModelMetrics:
    """Reads what registry and hot loader know. Belongs to the event loop."""

    def __init__(
        self, registry: Registry, counts: HotLoadCounts, problems: Callable[[], Problems]
    ) -> None:
        """Reads the given parts."""
        self._registry = registry
        self._counts = counts
        self._problems = problems

    def collect(self) -> Iterator[Metric]:
        """See `Measured`."""
        yield from self._models()
        yield from self._loads()
        yield from self._store()

    def _models(self) -> Iterator[Metric]:
        models = self._registry.statuses()
        versions = [(model.name, version) for model in models for version in model.versions]
        yield _STATE.family(
            ((name, str(version.version), state.value), float(version.state is state))
            for name, version in versions
            for state in State
        )
        yield _DEFAULT.family(((model.name,), model.default_version) for model in models)
        yield _LEASES.family(
            ((name, str(version.version)), version.leases) for name, version in versions
        )

    def _loads(self) -> Iterator[Metric]:
        counts = self._counts
        counts.keep({model.name for model in self._registry.statuses()})
        yield _LOADS.family(counts.loads.items())
        for metric, seconds in (
            (_LOAD_SECONDS, counts.load_seconds),
            (_SWAP_SECONDS, counts.swap_seconds),
        ):
            yield metric.family(((model,), one) for model, one in seconds.items())

    def _store(self) -> Iterator[Metric]:
        problems = self._problems()
        yield _POLLS.family([((), self._counts.looks)])
        yield _POLL_ERRORS.family([((), self._counts.failed_looks)])
        yield _POLL_SECONDS.family([((), self._counts.look_seconds)])
        yield _REACHABLE.family([((), float(not problems.store))])
        yield _MODELS_FILE.family([((), float(not problems.models_file))])
