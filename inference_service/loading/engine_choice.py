"""Which engine runs a version: those that may are tried in order, and checked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from inference_service.engine import Engine, EngineCard, EngineReport, Engines
from inference_service.engine.choice_rule import Candidate, candidates
from inference_service.engine.devices import Device, DeviceRequest, Placement, resolve_devices
from inference_service.engine.engine_settings import EngineSettings
from inference_service.engine.gpu_files import may_have_gpus
from inference_service.engine.installed import AUTO, INSTALL, TENSORFLOW, InstalledEngine
from inference_service.loading.engine_parity import check_answers
from inference_service.loading.malloc_trim import give_back
from inference_service.loading.rules import LoadOptions
from inference_service.loading.thread_priority import at_low_priority
from service_kit import errors
from service_kit.artifacts.manifest import Manifest, ParityReport
from service_kit.artifacts.proof_file import Proof, check_proof

_log = structlog.get_logger(__name__)
# Of a choice of one: nobody has to know it.
_GIVEN = ""


@dataclass(frozen=True, slots=True)
class ArtifactToLoad:
    """What engines are given: a verified graph, where its cards run, and its stored answers.

    `proof` reads what the artifact has; None: an earlier release has published it, without.
    """

    manifest: Manifest
    graph: bytes
    placements: tuple[Placement, ...]
    proof: Callable[[], Proof | None]


class EngineChoice:
    """Loads each version with the first engine that may run it and answers as it should."""

    def __init__(
        self,
        asked: str,
        settings: EngineSettings,
        installed: Mapping[str, InstalledEngine],
        *,
        gpus: Callable[[], bool] = may_have_gpus,
    ) -> None:
        """Makes no engine yet.

        Args:
            asked: the name of an engine that is installed, or `auto`.
            settings: for every engine.
            installed: engines by name.
            gpus: whether it is worth to ask TensorFlow for GPUs.

        Raises:
            InvalidRequest: no engine is installed.
        """
        if not installed:
            raise errors.InvalidRequest(f"{INSTALL}; there is no engine here")
        self._asked = asked
        self._settings = settings
        self._installed = installed
        self._gpus = gpus
        self._making = threading.Lock()
        self._made: dict[str, Engines] = {}

    @classmethod
    def only(cls, engines: Engines) -> EngineChoice:
        """Returns the choice of these engines, which are not checked."""
        given = InstalledEngine(_GIVEN, "", lambda _: engines)
        return cls(_GIVEN, EngineSettings(DeviceRequest(), 1), {_GIVEN: given})

    def devices(self) -> Sequence[Device]:
        """Returns the devices that cards run on; may take seconds. See `Engines.devices`."""
        if self._asked != AUTO:
            return self._engines(self._asked).devices()
        request = self._settings.request
        on_gpus = any(device.kind == "gpu" for device in request.devices)
        if TENSORFLOW in self._installed and (on_gpus or (request.auto and self._gpus())):
            return self._engines(TENSORFLOW).devices()
        return resolve_devices(request, 0, self._settings.cores)

    def load(self, artifact: ArtifactToLoad, options: LoadOptions) -> tuple[Engine, EngineReport]:
        """Returns an engine with the graph, and what it is. Blocks.

        Raises:
            EngineFailed: the last engine that may run it cannot load or run the graph.
            EngineUnfit: it can, and does not answer as it should.
            GraphRefused: an op is not allowed.
        """
        on_gpus = any(one.device.kind == "gpu" for one in artifact.placements)
        tried = candidates(
            self._asked, self._installed, on_gpus=on_gpus, precision=options.precision
        )
        if not tried:
            raise errors.EngineUnfit(f"{INSTALL}; what is here cannot run it on these devices")
        refusal = ""
        for candidate in tried[:-1]:
            try:
                return self._load(candidate, artifact, options, is_last=False)
            except (errors.EngineFailed, errors.EngineUnfit) as error:
                refusal = f"{candidate.name} cannot: {error}"
                give_back()
        last = tried[-1]
        if refusal:
            last = Candidate(last.name, refusal)
        return self._load(last, artifact, options, is_last=True)

    def _load(
        self, candidate: Candidate, artifact: ArtifactToLoad, options: LoadOptions, *, is_last: bool
    ) -> tuple[Engine, EngineReport]:
        name = candidate.name
        checked = name not in (TENSORFLOW, _GIVEN)
        manifest = artifact.manifest
        try:
            proof = _usable_proof(artifact, has_another=not is_last) if checked else None
            engine = self._engines(name).load(
                artifact.graph,
                [
                    EngineCard(manifest.towers[p.tower], p.device, options.precision)
                    for p in artifact.placements
                ],
            )
            parity = _checked(engine, name, artifact, proof, options) if proof else None
        except (errors.EngineFailed, errors.EngineUnfit) as error:
            if not (checked and is_last):
                raise
            # Of the same class: a failure may pass, and is tried again.
            raise type(error)(
                "convert the artifact again, or serve it with --engine tensorflow "
                f"(pip install 'pbserve[server]'): {name} cannot: {error}"
            ) from error
        report = EngineReport(
            name, self._installed[name].version, candidate.reason, options.precision, parity
        )
        _log.info(
            "engine_chosen",
            model=manifest.model,
            version=manifest.version,
            engine=name,
            reason=candidate.reason,
            precision=options.precision.value,
            worst_difference=parity.worst if parity else None,
        )
        return engine, report

    def _engines(self, name: str) -> Engines:
        with self._making:
            if name not in self._made:
                self._made[name] = self._installed[name].make(self._settings)
            return self._made[name]


def _usable_proof(artifact: ArtifactToLoad, *, has_another: bool) -> Proof:
    """Returns the stored answers that an engine can be compared with.

    Raises:
        EngineUnfit: there are none, or another engine can find out what they do not tell.
    """
    manifest = artifact.manifest
    proof = artifact.proof()
    if proof is None:
        raise errors.EngineUnfit("the artifact has no stored answers to compare its own with")
    check_proof(proof, manifest.towers)
    if proof.behind:
        raise errors.EngineUnfit("the graph's answers are random, so that nothing can be compared")
    if has_another and not (manifest.rows_proven or manifest.unbatched):
        raise errors.EngineUnfit("the artifact has no proof that its outputs have a row an image")
    return proof


def _checked(
    engine: Engine, name: str, artifact: ArtifactToLoad, proof: Proof, options: LoadOptions
) -> ParityReport:
    manifest, placements = artifact.manifest, artifact.placements
    tolerance = manifest.parity.tolerance
    if options.precision_tolerance is not None:
        tolerance = options.precision_tolerance
    try:
        # Here, and not below: threads that are made while a card is prepared stay, and would keep
        # the priority of who made them.
        for placement in placements:
            engine.prepare(placement.card)
        return at_low_priority(
            lambda: check_answers(engine, name, manifest, placements, proof, tolerance)
        )
    except BaseException:
        engine.close()
        raise
