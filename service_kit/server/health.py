"""What `grpc.health.v1` says."""

from __future__ import annotations

from grpc_health.v1 import health, health_pb2

OVERALL = ""
# Serving while the process can answer at all, whatever its models do: for liveness probes. No
# model can have the name.
LIVE = "server/live"


class Health:
    """The answers of `grpc.health.v1`: one overall, one a name."""

    def __init__(self) -> None:
        """Begins with everything NOT_SERVING."""
        # The stubs describe the synchronous servicer; this is its asyncio twin.
        self.servicer = health.aio.HealthServicer()
        self._serving: set[str] = set()
        self._stopped = False

    def is_serving(self, name: str) -> bool:
        """Whether `name` is served; what nobody has heard of is not."""
        return name in self._serving

    async def set(self, name: str, *, serving: bool) -> None:
        """Says whether `name` (a model; `OVERALL` for the server) is served."""
        if not self._stopped:
            await self._set(name, serving=serving)

    async def _set(self, name: str, *, serving: bool) -> None:
        if serving:
            self._serving.add(name)
        else:
            self._serving.discard(name)
        statuses = health_pb2.HealthCheckResponse
        await self.servicer.set(name, statuses.SERVING if serving else statuses.NOT_SERVING)

    async def forget(self, name: str) -> None:
        """Makes `name` unknown."""
        self._serving.discard(name)
        await self.servicer.set(name, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)

    async def stop(self) -> None:
        """Says NOT_SERVING for everything but `LIVE`, from now on.

        A process that answers its last calls is alive: a probe must not have it killed.
        """
        self._stopped = True
        for name in self._serving - {LIVE}:
            await self._set(name, serving=False)
