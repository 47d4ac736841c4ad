"""What the exporter service does, without the wire: convert, inspect, list, get, delete."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import structlog

from exporter_service.architectures.architecture import Architecture
from exporter_service.architectures.registry import ARCHITECTURES, find_architecture
from exporter_service.checkpoint_contents import CheckpointContents
from exporter_service.checkpoint_roots import CheckpointRoots
from exporter_service.conversion_order import ConversionOrder, ConversionRequest
from exporter_service.conversion_process import ConversionProcesses, Task
from exporter_service.progress import Progress, Report, Step
from exporter_service.scratch import scratch_folder
from service_kit import errors
from service_kit.artifact_store import ArtifactStore
from service_kit.manifest import Conversion, Manifest

_log = structlog.get_logger(__name__)


class Exporter:
    """Turns checkpoints below the roots into artifacts of the store."""

    def __init__(
        self,
        store: ArtifactStore,
        roots: CheckpointRoots,
        conversions: ConversionProcesses,
        inspections: ConversionProcesses,
    ) -> None:
        """Works with the given store, roots and processes; owns none of them."""
        self._store = store
        self._roots = roots
        self._conversions = conversions
        self._inspections = inspections

    async def convert(
        self, request: ConversionRequest
    ) -> AsyncGenerator[Progress | Manifest, None]:
        """Yields progress and, last, the published manifest.

        Closing the iterator kills the conversion.

        Raises:
            PbserveError: see `ExporterService.ConvertCheckpoint` in the contract.
        """
        events: asyncio.Queue[Progress | None] = asyncio.Queue()
        conversion = asyncio.create_task(self._convert(request, events.put_nowait))
        conversion.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            yield await conversion
        finally:
            conversion.cancel()
            await asyncio.wait([conversion])

    async def _convert(self, request: ConversionRequest, report: Report) -> Manifest:
        order = await asyncio.to_thread(self._order, request)
        # Outside the store: a killed conversion must leave no trace in it.
        with scratch_folder() as folder:
            task = Task("exporter_service.conversion:convert", (order, folder))
            conversion: Conversion = await self._conversions.run(task, report)
            report(Progress(Step.PUBLISH))
            graph = folder / conversion.graph.file_name
            manifest = await self._publish(request, conversion, graph)
        _log.info(
            "published",
            request_id=request.request_id,
            model=manifest.model,
            version=manifest.version,
            sha256=manifest.graph.sha256,
        )
        return manifest

    async def _publish(
        self, request: ConversionRequest, conversion: Conversion, graph: Path
    ) -> Manifest:
        """Publishes, or takes back what was published when the caller is gone meanwhile."""
        publication = asyncio.ensure_future(
            asyncio.to_thread(
                self._store.publish, request.model, conversion, graph, request.version
            )
        )
        try:
            return await asyncio.shield(publication)
        except asyncio.CancelledError:
            # The thread cannot be stopped, and it still reads from the scratch folder.
            with contextlib.suppress(errors.PbserveError):
                unwanted = await publication
                await asyncio.to_thread(self._store.delete, unwanted.model, unwanted.version)
            raise

    def _order(self, request: ConversionRequest) -> ConversionOrder:
        """Refuses at once what needs no TensorFlow to be refused."""
        architecture = find_architecture(request.architecture.name)
        architecture.parse(request.architecture.parameters)
        location = self._roots.locate(request.checkpoint)
        if request.version:
            self._store.check_free(request.model, request.version)
        return ConversionOrder(
            checkpoint=location,
            architecture=request.architecture,
            image_size=request.image_size or architecture.image_size,
            cards=request.cards,
            device_kind=request.device_kind,
            moving_average=request.moving_average,
            preprocessing=request.preprocessing,
        )

    async def inspect(self, checkpoint: str) -> CheckpointContents:
        """Returns what the checkpoint at a path holds.

        Raises:
            PbserveError: see `ExporterService.InspectCheckpoint` in the contract.
        """
        location = await asyncio.to_thread(self._roots.locate, checkpoint)
        task = Task("exporter_service.inspection:inspect_checkpoint", (location,))
        contents: CheckpointContents = await self._inspections.run(task, lambda _: None)
        return contents

    def architectures(self) -> Sequence[Architecture]:
        """Returns all architectures by name."""
        return sorted(ARCHITECTURES.values(), key=lambda architecture: architecture.name)

    async def artifacts(self, model: str) -> tuple[list[Manifest], list[str]]:
        """Returns the manifests of a model, or of all, and what could not be read."""
        return await asyncio.to_thread(self._artifacts, model)

    def _artifacts(self, model: str) -> tuple[list[Manifest], list[str]]:
        manifests, unreadable = [], []
        for name, versions in sorted(self._store.published().items()):
            if model and name != model:
                continue
            for version in sorted(versions):
                try:
                    manifests.append(self._store.manifest(name, version))
                except errors.ArtifactCorrupt as error:
                    unreadable.append(f"{name}/{version}: {error}")
                except errors.ArtifactNotFound:
                    # Deleted since it was listed.
                    continue
        return manifests, unreadable

    async def artifact(self, model: str, version: int) -> Manifest:
        """Returns one manifest; version 0 means the highest.

        Raises:
            ArtifactNotFound: there is none; the message names what exists.
            ArtifactCorrupt: the manifest cannot be read.
        """

        def read() -> Manifest:
            newest = max(self._store.versions(model), default=1)
            return self._store.manifest(model, version or newest)

        return await asyncio.to_thread(read)

    async def delete(self, model: str, version: int) -> None:
        """Removes an artifact.

        Raises:
            ArtifactNotFound: there is none; the message names what exists.
        """
        await asyncio.to_thread(self._store.delete, model, version)
        _log.info("deleted", model=model, version=version)
