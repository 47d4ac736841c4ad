from __future__ import annotations

from pathlib import Path

import pytest

from exporter_service.formats.model_file import write_message
from service_kit import errors


class HugeMessage:
    def ByteSize(self) -> int:  # noqa: N802
        return 2**31


def test_more_than_protobuf_holds_is_refused_before_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(errors.Unconvertible, match=r"model\.onnx would have 2147483648 bytes"):
        write_message(HugeMessage(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
