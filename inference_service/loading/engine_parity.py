"""An engine's answers against those that lie with the artifact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from inference_service.engine import Engine
from inference_service.engine.devices import Placement
from service_kit import errors
from service_kit.artifacts.comparison import compared
from service_kit.artifacts.manifest import Manifest, ParityComparison, ParityReport
from service_kit.artifacts.proof_file import Proof


def check_answers(
    engine: Engine,
    name: str,
    manifest: Manifest,
    placements: Sequence[Placement],
    proof: Proof,
    tolerance: float,
) -> ParityReport:
    """Prepares every card, and compares what each different call answers on every probe.

    Args:
        engine: just loaded.
        name: of the engine, for the report.
        manifest: of the artifact.
        placements: cards and their towers.
        proof: probes and answers, of this artifact.
        tolerance: share of an answer's largest magnitude (at least 1) that may differ.

    Raises:
        EngineFailed: it cannot run a probe.
        EngineUnfit: a difference is beyond what is allowed, or not a number.
    """
    report = ParityReport(
        tuple(_compare(engine, name, manifest, placements, proof, tolerance)), tolerance
    )
    failed = [one for one in report.comparisons if not one.passed]
    if failed:
        worst = failed[0]
        raise errors.EngineUnfit(
            f"its answers differ from those stored with the artifact: {worst.subject} on "
            f"{worst.probe} by {worst.max_absolute_difference:g}, allowed are "
            f"{worst.allowed_difference:g}"
        )
    return report


def _compare(
    engine: Engine,
    name: str,
    manifest: Manifest,
    placements: Sequence[Placement],
    proof: Proof,
    tolerance: float,
) -> Iterator[ParityComparison]:
    seen = set()
    for placement in placements:
        call = engine.prepare(placement.card)
        if call in seen:
            continue
        seen.add(call)
        tower = manifest.towers[placement.tower]
        subject = f"{tower.scope or 'frozen graph'} on {name} with the stored answers"
        for probe, batch in proof.probes.items():
            found = engine.run(placement.card, batch)
            wanted = proof.answers[probe][placement.tower]
            yield compared(subject, probe, found, wanted, tolerance)
