"""Probes and reference answers, as they travel to a fresh process and stay with the artifact.

NumPy's npz, without pickles. The same content always gives the same bytes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from service_kit import errors
from service_kit.artifacts.manifest import Tower

# Semantic name of an input -> its batch; the same for every tower.
Probe = Mapping[str, npt.NDArray[Any]]
# Output name -> array, for each tower.
Answers = list[dict[str, npt.NDArray[Any]]]
PROOF_NAME = "parity.npz"
# The first words of the names in the file; those in stores keep theirs.
_PROBE, _ANSWER, _EVALUATION_COPY, _BEHIND = "probe", "answer", "twin", "behind"


@dataclass(frozen=True, slots=True)
class Proof:
    """What the frozen graph has to answer.

    Attributes:
        probes: name -> batch by input.
        answers: probe -> outputs by tower, as the restored session gave them.
        evaluation_copy: probe -> outputs of the evaluation copy in the training graph; empty: none.
        behind: tower index -> tensor to feed in place of the input; empty: the input itself.
    """

    probes: Mapping[str, Probe]
    answers: Mapping[str, Answers]
    evaluation_copy: Mapping[str, Mapping[str, npt.NDArray[Any]]] = field(default_factory=dict)
    behind: Mapping[int, str] = field(default_factory=dict)


def write_proof(proof: Proof, folder: Path) -> Path:
    """Writes the file into `folder` and returns its path.

    Raises:
        ScratchUnavailable: it cannot be written.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, probe in proof.probes.items():
        arrays |= {f"{_PROBE}/{name}/{one}": batch for one, batch in probe.items()}
    for name, towers in proof.answers.items():
        for index, outputs in enumerate(towers):
            arrays |= {f"{_ANSWER}/{name}/{index}/{one}": value for one, value in outputs.items()}
    for name, values in proof.evaluation_copy.items():
        arrays |= {f"{_EVALUATION_COPY}/{name}/{one}": value for one, value in values.items()}
    for index, tensor in proof.behind.items():
        arrays[f"{_BEHIND}/{index}"] = np.array(tensor)
    path = folder / PROOF_NAME
    try:
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise errors.ScratchUnavailable(
            f"cannot write {PROOF_NAME} into the temporary folder: {error.strerror}"
        ) from error
    return path


def read_proof(path: Path) -> Proof:
    """Returns the content of the file; raises `ArtifactCorrupt` as `parse_proof`."""
    try:
        with path.open("rb") as file:
            return parse_proof(file)
    except OSError as error:
        raise _no_proof(error) from error


def parse_proof(file: IO[bytes]) -> Proof:
    """Returns the content of an open file.

    Raises:
        ArtifactCorrupt: it is not such a file.
    """
    probes: dict[str, dict[str, npt.NDArray[Any]]] = {}
    answers: dict[str, dict[int, dict[str, npt.NDArray[Any]]]] = {}
    evaluation_copy: dict[str, dict[str, npt.NDArray[Any]]] = {}
    behind: dict[int, str] = {}
    try:
        with np.load(file, allow_pickle=False) as arrays:
            for key in arrays.files:
                kind, name, *rest = key.split("/", 2)
                if kind == _PROBE:
                    probes.setdefault(name, {})[rest[0]] = arrays[key]
                elif kind == _ANSWER:
                    index, _, output = rest[0].partition("/")
                    towers = answers.setdefault(name, {})
                    towers.setdefault(int(index), {})[output] = arrays[key]
                elif kind == _EVALUATION_COPY:
                    evaluation_copy.setdefault(name, {})[rest[0]] = arrays[key]
                elif kind == _BEHIND:
                    behind[int(name)] = str(arrays[key])
        listed = {
            name: [towers[index] for index in range(len(towers))]
            for name, towers in answers.items()
        }
    except (OSError, EOFError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise _no_proof(error) from error
    return Proof(probes, listed, evaluation_copy, behind)


def _no_proof(error: Exception) -> errors.ArtifactCorrupt:
    return errors.ArtifactCorrupt(f"{PROOF_NAME} is not a proof: {error!r}")


def check_proof(proof: Proof, towers: Sequence[Tower]) -> None:
    """Checks that a proof is one of these towers.

    Raises:
        ArtifactCorrupt: it has no probes, or other inputs, outputs or towers.
    """
    inputs = {spec.name for spec in towers[0].inputs}
    outputs = [{spec.name for spec in tower.outputs} for tower in towers]
    fits = (
        bool(proof.probes)
        and proof.answers.keys() == proof.probes.keys()
        and proof.evaluation_copy.keys() <= proof.probes.keys()
        and all(probe.keys() == inputs for probe in proof.probes.values())
        and all([set(one) for one in answers] == outputs for answers in proof.answers.values())
        and all(set(values) == outputs[0] for values in proof.evaluation_copy.values())
        and (not proof.behind or proof.behind.keys() == set(range(len(towers))))
    )
    if not fits:
        raise errors.ArtifactCorrupt(f"{PROOF_NAME} is the proof of another graph")
