from __future__ import annotations

from dataclasses import replace

import pytest

from service_kit.artifacts.class_labels import labels_by_output, problem_of_label, problem_of_labels
from service_kit.artifacts.manifest import TensorSpec, Tower
from tests.support.manifests import tower


def answering(**shapes: tuple[int, ...]) -> Tower:
    outputs = tuple(
        TensorSpec(name, f"{name}:0", "float32", shape) for name, shape in shapes.items()
    )
    return replace(tower(), outputs=outputs)


@pytest.mark.parametrize(
    "label", ["7", "tench, Tinca tinca", "\u6a21\u578b", "[bold]", " x ", "y" * 200]
)
def test_a_label_is_any_text_of_one_line(label: str) -> None:
    assert problem_of_label(label) is None


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("", "is blank"),
        (" ", "is blank"),
        ("y" * 201, "is 201 characters long: at most 200"),
        ("a\tb", r"has control characters: 'a\tb'"),
        ("a\n", "has control characters"),
        ("a\x1b[2J", "has control characters"),
        ("a\x85b", "has control characters"),
        ("a\u2028b", "has control characters"),
    ],
)
def test_a_label_that_is_no_name_is_told_why(label: str, words: str) -> None:
    assert words in (problem_of_label(label) or "")


def test_no_labels_fit_whatever_the_outputs_are() -> None:
    assert problem_of_labels((), [answering(y=(-1,), z=(-1, 2))]) is None


@pytest.mark.parametrize(
    "fitting",
    [
        answering(probs=(-1, 3)),
        answering(y=(-1, 3)),
        answering(y=(-1, 5), probs=(-1, 3)),
        answering(probs=(-1, 4, 4, 3)),
        answering(probs=(-1, -1)),
    ],
)
def test_labels_are_for_the_last_dimension_of_probs_or_of_the_only_output(fitting: Tower) -> None:
    assert problem_of_labels(("a", "b", "b"), [fitting]) is None


@pytest.mark.parametrize(
    ("unfit", "words"),
    [
        (answering(probs=(-1, 4)), "3 class labels, and the output probs has 4 classes"),
        (answering(y=(-1, 2)), "3 class labels, and the output y has 2 classes"),
        (answering(y=(-1, 3), probs=(-1, 5)), "the output probs has 5 classes"),
        (answering(probs=(-1, 3, 1)), "the output probs has 1 classes"),
        (answering(y=(-1, 3), z=(-1, 3)), "several outputs (y, z) of which none is called probs"),
        (answering(probs=(-1,)), "of shape [-1] has no dimension for classes"),
    ],
)
def test_labels_that_do_not_fit_are_told_why(unfit: Tower, words: str) -> None:
    assert words in (problem_of_labels(("a", "b", "c"), [unfit]) or "")


def test_every_tower_has_to_fit() -> None:
    towers = [answering(probs=(-1, 3)), answering(probs=(-1, 4))]
    assert "has 4 classes" in (problem_of_labels(("a", "b", "c"), towers) or "")


def test_a_malformed_label_is_named_by_its_place() -> None:
    assert problem_of_labels(("a", "b", ""), [tower()]) == (
        "class label 2 is blank: every class needs a name"
    )


def test_labels_are_those_of_probs_or_of_the_only_output() -> None:
    both = answering(logits=(-1, 2), probs=(-1, 2))
    assert labels_by_output(("a", "b"), both) == {"probs": ("a", "b")}
    assert labels_by_output(("a", "b"), answering(y=(-1, 2))) == {"y": ("a", "b")}
    assert labels_by_output((), both) == {}
