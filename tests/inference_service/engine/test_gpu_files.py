from __future__ import annotations

from pathlib import Path

import pytest

from inference_service.engine.gpu_files import may_have_gpus


@pytest.mark.parametrize(
    ("file", "found"),
    [("nvidia0", True), ("nvidia12", True), ("kfd", True), ("dxg", True), ("nvidiactl", False)],
)
def test_the_files_of_a_driver_tell(tmp_path: Path, file: str, found: bool) -> None:  # noqa: FBT001
    assert not may_have_gpus(tmp_path)
    (tmp_path / file).touch()
    assert may_have_gpus(tmp_path) is found
