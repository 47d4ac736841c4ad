"""What the exporter service does, without the wire: convert, adopt, verify, inspect, list."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from exporter_service.architectures.description import ArchitectureDescription, describe
from exporter_service.architectures.entry_points import plugin_names
from exporter_service.architectures.registry import check_spec, class_count, own_architectures
from exporter_service.checkpoints.contents import CheckpointContents
from exporter_service.checkpoints.roots import CheckpointRoots
from exporter_service.meta_graph.reading.parameters import (
    MetaGraphParameters,
    parse_frozen_parameters,
    parse_parameters,
)
from exporter_service.service.artifact_pages import ArtifactPage, read_page
from exporter_service.service.shared_runs import SharedRuns, used_for_another
from exporter_service.specs.conversion import (
    AdoptionRequest,
    AdoptionSpec,
    ConversionRequest,
    ConversionSpec,
    spec_of,
)
from exporter_service.specs.names import META_GRAPH
from exporter_service.specs.progress import Progress, Report, Step
from exporter_service.telemetry.timing import ConversionWatch
from exporter_service.workers.pool import ConversionProcesses, Task
from exporter_service.workers.scratch import scratch_folder
from service_kit import errors
from service_kit.artifacts.class_labels import problem_of_count
from service_kit.artifacts.manifest import Conversion, Manifest, ParityReport
from service_kit.store.artifact_store import ArtifactStore

_log = structlog.get_logger(__name__)
_PROVE = "exporter_service.parity.proof:prove"
_TRAINING_GRAPH = ArchitectureDescription(
    name=META_GRAPH,
    summary="The checkpoint's own training graph, from its .meta, switched to inference.",
    parameter_schema=MetaGraphParameters.model_json_schema(),
)


@dataclass(frozen=True, slots=True)
class _Publication:
    """Where and for whom an artifact is published."""

    model: str
    version: int | None
    request_id: str = ""
    request_sha256: str = ""


class Exporter:
    """Turns checkpoints below the roots into artifacts of the store."""

    def __init__(
        self,
        store: ArtifactStore,
        roots: CheckpointRoots,
        conversions: ConversionProcesses,
        inspections: ConversionProcesses,
        watch: ConversionWatch | None = None,
    ) -> None:
        """Works with the given store, roots and processes; owns none of them.

        `watch` times conversions; None: nobody wants to know.
        """
        self._watch = watch or ConversionWatch()
        self._store = store
        self._roots = roots
        self._conversions = conversions
        self._inspections = inspections
        self._runs = SharedRuns()

    async def convert(
        self, request: ConversionRequest
    ) -> AsyncGenerator[Progress | Manifest, None]:
        """Yields progress and, last, the published manifest.

        A request whose id has been seen joins the conversion that runs, or is answered with
        what it published. Closing the iterator kills a conversion that nobody else follows.

        Raises:
            PbserveError: see `ExporterService.ConvertCheckpoint` in the contract.
        """
        digest = request.digest if request.request_id else ""
        published = await self._find_published(request, digest)
        if published is not None:
            yield published
            return
        events = self._runs.follow(
            request.request_id, digest, lambda report: self._convert(request, digest, report)
        )
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()

    async def _find_published(self, request: ConversionRequest, digest: str) -> Manifest | None:
        """Returns what an earlier try of the request published."""
        if not request.request_id:
            return None
        found = await asyncio.to_thread(self._store.requested, request.model, request.request_id)
        if found is not None and found.request_sha256 != digest:
            raise used_for_another(request.request_id)
        return found

    async def _convert(self, request: ConversionRequest, digest: str, report: Report) -> Manifest:
        with self._watch.over("convert", request.model, report) as watched:
            spec = await asyncio.to_thread(self._spec, request)
            place = _Publication(request.model, request.version, request.request_id, digest)
            return await self._prove_and_publish(
                lambda folder: Task("exporter_service.conversion.convert:convert", (spec, folder)),
                place,
                watched,
            )

    async def adopt(self, request: AdoptionRequest) -> Manifest:
        """Finds a frozen graph's towers, proves it against itself, and publishes it.

        Raises:
            PbserveError: see `ExporterService.AdoptGraph` in the contract.
        """
        with self._watch.over("adopt", request.model, lambda _: None) as watched:
            parse_frozen_parameters(request.parameters)
            for one in request.formats:
                one.check_installed()
            graph = await asyncio.to_thread(self._roots.locate_file, request.graph)
            if request.version:
                await asyncio.to_thread(self._store.check_free, request.model, request.version)
            spec = AdoptionSpec(graph, request, self._roots.shown(graph))
            return await self._prove_and_publish(
                lambda folder: Task("exporter_service.conversion.adopt:adopt", (spec, folder)),
                _Publication(request.model, request.version),
                watched,
            )

    async def verify(self, model: str, version: int) -> ParityReport:
        """Runs the proof of a published artifact again; version 0 means the highest.

        Raises:
            PbserveError: see `ExporterService.VerifyArtifact` in the contract.
        """
        manifest = await self.artifact(model, version)
        # Copied only when its turn has come: many copies would fill the disk.
        async with self._inspections.place(lambda _: None) as run:
            with scratch_folder() as folder:
                await asyncio.to_thread(self._store.fetch, manifest, folder)
                report: ParityReport = await run(Task(_PROVE, (manifest, folder)))
        return report

    async def _prove_and_publish(
        self, task: Callable[[Path], Task], place: _Publication, report: Report
    ) -> Manifest:
        """Runs a task that writes a graph, proves its file in a fresh process, and publishes."""
        # Outside the store: a killed conversion must leave no trace in it.
        with scratch_folder() as folder:
            async with self._conversions.place(report) as run:
                conversion: Conversion = await run(task(folder))
                proven: ParityReport = await run(Task(_PROVE, (conversion, folder)))
            report(Progress(Step.PUBLISH))
            whole = replace(
                conversion,
                parity=proven,
                request_id=place.request_id,
                request_sha256=place.request_sha256,
            )
            manifest = await self._publish(place, whole, folder / whole.graph.file_name)
        _log.info(
            "published",
            request_id=place.request_id,
            model=manifest.model,
            version=manifest.version,
            sha256=manifest.graph.sha256,
        )
        return manifest

    async def _publish(self, place: _Publication, conversion: Conversion, graph: Path) -> Manifest:
        """Publishes, or takes back what was published when the caller is gone meanwhile."""
        publication = asyncio.ensure_future(
            asyncio.to_thread(self._store.publish, place.model, conversion, graph, place.version)
        )
        try:
            return await asyncio.shield(publication)
        except asyncio.CancelledError:
            # The thread cannot be stopped, and it still reads from the scratch folder.
            with contextlib.suppress(errors.PbserveError):
                unwanted = await publication
                await asyncio.to_thread(self._store.delete, unwanted.model, unwanted.version)
            raise

    def _spec(self, request: ConversionRequest) -> ConversionSpec:
        """Refuses at once what needs no TensorFlow to be refused."""
        if request.architecture.name == META_GRAPH:
            parse_parameters(request.architecture.parameters)
        else:
            check_spec(request.architecture)
            _check_label_count(request)
        for one in request.formats:
            one.check_installed()
        location = self._roots.locate(request.checkpoint)
        if request.version:
            self._store.check_free(request.model, request.version)
        return spec_of(request, location)

    async def inspect(self, checkpoint: str) -> CheckpointContents:
        """Returns what the checkpoint at a path holds, its training graph included.

        Raises:
            PbserveError: see `ExporterService.InspectCheckpoint` in the contract.
        """
        location = await asyncio.to_thread(self._roots.locate, checkpoint)
        task = Task("exporter_service.conversion.inspect:inspect_checkpoint", (location,))
        contents: CheckpointContents = await self._inspections.run(task, lambda _: None)
        return contents

    async def architectures(self) -> list[ArchitectureDescription]:
        """Returns all architectures by name, and what is wrong with plug-ins that do not load."""
        found = [describe(architecture) for architecture in own_architectures()]
        found.append(_TRAINING_GRAPH)
        if plugin_names():
            task = Task("exporter_service.architectures.plugin_descriptions:describe_plugins", ())
            found += await self._inspections.run(task, lambda _: None)
        return sorted(found, key=lambda one: one.name)

    async def artifacts(self, model: str = "", token: str = "", size: int = 0) -> ArtifactPage:
        """Returns manifests; see `read_page`, whose errors it raises."""
        return await asyncio.to_thread(read_page, self._store, model, token, size)

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


def _check_label_count(request: ConversionRequest) -> None:
    """Refuses labels that are not as many as the classes, where these are known on paper."""
    classes = class_count(request.architecture)
    if not request.class_labels or classes is None:
        return
    problem = problem_of_count(len(request.class_labels), classes, request.architecture.name)
    if problem:
        raise errors.Unconvertible(
            f"{problem}: give one label a class, or the parameter `classes` that the checkpoint has"
        )
