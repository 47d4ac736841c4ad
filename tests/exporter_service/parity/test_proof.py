from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exporter_service.graphs.graph_file import file_described, write_graph
from exporter_service.graphs.session import session_config
from exporter_service.parity.comparison import answers
from exporter_service.parity.proof import prove
from exporter_service.parity.proof_file import Proof, read_proof, write_proof
from exporter_service.specs.probes import standard_probes
from service_kit import errors
from service_kit.artifacts.digest import sha256_of
from service_kit.artifacts.manifest import (
    ArchitectureSpec,
    ArtifactFileKind,
    Conversion,
    ParityReport,
)
from tests.support.manifests import conversion, tower

Net = Callable[[Any, int], Any]


def mean(images: Any, card: int) -> Any:
    return tf.reduce_mean(images, [1, 2]) / 255


def written(folder: Path, net: Net, cards: int = 1, shift: float = 0.0) -> Conversion:
    """Writes a graph without variables and a proof of what it answers, `shift` added."""
    towers = tuple(tower(index, cards, size=4) for index in range(cards))
    with tf.Graph().as_default() as graph, tf.Session(config=session_config()) as session:
        for index, one in enumerate(towers):
            with tf.name_scope(one.scope):
                images = tf.placeholder(tf.float32, [None, 4, 4, 3], name="input")
                tf.identity(net(images, index), name="probs")
        probes = standard_probes(towers[0].inputs, pixels=True)
        wanted = {
            name: [
                {key: value + np.float32(shift) for key, value in outputs.items()}
                for outputs in answers(session, towers, probe)
            ]
            for name, probe in probes.items()
        }
        proof = write_proof(Proof(probes, wanted), folder)
        described = write_graph(graph.as_graph_def(), folder / "frozen_model.pb")
    return replace(
        conversion(),
        graph=described,
        towers=towers,
        parity=ParityReport((), 1e-5),
        files=(file_described(proof, ArtifactFileKind.PROOF),),
    )


def proven(folder: Path, done: Conversion) -> ParityReport:
    return prove(done, folder, lambda _: None)


def test_equal_numbers_pass_and_everything_is_listed(tmp_path: Path) -> None:
    report = proven(tmp_path, written(tmp_path, mean, cards=2))
    assert report.passed
    assert report.worst < 1e-6
    assert {(c.subject, c.probe) for c in report.comparisons} == {
        *(
            (subject, probe)
            for subject in ("Card_0 with session", "Card_1 with session", "Card_1 with Card_0")
            for probe in ("ones", "noise")
        ),
        ("Card_0 with itself", "noise"),
        ("Card_1 with itself", "noise"),
        ("Card_0 in a batch with alone", "noise"),
        ("Card_1 in a batch with alone", "noise"),
    }


@pytest.mark.parametrize(
    ("net", "cards", "shift", "words"),
    [
        (mean, 2, 0.0015, r"Card_\d with session on .* by 0\.0015"),
        (lambda images, card: mean(images, card) + 0.1 * card, 2, 0.0, "Card_1 with Card_0"),
        (lambda images, card: mean(images, card) * np.nan, 1, 0.0, "by nan"),
        (
            lambda images, card: mean(images, card) - tf.reduce_mean(images, [0, 1, 2]) / 255,
            1,
            0.0,
            "in a batch with other company on noise .*: answers depend on the other elements",
        ),
    ],
)
def test_numbers_that_differ_are_refused(
    tmp_path: Path, net: Net, cards: int, shift: float, words: str
) -> None:
    done = written(tmp_path, net, cards, shift)
    with pytest.raises(errors.ParityFailed, match=words):
        proven(tmp_path, done)


def test_random_answers_are_refused_as_such(tmp_path: Path) -> None:
    done = written(tmp_path, lambda images, _: mean(images, 0) + tf.random.uniform([3]))
    with pytest.raises(errors.ParityFailed, match=r"with itself .* answers are random"):
        proven(tmp_path, done)


def test_batch_statistics_that_were_asked_for_are_not_compared(tmp_path: Path) -> None:
    def normalised(images: Any, _: int) -> Any:
        return mean(images, 0) - tf.reduce_mean(images, [0, 1, 2]) / 255

    done = written(tmp_path, normalised)
    kept = ArchitectureSpec("META_GRAPH", {"keep_batch_statistics": True})
    report = proven(tmp_path, replace(done, architecture=kept))
    assert report.passed
    assert "batch statistics were kept as asked" in report.not_compared[0]


def test_a_graph_for_one_size_of_batch_is_a_clear_error(tmp_path: Path) -> None:
    done = written(tmp_path, mean)
    probes = {"noise": standard_probes(done.towers[0].inputs, pixels=True)["noise"]}
    with tf.Graph().as_default() as graph, tf.Session() as session:
        images = tf.placeholder(tf.float32, [None, 4, 4, 3], name="input")
        tf.reshape(mean(images, 0), [2, 3], name="probs")
        wanted = {"noise": answers(session, done.towers, probes["noise"])}
        described = write_graph(graph.as_graph_def(), tmp_path / "frozen_model.pb")
    proof = file_described(write_proof(Proof(probes, wanted), tmp_path), ArtifactFileKind.PROOF)
    with pytest.raises(errors.Unconvertible, match=r"one size of batch.*reshape.*node probs"):
        proven(tmp_path, replace(done, graph=described, files=(proof,)))


def test_changed_bytes_are_seen_before_anything_is_run(tmp_path: Path) -> None:
    done = written(tmp_path, mean)
    with (tmp_path / "frozen_model.pb").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(errors.ArtifactCorrupt, match=r"frozen_model\.pb is not the file"):
        proven(tmp_path, done)


def test_a_proof_is_read_as_it_was_written_and_has_the_same_bytes(tmp_path: Path) -> None:
    probes = {"small noise": {"x": np.arange(3), "y/z": np.ones((2, 2))}}
    wanted = {"small noise": [{"a": np.zeros(2)}, {"a": np.ones(2)}]}
    evaluation_copy = {"small noise": {"a": np.full(2, 7)}}
    proof = Proof(
        probes, wanted, evaluation_copy, {0: "Card_0/augmented:0", 1: "Card_1/augmented:0"}
    )
    (tmp_path / "again").mkdir()
    first = write_proof(proof, tmp_path)
    found = read_proof(first)
    assert found.behind == proof.behind
    np.testing.assert_equal(found.probes, probes)
    np.testing.assert_equal(found.answers, wanted)
    np.testing.assert_equal(found.evaluation_copy, evaluation_copy)
    assert write_proof(proof, tmp_path / "again").read_bytes() == first.read_bytes()


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"noise" * 100])
def test_what_is_no_proof_is_corrupt(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "parity.npz").write_bytes(content)
    with pytest.raises(errors.ArtifactCorrupt, match="is not a proof"):
        read_proof(tmp_path / "parity.npz")


def test_a_proof_of_another_graph_is_corrupt(tmp_path: Path) -> None:
    done = written(tmp_path, mean)
    probes = standard_probes(done.towers[0].inputs, pixels=True)
    for proof in (
        Proof({}, {}),
        Proof(probes, {name: [] for name in probes}),
        Proof(probes, {name: [{"other": np.zeros(1)}] for name in probes}),
        Proof(
            probes, {name: [{"probs": np.zeros((1, 3))}] for name in probes}, behind={5: "input:0"}
        ),
    ):
        file = file_described(write_proof(proof, tmp_path), ArtifactFileKind.PROOF)
        with pytest.raises(errors.ArtifactCorrupt, match="the proof of another graph"):
            proven(tmp_path, replace(done, files=(file,)))


def test_a_graph_that_does_not_parse_is_corrupt(tmp_path: Path) -> None:
    done = written(tmp_path, mean)
    noise = tmp_path / done.graph.file_name
    noise.write_bytes(b"\xff" * 100)
    graph = replace(done.graph, sha256=sha256_of(noise), size_bytes=100)
    with pytest.raises(errors.ArtifactCorrupt, match="is no graph"):
        proven(tmp_path, replace(done, graph=graph))
