"""Everything that an inference server counts, in one place."""

from __future__ import annotations

from inference_service.loading.counts import HotLoadCounts
from inference_service.models.registry import Registry
from inference_service.protocols.rpc_roles import RPC_ROLES
from inference_service.protocols.shared.core import Core
from inference_service.telemetry.card_metrics import CardMetrics
from inference_service.telemetry.model_metrics import ModelMetrics
from inference_service.telemetry.request_metrics import RequestMetrics
from service_kit.auth.roles import ALWAYS_OPEN, REFLECTION
from service_kit.http.metrics_page import MetricsPage
from service_kit.server.call_counts import CallCounts
from service_kit.server.health import OVERALL


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
