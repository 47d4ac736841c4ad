from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inference_service.models.publication import Publication
from inference_service.models.registry import Loaded, Registry
from inference_service.models.status import State
from service_kit import errors
from tests.support.servables import mean_servable


def loaded(version: int, model: str = "m", fingerprint: str = "a") -> Loaded:
    return Loaded(mean_servable(model=model, version=version), fingerprint)


def state_of(registry: Registry, version: int, model: str = "m") -> Any:
    return next(v for v in registry.status(model).versions if v.version == version)


def test_the_newest_version_answers_unless_one_is_named() -> None:
    registry = Registry()
    for version in (2, 10, 9):
        registry.install(loaded(version))
    with registry.lease("m") as servable:
        assert servable.version == 10
    with registry.lease("m", version=2) as servable:
        assert servable.version == 2
    assert registry.status("m").default_version == 10


def test_what_does_not_exist_is_answered_with_what_does() -> None:
    registry = Registry()
    registry.install(loaded(1, "digits"))
    registry.install(loaded(3, "digits"))
    for arguments, cls, words in (
        (("digit",), errors.ModelNotFound, "did you mean 'digits'. there is no model 'digit'"),
        (("digits", 2), errors.VersionNotFound, "model digits has no version 2; it has 1, 3"),
        (("digits", 0, "stable"), errors.LabelNotFound, "no label stable"),
        (("digits", 1, "stable"), errors.InvalidRequest, "not both"),
    ):
        with pytest.raises(cls, match=words), registry.lease(*arguments):
            pass
    with pytest.raises(errors.ModelNotFound, match=r"did you mean .digits."):
        registry.status("digit")


def test_an_empty_registry_says_so() -> None:
    with pytest.raises(errors.ModelNotFound, match="there are none"), Registry().lease("m"):
        pass


def test_a_version_that_loads_or_failed_is_unavailable_with_its_reason() -> None:
    registry = Registry()
    registry.loads.begin(Publication("m", 1, "a"))
    with pytest.raises(errors.ModelUnavailable, match="version 1 is LOADING") as caught:
        registry.lease("m").__enter__()
    assert caught.value.retry_after
    registry.loads.fail(Publication("m", 1, "a"), errors.ArtifactCorrupt("its SHA-256 is f00"))
    with pytest.raises(errors.ModelUnavailable, match="FAILED: its SHA-256 is f00"):
        registry.lease("m").__enter__()


def test_a_failed_version_does_not_hide_the_one_before() -> None:
    registry = Registry()
    registry.install(loaded(1))
    registry.loads.fail(Publication("m", 2, "a"), errors.ArtifactCorrupt("truncated"))
    with registry.lease("m") as servable:
        assert servable.version == 1
    assert state_of(registry, 1).state is State.AVAILABLE
    failed = state_of(registry, 2)
    assert (failed.state, failed.reason, failed.servable) == (State.FAILED, "truncated", None)


async def test_a_withdrawn_version_lives_until_its_last_lease() -> None:
    registry = Registry()
    one = loaded(1)
    registry.install(one)
    first, second = registry.lease("m"), registry.lease("m")
    first.__enter__()
    second.__enter__()
    assert registry.withdraw("m", 1) is one
    assert state_of(registry, 1).state is State.UNLOADING
    with pytest.raises(errors.ModelNotFound), registry.lease("m"):
        pass
    waiting = asyncio.create_task(one.unleased())
    first.__exit__(None, None, None)
    await asyncio.sleep(0)
    assert not waiting.done()
    second.__exit__(None, None, None)
    await asyncio.wait_for(waiting, timeout=10)
    registry.freed(one)
    with pytest.raises(errors.ModelNotFound):
        registry.status("m")


def test_a_number_that_is_published_again_displaces_its_predecessor() -> None:
    registry = Registry()
    old, new = loaded(1, fingerprint="a"), loaded(1, fingerprint="b")
    assert registry.install(old) is None
    with registry.lease("m") as before:
        assert registry.install(new) is old
        assert before is old.servable
        with registry.lease("m") as after:
            assert after is new.servable
    assert registry.fingerprints() == {"m": {1: "b"}}


def test_failures_are_forgotten_with_their_publication() -> None:
    registry = Registry()
    for version in (1, 2):
        registry.loads.fail(Publication("m", version, "f"), errors.ArtifactCorrupt("x"))
    registry.loads.keep({"m": {2: "f"}})
    assert [status.version for status in registry.status("m").versions] == [2]


def test_the_failure_of_a_newer_publication_stands_beside_what_is_served() -> None:
    registry, newer = Registry(), Publication("m", 1, "b")
    registry.install(loaded(1, fingerprint="a"))
    registry.loads.fail(newer, errors.EngineFailed("no memory"))
    status = state_of(registry, 1)
    assert (status.state, status.reason) == (State.AVAILABLE, "no memory")
    assert registry.serves(Publication("m", 1, "a"))
    assert not registry.serves(newer)
    registry.install(loaded(1, fingerprint="b"))
    assert state_of(registry, 1).reason == ""
    assert registry.serves(newer)


def test_labels_name_versions_and_default_steers_who_names_none() -> None:
    labels: dict[str, int] = {"stable": 1, "canary": 2}
    registry = Registry(lambda _: labels)
    for version in (1, 2):
        registry.install(loaded(version))
    with registry.lease("m", label="stable") as servable:
        assert servable.version == 1
    with registry.lease("m") as servable:
        assert servable.version == 2
    labels["default"] = 1
    with registry.lease("m") as servable:
        assert servable.version == 1
    assert registry.status("m").default_version == 1
    assert dict(registry.status("m").labels) == labels
    with pytest.raises(errors.LabelNotFound, match="no label beta; it has canary, default, stable"):
        registry.lease("m", label="beta").__enter__()


def test_a_default_that_is_not_served_leaves_the_newest() -> None:
    registry = Registry(lambda _: {"default": 7, "stable": 7})
    registry.install(loaded(1))
    with registry.lease("m") as servable:
        assert servable.version == 1
    with pytest.raises(errors.LabelNotFound, match="stable of model m is at version 7, which is"):
        registry.lease("m", label="stable").__enter__()


def test_a_failure_says_when_it_is_tried_again() -> None:
    now = [10.0]
    registry = Registry(clock=lambda: now[0])
    registry.loads.fail(Publication("m", 1, "a"), errors.EngineFailed("no memory"))
    now[0] = 15.0
    assert registry.status("m").versions[0].retry_in == 25
    with pytest.raises(errors.ModelUnavailable) as caught:
        registry.lease("m").__enter__()
    assert caught.value.retry_after == 25


def test_leases_are_counted() -> None:
    registry = Registry()
    registry.install(loaded(1))
    with registry.lease("m"), registry.lease("m"):
        assert state_of(registry, 1).leases == 2
    assert state_of(registry, 1).leases == 0


async def test_versions_that_are_gone_are_remembered_up_to_a_number() -> None:
    registry = Registry()
    for version in range(1, 41):
        registry.install(loaded(version))
        withdrawn = registry.withdraw("m", version)
        assert withdrawn
        assert version not in registry.ended("m")
        registry.freed(withdrawn)
        withdrawn.servable.close()
    assert registry.ended("m") == list(range(9, 41))
    assert registry.ended("other") == []
