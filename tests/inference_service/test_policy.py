from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.policy import Load, Publication, Unload, plan

Table = dict[int, str]


def load(version: int, fingerprint: str = "a") -> Load:
    return Load(Publication("m", version, fingerprint))


def unload(version: int) -> Unload:
    return Unload("m", version)


@pytest.mark.parametrize(
    ("published", "served", "failed", "actions"),
    [
        # nothing to do
        ({}, {}, [], []),
        ({1: "a"}, {1: "a"}, [], []),
        # first, newer, and what a newer one leaves behind
        ({1: "a"}, {}, [], [load(1)]),
        ({1: "a", 2: "a"}, {}, [], [load(2)]),
        ({1: "a", 2: "a"}, {1: "a"}, [], [load(2)]),
        ({1: "a", 2: "a"}, {1: "a", 2: "a"}, [], [unload(1)]),
        # deletion
        ({}, {1: "a"}, [], [unload(1)]),
        ({1: "a"}, {2: "a"}, [], [load(1)]),
        ({1: "a"}, {1: "a", 2: "a"}, [], [unload(2)]),
        # a failed version never displaces a sound one
        ({1: "a", 2: "a"}, {1: "a"}, [(2, "a")], []),
        ({1: "a", 2: "a"}, {}, [(2, "a")], [load(1)]),
        ({1: "a", 2: "a"}, {}, [(1, "a"), (2, "a")], []),
        ({2: "a"}, {1: "a"}, [(2, "a")], [unload(1)]),
        # a number that is published again
        ({2: "b"}, {2: "a"}, [], [load(2, "b")]),
        ({2: "b"}, {2: "a"}, [(2, "b")], []),
        ({1: "a", 2: "b"}, {2: "a"}, [(2, "b")], []),
        ({2: "b"}, {}, [(2, "a")], [load(2, "b")]),
    ],
)
def test_the_newest_sound_version_is_served(
    published: Table, served: Table, failed: list[tuple[int, str]], actions: list[object]
) -> None:
    failures = [Publication("m", version, print_) for version, print_ in failed]
    found = plan(
        {"m": published} if published else {}, {"m": served} if served else {}, failures, []
    )
    assert found == actions


def test_models_do_not_depend_on_each_other() -> None:
    found = plan({"a": {1: "x"}, "b": {1: "x"}}, {"c": {1: "x"}}, [], ["b"])
    assert found == [Load(Publication("a", 1, "x")), Unload("c", 1)]


VERSIONS = st.dictionaries(st.integers(1, 5), st.sampled_from("ab"), max_size=4)


@given(VERSIONS, VERSIONS, st.sets(st.tuples(st.integers(1, 5), st.sampled_from("ab"))))
def test_following_the_plan_comes_to_rest_with_one_version_and_no_gap(
    published: Table, served: Table, failed: set[tuple[int, str]]
) -> None:
    failures = [Publication("m", version, print_) for version, print_ in failed]
    now = dict(served)
    for _ in range(10):
        actions = plan({"m": published}, {"m": now}, failures, [])
        if not actions:
            break
        for action in actions:
            if isinstance(action, Load):
                assert action.publication not in failures
                now[action.publication.version] = action.publication.fingerprint
            else:
                # Something else, loadable or loaded, answers, unless nothing sound is left.
                left = now.keys() - {action.version}
                sound = [v for v in published.items() if v not in failed]
                assert left or (not sound and action.version not in published)
                del now[action.version]
    assert plan({"m": published}, {"m": now}, failures, []) == []
    assert len(now) <= 1
    newest = max((v for v, print_ in published.items() if (v, print_) not in failed), default=0)
    assert max(now, default=0) >= newest
