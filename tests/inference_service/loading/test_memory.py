from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inference_service.loading.memory import available_bytes, max_elements, peak_growth

MEBIBYTE = 2**20


@pytest.mark.parametrize(
    ("files", "available"),
    [
        ({}, 1000 * 1024),
        ({"memory.max": "max", "memory.current": "5"}, 1000 * 1024),
        ({"memory.max": "700", "memory.current": "300"}, 400),
        ({"memory.max": "300", "memory.current": "700"}, 0),
        (
            {"memory/memory.limit_in_bytes": "700", "memory/memory.usage_in_bytes": "300"},
            400,
        ),
        (
            {
                "memory/memory.limit_in_bytes": "9223372036854771712",
                "memory/memory.usage_in_bytes": "3",
            },
            1000 * 1024,
        ),
    ],
)
def test_what_is_available_is_that_of_the_machine_or_of_the_container(
    tmp_path: Path, files: dict[str, str], available: int
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 2000 kB\nMemAvailable:  1000 kB\n")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert available_bytes(tmp_path, tmp_path) == available


def test_a_system_that_says_nothing_bounds_nothing(tmp_path: Path) -> None:
    assert available_bytes(tmp_path, tmp_path) is None
    assert peak_growth(lambda: None, tmp_path) == 0
    assert max_elements(0, 100, 1, 2**40) == 0
    assert max_elements(5, 100, 1, None) == 0


def test_what_some_work_takes_for_a_moment_is_seen() -> None:
    grown = peak_growth(lambda: np.ones(100 * MEBIBYTE, np.uint8).sum())
    assert 90 * MEBIBYTE < grown < 200 * MEBIBYTE


def test_batches_may_have_what_a_share_of_the_memory_holds() -> None:
    # 40 bytes an element, an eighth of 32000 bytes, two cards.
    assert max_elements(400, 10, 2, 32_000) == 50
    # What was warmed fits, or it could not have been warmed.
    assert max_elements(400, 10, 2, 100) == 10
