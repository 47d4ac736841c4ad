"""Everything that an inference server counts, in one place."""

from __future__ import annotations

from inference_service.core import Core
from inference_service.hot_load_counts import HotLoadCounts
from inference_service.metrics.card_metrics import CardMetrics
from inference_service.metrics.model_metrics import ModelMetrics
from inference_service.metrics.request_metrics import RequestMetrics
from inference_service.registry import Registry
from inference_service.rpc_roles import RPC_ROLES
from service_kit.call_counts import CallCounts
from service_kit.health import OVERALL
from service_kit.metrics_page import MetricsPage
from service_kit.roles import ALWAYS_OPEN, REFLECTION


class ServerMetrics:
    """Is told of calls and requests, and reads the rest where it is kept.

    Attributes:
        calls: has to be told of each call.
        requests: has to be told of each request.
    """

    def __init__(self, registry: Registry) -> None:
        """Counts for what `registry` serves."""
        self._registry = registry
        self.calls = CallCounts("pbserve", {*RPC_ROLES, *ALWAYS_OPEN, *REFLECTION})
        self.requests = RequestMetrics(registry.versions)

    def page(self, core: Core, counts: HotLoadCounts) -> MetricsPage:
        """Returns what shows everything; `counts` are those of the hot loader."""
        return MetricsPage(
            "pbserve",
            [
                self.calls,
                self.requests,
                CardMetrics(self._registry),
                ModelMetrics(self._registry, counts, core.problems),
            ],
            ready=lambda: core.health.is_serving(OVERALL),
        )
