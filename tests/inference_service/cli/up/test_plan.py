from __future__ import annotations

import pytest

from inference_service.cli.up.plan import (
    META_GRAPH,
    Candidate,
    Fit,
    Inspection,
    Wishes,
    answered,
    open_question,
    plan_conversion,
    with_candidates,
)
from service_kit import errors

OUTPUTS = [Candidate(f"head_{number}/Softmax:0", "Softmax") for number in range(5)]
FOUND = Inspection(
    "run/model.ckpt-7",
    "ab",
    7,
    fits=[Fit("densenet169", {"classes": 2}), Fit("densenet", {"classes": 2})],
    inputs=[Candidate("IteratorGetNext:0", "IteratorGetNext", (32, 48, 64, 3))],
    outputs=OUTPUTS,
    has_graph=True,
)
UNKNOWN = Inspection("run/model.ckpt-7", "ab", 7, outputs=OUTPUTS, has_graph=True)


def test_the_first_fit_is_built_for_the_size_of_training() -> None:
    plan = plan_conversion(FOUND, Wishes(mean=(1.0, 2.0, 3.0), cards=2))
    assert (plan.architecture, plan.parameters) == ("densenet169", {"classes": 2})
    assert (plan.image_size, plan.mean, plan.cards) == ((48, 64), (1.0, 2.0, 3.0), 2)


@pytest.mark.parametrize("shape", [None, (-1, -1, -1, 3), (32, 10)])
def test_a_size_that_the_graph_does_not_know_is_the_architectures(
    shape: tuple[int, ...] | None,
) -> None:
    found = Inspection("p", "ab", None, fits=FOUND.fits, inputs=[Candidate("x:0", "x", shape)])
    assert plan_conversion(found, Wishes()).image_size is None
    assert plan_conversion(found, Wishes(image_size=(8, 8))).image_size == (8, 8)


def test_what_fits_nothing_is_converted_from_its_own_graph() -> None:
    assert plan_conversion(UNKNOWN, Wishes()).architecture == META_GRAPH


def test_named_tensors_are_those_of_the_graph_even_where_something_fits() -> None:
    plan = plan_conversion(FOUND, Wishes(outputs=("a:0",), bindings={"phase": False}))
    assert plan.architecture == META_GRAPH
    assert plan.parameters == {"outputs": ["a:0"], "bindings": {"phase": False}}


def test_what_was_named_is_built() -> None:
    plan = plan_conversion(FOUND, Wishes(architecture="tiny", parameters={"width": 3}))
    assert (plan.architecture, plan.parameters) == ("tiny", {"width": 3})


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (Inspection("run/model", "ab", None), "there is no .meta beside it"),
        (Inspection("run/model", "ab", None, has_graph=True, problem="it is cut off"), "cut off"),
    ],
)
def test_nothing_to_go_by_is_refused_with_what_would_help(found: Inspection, reason: str) -> None:
    with pytest.raises(errors.Unconvertible, match=rf"^copy the \.meta .*--architecture.*{reason}"):
        plan_conversion(found, Wishes())


def test_the_output_is_asked_for_where_there_are_several() -> None:
    plan = plan_conversion(UNKNOWN, Wishes())
    assert open_question(UNKNOWN, plan, Wishes()) == OUTPUTS
    said = with_candidates("which tensor is the answer?", OUTPUTS)
    assert said.startswith("name the answer with --output: head_0/Softmax:0 (Softmax), ")
    assert "and 2 more" in said
    chosen = answered(Wishes(cards=2), OUTPUTS[1])
    assert plan_conversion(UNKNOWN, chosen).parameters == {"outputs": ["head_1/Softmax:0"]}
    assert not open_question(UNKNOWN, plan, chosen)


def test_there_is_no_question_where_an_architecture_was_built() -> None:
    assert not open_question(FOUND, plan_conversion(FOUND, Wishes()), Wishes())
