"""The proof: the stored file, in a fresh process, against everything it should equal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from exporter_service.formats.extra_format import ExtraFormat
from exporter_service.graphs.session import reason, session_config
from exporter_service.parity.company import compare_alone
from exporter_service.parity.comparison import answers, compared, label_of
from exporter_service.parity.proof_file import PROOF_NAME, Proof, check_proof, read_proof
from exporter_service.parity.served_proof import load_as_served, prove_served
from exporter_service.specs.progress import Progress, Report, Step
from service_kit import errors
from service_kit.artifacts.digest import sha256_of
from service_kit.artifacts.manifest import (
    ArtifactFileKind,
    CheckpointFormat,
    Conversion,
    ParityComparison,
    ParityReport,
)

_FORMATS = {
    ArtifactFileKind.SAVED_MODEL: ExtraFormat.SAVED_MODEL,
    ArtifactFileKind.ONNX: ExtraFormat.ONNX,
}


def prove(conversion: Conversion, folder: Path, report: Report) -> ParityReport:
    """Runs the graph file and its other formats, and compares their answers.

    The frozen graph is compared with the session before freezing, every tower with tower 0, a
    batch with its elements one by one (batch statistics would show), an answer with itself
    (randomness would show), and with the evaluation copy in the training graph if there was one.
    Before that the file is loaded and run as the inference service does it.

    Args:
        conversion: what was written; of its parity only the tolerance is read.
        folder: holds the files.
        report: is told when the check begins.

    Raises:
        ParityFailed: a difference is beyond what is allowed, or not a number.
        Unconvertible: the graph cannot be run.
        ArtifactCorrupt: the files are not those that the conversion wrote.
    """
    report(Progress(Step.CHECK, f"{conversion.graph.node_count} nodes"))
    path = folder / conversion.graph.file_name
    _check_files(conversion, folder)
    proof = read_proof(folder / PROOF_NAME)
    check_proof(proof, conversion.towers)
    probes = () if proof.behind else tuple(proof.probes.values())
    definition = _parse(path)
    served = load_as_served(conversion, definition)
    share = conversion.parity.tolerance
    comparisons: list[ParityComparison] = []
    config = session_config(as_written=served.graph)
    with tf.Session(graph=served.graph, config=config) as session:
        rows = prove_served(session, served, probes, conversion)
    # Random numbers begin anew, as they did in the session that is compared with.
    with tf.Session(graph=served.graph, config=config) as session:
        for name in proof.probes:
            comparisons.extend(_compare(session, conversion, proof, name, share))
    for file in conversion.files:
        if file.kind in _FORMATS:
            comparisons.extend(_format(_FORMATS[file.kind], conversion, folder, proof, share))
    checked = ParityReport(
        tuple(comparisons),
        share,
        tuple(_left_out(conversion, proof)),
        rows.by_inference,
        rows.by_runs,
    )
    if not checked.passed:
        raise errors.ParityFailed(_failure(checked))
    return checked


def _parse(path: Path) -> Any:
    try:
        return tf.GraphDef.FromString(path.read_bytes())
    # protobuf's DecodeError differs between its implementations.
    except Exception as error:
        raise errors.ArtifactCorrupt(f"{path.name} is no graph: {error}") from error


def _compare(
    session: Any, conversion: Conversion, proof: Proof, name: str, share: float
) -> Iterator[ParityComparison]:
    towers, probe = conversion.towers, proof.probes[name]
    found = _run(answers, session, towers, probe, proof.behind, name=name)
    for tower, outputs, wanted in zip(towers, found, proof.answers[name], strict=True):
        label = label_of(tower)
        yield compared(f"{label} with {_reference(conversion)}", name, outputs, wanted, share)
        if tower.index:
            yield compared(f"{label} with {label_of(towers[0])}", name, outputs, found[0], share)
    if len(next(iter(probe.values()))) > 1 and not conversion.varies:
        again = _run(answers, session, towers, probe, proof.behind, name=name)
        for tower, outputs, repeated in zip(towers, found, again, strict=True):
            yield compared(f"{label_of(tower)} with itself", name, repeated, outputs, share)
        if not (conversion.batch_matters or conversion.unbatched):
            yield from _run(compare_alone, session, conversion, proof, name, found, name=name)
    if name in proof.evaluation_copy:
        subject = f"{label_of(towers[0])} with the evaluation copy"
        yield compared(subject, name, found[0], proof.evaluation_copy[name], share)


def _run(function: Any, *arguments: Any, name: str) -> Any:
    try:
        return function(*arguments)
    except (tf.errors.OpError, ValueError, TypeError) as error:
        raise errors.Unconvertible(
            f"the frozen graph cannot be run on the probe {name!r} of the check: {reason(error)}; "
            "a graph that is made for one size of batch or of image fails so: choose outputs "
            "before the node that is named"
        ) from error


def _format(
    kind: ExtraFormat, conversion: Conversion, folder: Path, proof: Proof, share: float
) -> Iterator[ParityComparison]:
    if proof.behind:
        return
    if not (folder / kind.file_name).is_file():
        raise errors.ArtifactCorrupt(f"{kind.file_name} is not among the artifact's files")
    for name, probe in proof.probes.items():
        try:
            found = kind.answers(folder, conversion.towers, probe)
        except errors.PbserveError:
            raise
        # Each runtime raises classes of its own for a file that it cannot read.
        except Exception as error:
            raise errors.ArtifactCorrupt(
                f"{kind.file_name} cannot be loaded: {reason(error)}"
            ) from error
        for index, outputs in enumerate(found):
            label = f"{kind.value} of {label_of(conversion.towers[index])}"
            subject = f"{label} with {_reference(conversion)}"
            yield compared(subject, name, outputs, proof.answers[name][index], share)


def _check_files(conversion: Conversion, folder: Path) -> None:
    for file in conversion.all_files:
        path = folder / file.file_name
        if not path.is_file() or sha256_of(path) != file.sha256:
            raise errors.ArtifactCorrupt(
                f"{file.file_name} is not the file that was written: convert again"
            )


def _left_out(conversion: Conversion, proof: Proof) -> Iterator[str]:
    if proof.behind:
        yield (
            "the augmentation: its answers are random by design; everything behind it was compared"
        )
        if any(file.kind in _FORMATS for file in conversion.files):
            yield "the other formats, which cannot be fed behind the augmentation"
    if conversion.varies:
        yield (
            "answers with themselves: dropouts were kept as asked, and answers vary; with equal "
            "random numbers everything else was compared"
        )
    elif conversion.batch_matters:
        yield "a batch with its elements: batch statistics were kept as asked"
    if conversion.unbatched:
        yield "a batch with its elements: outputs are answered whole, as asked"


def _reference(conversion: Conversion) -> str:
    """Returns where the answers in the proof come from."""
    adopted = conversion.checkpoint.format is CheckpointFormat.FROZEN_GRAPH
    return "a first run" if adopted else "session"


def _failure(report: ParityReport) -> str:
    failed: Sequence[ParityComparison] = [one for one in report.comparisons if not one.passed]
    if not failed:
        return "nothing could be compared"
    # The reason, and not what follows from it.
    told = [one for word in ("itself", "company") for one in failed if one.subject.endswith(word)]
    worst = max(
        told[:1] or failed,
        key=lambda one: np.nan_to_num(one.max_absolute_difference, nan=np.inf),
    )
    reasons: Mapping[str, str] = {
        "alone": "answers depend on the size of the batch",
        "company": "answers depend on the other elements of a batch, as with batch statistics",
        "itself": "answers are random",
        "copy": "the switched net differs from the evaluation copy in the training graph; set "
        "compare_twin to false if the two are meant to differ",
    }
    last = worst.subject.rpartition(" ")[2]
    why = f": {reasons[last]}" if last in reasons else ""
    if np.isnan(worst.max_absolute_difference):
        why = ": an answer is not a number (NaN), as with a variance below 0 or a logarithm of 0"
    return (
        f"the frozen graph's numbers differ: {worst.subject} on {worst.probe} by "
        f"{worst.max_absolute_difference:g}, allowed are {worst.allowed_difference:g}{why}"
    )
