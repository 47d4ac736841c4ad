from __future__ import annotations

from inference_service.models.labels import Labels


def test_a_configured_label_moves_when_its_version_is_served() -> None:
    labels = Labels()
    labels.configure({"stable": 1})
    assert labels.versions == {1}
    labels.settle([1])
    assert labels.current == {"stable": 1}
    labels.configure({"stable": 2})
    labels.settle([1])
    assert labels.current == {"stable": 1}
    assert labels.versions == {1, 2}
    labels.settle([1, 2])
    assert labels.current == {"stable": 2}
    assert labels.versions == {2}


def test_a_label_that_never_was_points_at_what_it_is_to_be() -> None:
    labels = Labels()
    labels.configure({"stable": 7})
    labels.settle([1])
    assert labels.current == {"stable": 7}


def test_an_operator_moves_a_label_at_once_and_the_file_wins_when_it_changes() -> None:
    labels = Labels()
    labels.configure({"stable": 1})
    labels.settle([1, 2, 3])
    labels.set("stable", 2)
    assert labels.current == {"stable": 2}
    labels.configure({"stable": 1, "canary": 3})
    labels.settle([1, 2, 3])
    assert labels.current == {"stable": 2, "canary": 3}
    labels.configure({"stable": 3, "canary": 3})
    labels.settle([1, 2, 3])
    assert labels.current == {"stable": 3, "canary": 3}


def test_labels_go_when_nobody_wants_them() -> None:
    labels = Labels()
    labels.configure({"stable": 1})
    labels.settle([1])
    labels.set("mine", 1)
    labels.set("stable", 0)
    assert labels.current == {"mine": 1}
    labels.settle([1])
    assert labels.current == {"mine": 1}
    labels.configure({})
    labels.set("mine", 0)
    labels.settle([1])
    assert labels.current == {}
    assert labels.versions == frozenset()


def test_an_operators_label_is_the_files_once_that_names_it_or_drops_it() -> None:
    labels = Labels()
    labels.set("canary", 2)
    labels.configure({"canary": 3})
    labels.settle([2, 3])
    assert labels.current == {"canary": 3}
    labels.set("canary", 2)
    labels.configure({})
    labels.settle([2, 3])
    assert labels.current == {}


def test_replaced_labels_are_all_there_are_until_the_settings_change_them() -> None:
    labels = Labels()
    labels.configure({"stable": 1, "old": 1})
    labels.settle([1, 2])
    labels.set("mine", 2)
    labels.replace({"stable": 2})
    labels.settle([1, 2])
    assert labels.current == {"stable": 2}
    assert labels.versions == {2}
    labels.configure({"stable": 1, "old": 2})
    labels.settle([1, 2])
    # Only what changed there wins.
    assert labels.current == {"stable": 2, "old": 2}
