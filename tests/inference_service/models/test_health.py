from __future__ import annotations

from typing import Any

from grpc_health.v1 import health_pb2

from inference_service.models.health import ModelHealth
from inference_service.models.publication import Publication
from inference_service.models.registry import Loaded, Registry
from service_kit import errors
from service_kit.server.health import Health
from tests.support.servables import mean_servable


class Call:
    """The context of a call that ends with NOT_FOUND for a name that was never told."""

    async def abort(self, code: Any) -> None:
        raise LookupError(code)


class Told:
    """A registry and what the health service says of it."""

    def __init__(self) -> None:
        self.labels: dict[str, int] = {}
        self.registry, self.health = Registry(lambda _: self.labels), Health()
        self.model_health = ModelHealth(self.health)

    async def says(self, name: str) -> str:
        await self.model_health.tell(self.registry)
        check: Any = self.health.servicer.Check
        try:
            answer = await check(health_pb2.HealthCheckRequest(service=name), Call())
        except LookupError:
            return "SERVICE_UNKNOWN"
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


async def test_a_model_without_a_version_that_answers_is_not_serving() -> None:
    told = Told()
    assert await told.says("m") == "SERVICE_UNKNOWN"
    told.registry.loads.fail(Publication("m", 1, "a"), errors.ArtifactCorrupt("x"))
    assert await told.says("m") == "NOT_SERVING"
    told.registry.install(Loaded(mean_servable(cards=2), "a"))
    assert await told.says("m") == "SERVING"
    assert await told.says("m/card/1") == "SERVING"
    assert await told.says("m/card/2") == "SERVICE_UNKNOWN"
    told.registry.withdraw("m", 1)
    assert await told.says("m/card/1") == "SERVICE_UNKNOWN"


async def test_cards_are_those_of_the_version_that_answers_by_default() -> None:
    told = Told()
    told.registry.install(Loaded(mean_servable(version=1, cards=3), "a"))
    told.registry.install(Loaded(mean_servable(version=2, cards=1), "b"))
    assert await told.says("m/card/2") == "SERVICE_UNKNOWN"
    told.labels["default"] = 1
    assert await told.says("m/card/2") == "SERVING"
