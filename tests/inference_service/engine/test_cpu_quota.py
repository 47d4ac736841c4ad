from __future__ import annotations

import os
from pathlib import Path

import pytest

from inference_service.engine.cpu_quota import usable_cores


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """The affinity of a process on eight cores, whatever runs the tests."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def write_v1(root: Path, quota: str, period: str) -> None:
    (root / "cpu").mkdir()
    (root / "cpu/cpu.cfs_quota_us").write_text(quota)
    (root / "cpu/cpu.cfs_period_us").write_text(period)


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000\n", 8),
        ("150000 100000\n", 2),
        ("200000 100000\n", 2),
        ("1000 100000\n", 1),
        ("6400000 100000\n", 8),
    ],
)
def test_the_quota_of_cgroup_2_counts_rounded_up(tmp_path: Path, text: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert usable_cores(tmp_path) == cores


@pytest.mark.parametrize(
    ("quota", "cores"), [("-1\n", 8), ("250000\n", 3), ("300000\n", 3), ("50000\n", 1)]
)
def test_the_quota_of_cgroup_1_counts_rounded_up(tmp_path: Path, quota: str, cores: int) -> None:
    write_v1(tmp_path, quota, "100000\n")
    assert usable_cores(tmp_path) == cores


def test_the_smaller_of_two_quotas_counts(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("500000 100000\n")
    write_v1(tmp_path, "300000", "100000")
    assert usable_cores(tmp_path) == 3


@pytest.mark.parametrize(
    "text",
    ["", "max", "100000", "-100000 100000", "0 100000", "100000 0", "1.5 1", "1 1 1", "²00 100"],
)
def test_a_malformed_quota_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "cpu.max").write_text(text, encoding="utf-8")
    assert usable_cores(tmp_path) == 8


def test_half_a_quota_is_none(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("100000")
    assert usable_cores(tmp_path) == 8


def test_what_cannot_be_read_is_no_quota(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").mkdir()
    assert usable_cores(tmp_path) == 8
    assert usable_cores(tmp_path / "absent") == 8


def test_this_machine_has_a_core() -> None:
    assert usable_cores() >= 1
