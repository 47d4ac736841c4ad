from __future__ import annotations

import pickle
from typing import Any

import pytest

from exporter_service.specs.progress import Progress, Step
from exporter_service.workers.worker import Answer, Defect, Task, _answer
from service_kit import errors
from tests.support.tasks import Unreadable


def answer(entry: str, *arguments: Any) -> tuple[Answer, list[Progress]]:
    seen: list[Progress] = []
    return _answer(pickle.dumps(Task(entry, arguments)), seen.append), seen


def test_a_result_comes_with_the_progress_and_the_peak() -> None:
    done, seen = answer("tests.support.tasks:double", 21)
    assert (done.result, done.error) == (42, None)
    assert done.peak_bytes > 0
    assert [progress.step for progress in seen] == [Step.READ, Step.CHECK]


def test_an_error_by_design_is_kept_as_it_is() -> None:
    done, _ = answer("tests.support.tasks:refuse")
    assert isinstance(done.error, errors.CheckpointMismatch)
    assert done.peak_bytes > 0


@pytest.mark.parametrize(
    ("entry", "arguments", "words"),
    [
        ("tests.support.tasks:stumble", (), "KeyError: 'secret'"),
        ("tests.support.tasks:absent", (), "has no attribute 'absent'"),
        ("tests.support.absent:double", (1,), "No module named 'tests.support.absent'"),
        ("tests.support.tasks:double", (Unreadable(),), "ValueError: invalid literal for int()"),
    ],
)
def test_what_should_not_happen_is_a_defect_with_its_trace(
    entry: str, arguments: tuple[Any, ...], words: str
) -> None:
    done, _ = answer(entry, *arguments)
    assert isinstance(done.error, Defect)
    assert "Traceback" in str(done.error)
    assert words in str(done.error)
