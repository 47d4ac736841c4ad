from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.loading.policy import (
    KEEP_ALL,
    KEEP_NONE,
    LATEST_ONE,
    Keep,
    Load,
    Rule,
    Unload,
    plan,
)
from inference_service.models.publication import Publication

Table = dict[int, str]
Failures = Collection[tuple[int, str]]
NEWEST = Rule()


def load(version: int, fingerprint: str = "a") -> Load:
    return Load(Publication("m", version, fingerprint))


def unload(version: int) -> Unload:
    return Unload("m", version)


def keep_only(*versions: int) -> Keep:
    return Keep("specific", versions=frozenset(versions))


def table(*versions: int) -> Table:
    return dict.fromkeys(versions, "a")


def planned(
    published: Table, served: Table, failed: Failures = (), rule: Rule = NEWEST
) -> list[Load | Unload]:
    failures = [Publication("m", version, print_) for version, print_ in failed]
    return plan(
        {"m": published} if published else {},
        {"m": served} if served else {},
        failures,
        [],
        {"m": rule},
    )


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
    published: Table, served: Table, failed: Failures, actions: list[object]
) -> None:
    assert planned(published, served, failed) == actions


LATEST_TWO = Rule(Keep("latest", 2))
ALL = Rule(KEEP_ALL)
NONE = Rule(KEEP_NONE)


@pytest.mark.parametrize(
    ("rule", "published", "served", "failed", "actions"),
    [
        # the N highest, newest first; fewer when there are fewer
        (LATEST_TWO, table(1, 2, 3), {}, [], [load(3), load(2)]),
        (LATEST_TWO, table(1), {}, [], [load(1)]),
        (LATEST_TWO, table(1, 2, 3), table(1, 2), [], [load(3)]),
        (LATEST_TWO, table(1, 2, 3), table(1, 2, 3), [], [unload(1)]),
        # the next older ones in place of those that fail
        (LATEST_TWO, table(1, 2, 3, 4), table(2), [(4, "a")], [load(3)]),
        (LATEST_TWO, table(1, 2, 3), table(1, 2), [(3, "a")], []),
        (LATEST_TWO, table(1, 2, 3, 4), table(2, 3), [(1, "a"), (4, "a")], []),
        (ALL, table(1, 2, 3), table(2), [(1, "a")], [load(3)]),
        (ALL, table(2), table(1, 2), [], [unload(1)]),
        (NONE, table(1, 2), table(1, 2), [], [unload(1), unload(2)]),
        (NONE, table(1), {}, [], []),
        (Rule(keep_only(1, 3)), table(1, 2, 3), table(2), [], [load(3), load(1)]),
        (Rule(keep_only(1, 3)), table(1, 2, 3), table(1, 2, 3), [], [unload(2)]),
        # numbers that are not published (yet) mean nothing
        (Rule(keep_only(1, 9)), table(1), table(1), [], []),
        (Rule(keep_only(9)), table(1), table(1), [], [unload(1)]),
        (Rule(also=frozenset({9})), table(1), table(1), [], []),
    ],
)
def test_a_rule_says_which_versions_are_kept(
    rule: Rule, published: Table, served: Table, failed: Failures, actions: list[object]
) -> None:
    assert planned(published, served, failed, rule) == actions


@pytest.mark.parametrize(
    ("rule", "published", "served", "failed", "actions"),
    [
        (Rule(also=frozenset({1})), table(1, 2, 3), table(2), [], [load(3), load(1)]),
        (Rule(also=frozenset({1})), table(1, 2, 3), table(1, 2, 3), [], [unload(2)]),
        (Rule(KEEP_NONE, also=frozenset({1})), table(1, 2), {}, [], [load(1)]),
        # it is in nobody's way when it fails
        (Rule(also=frozenset({1})), table(1, 2, 3), table(2, 3), [(1, "a")], [unload(2)]),
        (Rule(also=frozenset({1})), {1: "b", 2: "a"}, table(1, 2), [], [load(1, "b")]),
        (Rule(also=frozenset({1})), {1: "b", 2: "a"}, table(1, 2), [(1, "b")], []),
    ],
)
def test_versions_wanted_besides_are_served_too(
    rule: Rule, published: Table, served: Table, failed: Failures, actions: list[object]
) -> None:
    assert planned(published, served, failed, rule) == actions


@pytest.mark.parametrize(
    ("rule", "published", "served", "actions"),
    [
        # it does not count: the next older one is the newest
        (Rule(never=frozenset({2})), table(1, 2), {}, [load(1)]),
        # it does not wait for a load, be it the last one
        (Rule(never=frozenset({2})), table(1, 2), table(2), [unload(2), load(1)]),
        (Rule(never=frozenset({2})), table(2), table(2), [unload(2)]),
        (Rule(never=frozenset({1})), {1: "b", 2: "a"}, table(1), [unload(1), load(2)]),
        # others do
        (Rule(never=frozenset({3})), table(2, 3), table(1, 3), [unload(3), load(2)]),
        # whoever wants it
        (Rule(KEEP_ALL, never=frozenset({2})), table(1, 2), table(1, 2), [unload(2)]),
        (Rule(keep_only(2), never=frozenset({2})), table(1, 2), table(2), [unload(2)]),
        (Rule(also=frozenset({1}), never=frozenset({1})), table(1, 2), table(2), []),
    ],
)
def test_an_unloaded_version_goes_at_once_and_stays_away(
    rule: Rule, published: Table, served: Table, actions: list[object]
) -> None:
    assert planned(published, served, (), rule) == actions


@pytest.mark.parametrize(
    ("rule", "published", "served", "failed", "actions"),
    [
        (Rule(keep_only(2)), table(1, 2), table(1), [], [load(2)]),
        (Rule(keep_only(2)), table(1, 2), table(1), [(2, "a")], []),
        (Rule(KEEP_NONE, also=frozenset({2})), table(1, 2), table(1), [(2, "a")], []),
        # as soon as one of them is served, the others go
        (Rule(keep_only(2, 3)), table(1, 2, 3), table(1), [(2, "a")], [load(3)]),
        (Rule(keep_only(2, 3)), table(1, 2, 3), table(1, 3), [(2, "a")], [unload(1)]),
        # what left the store or was unloaded by hand does not wait
        (Rule(keep_only(2)), table(2), table(1), [(2, "a")], [unload(1)]),
        (Rule(keep_only(2), never=frozenset({1})), table(1, 2), table(1), [(2, "a")], [unload(1)]),
    ],
)
def test_a_version_goes_on_while_all_that_should_replace_it_fails(
    rule: Rule, published: Table, served: Table, failed: Failures, actions: list[object]
) -> None:
    assert planned(published, served, failed, rule) == actions


UNLOAD_FIRST = Rule(unload_first=True)


@pytest.mark.parametrize(
    ("rule", "published", "served", "failed", "actions"),
    [
        (UNLOAD_FIRST, table(1), {}, [], [load(1)]),
        (UNLOAD_FIRST, table(1, 2), table(1), [], [unload(1), load(2)]),
        (UNLOAD_FIRST, table(1, 2), {}, [], [load(2)]),
        # also what is published anew under its number, in one go with the others
        (UNLOAD_FIRST, {2: "b"}, {2: "a"}, [], [unload(2), load(2, "b")]),
        (UNLOAD_FIRST, {2: "b"}, table(1, 2), [], [unload(1), unload(2), load(2, "b")]),
        # what is wanted and as published stays
        (Rule(KEEP_ALL, unload_first=True), table(1, 2), table(1), [], [load(2)]),
        (
            Rule(Keep("latest", 2), unload_first=True),
            table(1, 2, 3),
            table(1, 2),
            [],
            [unload(1), load(3)],
        ),
        (Rule(Keep("latest", 2), unload_first=True), table(1, 2, 3), table(2), [], [load(3)]),
        # nothing goes for a version that is known to fail
        (UNLOAD_FIRST, table(1, 2), table(1), [(2, "a")], []),
        (UNLOAD_FIRST, {2: "b"}, {2: "a"}, [(2, "b")], []),
        (Rule(keep_only(2), unload_first=True), table(1, 2), table(1), [(2, "a")], []),
        # without loads there is nothing to wait for
        (UNLOAD_FIRST, table(1, 2), table(1, 2), [], [unload(1)]),
        (
            Rule(never=frozenset({2}), unload_first=True),
            table(1, 2),
            table(2),
            [],
            [unload(2), load(1)],
        ),
    ],
)
def test_unloading_first_makes_room_before_anything_is_loaded(
    rule: Rule, published: Table, served: Table, failed: Failures, actions: list[object]
) -> None:
    assert planned(published, served, failed, rule) == actions


def test_models_do_not_depend_on_each_other() -> None:
    rules = dict.fromkeys("abc", NEWEST)
    published, failed_elsewhere = {"a": {1: "x"}, "b": {1: "x"}}, [Publication("b", 1, "x")]
    found = plan(published, {"c": {1: "x"}}, failed_elsewhere, ["b"], rules)
    assert found == [Load(Publication("a", 1, "x")), Unload("c", 1)]
    found = plan({"a": {1: "x"}}, {}, failed_elsewhere, [], rules)
    assert found == [Load(Publication("a", 1, "x"))]


def test_each_model_follows_its_own_rule() -> None:
    published = {"a": table(1, 2), "b": table(1, 2)}
    found = plan(published, {}, [], [], {"a": NEWEST, "b": Rule(KEEP_ALL)})
    versions = [(one.publication.model, one.publication.version) for one in loads_of(found)]
    assert versions == [("a", 2), ("b", 2), ("b", 1)]


def loads_of(actions: list[Load | Unload]) -> list[Load]:
    return [action for action in actions if isinstance(action, Load)]


def test_the_latest_none_is_no_rule() -> None:
    with pytest.raises(AssertionError):
        Keep("latest", 0)


NUMBERS = st.integers(1, 5)
VERSIONS = st.dictionaries(NUMBERS, st.sampled_from("ab"), max_size=4)
FAILURES = st.sets(st.tuples(NUMBERS, st.sampled_from("ab")))
SOME = st.frozensets(NUMBERS, max_size=2)
KEEPS = st.one_of(
    st.just(LATEST_ONE),
    st.builds(lambda count: Keep("latest", count), st.integers(1, 3)),
    st.just(KEEP_ALL),
    st.just(KEEP_NONE),
    st.builds(lambda versions: Keep("specific", versions=versions), SOME),
)
RULES = st.builds(Rule, keep=KEEPS, also=SOME, never=SOME, unload_first=st.booleans())
# More than any world of these takes: every version fails and every one is unloaded, apart.
ROUNDS = 30


class World:
    """A model to which what is planned happens; loads of `broken` publications fail."""

    def __init__(self, published: Table, served: Table, broken: Failures, rule: Rule) -> None:
        self.published, self.served, self.broken, self.rule = published, served, broken, rule
        self.failed: set[tuple[int, str]] = set()
        self.loaded: list[tuple[int, str]] = []

    def eligible(self) -> set[int]:
        return {
            version
            for version, print_ in self.published.items()
            if (version, print_) not in self.failed or version in self.served
        }

    def round(self) -> bool:
        """Plans once and does it; False when nothing was left to do."""
        actions = planned(self.published, self.served, self.failed, self.rule)
        for action in actions:
            if isinstance(action, Load):
                self._load(action.publication.version, action.publication.fingerprint)
            else:
                self._unload(action.version)
        return bool(actions)

    def rest(self) -> None:
        for _ in range(ROUNDS):
            if not self.round():
                return
        raise AssertionError("it does not come to rest")

    def _load(self, version: int, print_: str) -> None:
        assert self.published[version] == print_
        assert (version, print_) not in self.failed
        assert self.served.get(version) != print_
        assert version not in self.rule.never
        if self.rule.unload_first:
            assert version not in self.served
            assert self.served.keys() <= self.rule.wanted(self.eligible())
        self.loaded.append((version, print_))
        if (version, print_) in self.broken:
            self.failed.add((version, print_))
        else:
            self.served[version] = print_

    def _unload(self, version: int) -> None:
        eligible = self.eligible()
        if not (self.rule.unload_first or version in self.rule.never):
            # Somebody wanted answers, or nobody wants them, or there is nothing to give.
            others = self.served.keys() - {version}
            wanted = self.rule.wanted(eligible)
            nothing_is_wanted = not self.rule.wanted(self.published)
            assert others & wanted or nothing_is_wanted or (not wanted and version not in eligible)
        del self.served[version]

    def assert_at_rest_as_the_rule_says(self) -> None:
        wanted = self.rule.wanted(self.eligible())
        if wanted or not self.rule.wanted(self.published):
            assert self.served.keys() == wanted
        else:
            assert self.served.keys() <= self.eligible() - self.rule.never
        for version in self.served.keys() & wanted:
            published = self.published[version]
            assert self.served[version] == published or (version, published) in self.failed


WORLDS = st.builds(World, VERSIONS, VERSIONS, FAILURES, RULES)


@given(WORLDS)
def test_following_the_plan_comes_to_rest_at_what_the_rule_wants_without_a_gap(
    world: World,
) -> None:
    world.rest()
    world.assert_at_rest_as_the_rule_says()
    assert len(world.loaded) == len({*world.loaded})


@given(VERSIONS, FAILURES, RULES)
def test_from_nothing_exactly_what_is_wanted_and_loads_is_served(
    published: Table, broken: set[tuple[int, str]], rule: Rule
) -> None:
    world = World(published, {}, broken, rule)
    world.rest()
    sound = {v: print_ for v, print_ in published.items() if (v, print_) not in broken}
    assert world.served == {v: sound[v] for v in rule.wanted(sound)}


@given(VERSIONS, VERSIONS, FAILURES, st.lists(RULES, min_size=1, max_size=4), st.data())
def test_rules_and_publications_may_change_at_any_moment(
    published: Table,
    served: Table,
    broken: set[tuple[int, str]],
    rules: list[Rule],
    data: st.DataObject,
) -> None:
    world = World(published, served, broken, rules[0])
    for rule in rules:
        world.rule = rule
        world.published = data.draw(VERSIONS)
        # Some of what failed may be tried again by now.
        world.failed = {one for one in world.failed if data.draw(st.booleans())}
        for _ in range(data.draw(st.integers(0, 3))):
            world.round()
    world.rest()
    world.assert_at_rest_as_the_rule_says()
