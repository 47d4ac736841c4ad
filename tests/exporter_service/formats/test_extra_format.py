from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from exporter_service.formats.extra_format import ExtraFormat
from tests.exporter_service.formats.frozen_graphs import digits
from tests.support.digits import PARITY, expected


def test_checking_what_is_installed_loads_neither_tensorflow_nor_the_converter() -> None:
    code = (
        "import sys; from exporter_service.formats.extra_format import ExtraFormat\n"
        "for one in ExtraFormat: one.check_installed()\n"
        "sys.exit(bool(sys.modules.keys() & {'tensorflow', 'tf2onnx', 'onnx', 'onnxruntime'}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("wanted", ExtraFormat)
def test_each_format_is_written_and_answers(wanted: ExtraFormat, tmp_path: Path) -> None:
    graph = digits(2)
    images = expected()["images"][:3].astype(np.float32)
    path = wanted.write(graph.graph_def, graph.towers, tmp_path)
    assert path == tmp_path / wanted.file_name
    found = wanted.answers(tmp_path, graph.towers, {"input": images})
    reference = graph.answers({"input": images})
    for one, other in zip(found, reference[: len(found)], strict=True):
        np.testing.assert_allclose(one["probs"], other["probs"], rtol=0, atol=PARITY)
