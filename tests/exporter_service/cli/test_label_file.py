from __future__ import annotations

from pathlib import Path

import pytest

from exporter_service.cli.label_file import read_labels
from service_kit import errors


def test_no_file_is_no_labels() -> None:
    assert read_labels(None) == ()


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        (b"cat\ndog\n", ("cat", "dog")),
        (b"cat\ndog", ("cat", "dog")),
        (b"cat\ndog\n\n\n", ("cat", "dog")),
        (b"cat\r\ndog\r\n", ("cat", "dog")),
        (b"\xef\xbb\xbfcat\n", ("cat",)),
        ("tench, Tinca tinca\ncrane\nb\u00f6se\ncrane\n".encode(),
         ("tench, Tinca tinca", "crane", "b\u00f6se", "crane")),
    ],
)  # fmt: skip
def test_each_line_is_a_label_in_order(
    tmp_path: Path, content: bytes, labels: tuple[str, ...]
) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    assert read_labels(path) == labels


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "labels.txt has no class labels: write one a line"),
        (b"\n\n", "has no class labels"),
        (b"cat\n\ndog\n", "labels.txt, line 2: the class label is blank"),
        (b"cat\ndog\n" + b"x" * 201, "line 3: the class label is 201 characters long"),
        (b"cat\ta\n", "line 1: the class label has control characters"),
        (b"cat\n\xff\n", "line 2: not UTF-8 (invalid start byte); save it as UTF-8"),
        (b"\xef\xbb\xbfcat\n\xff\n", "line 2: not UTF-8"),
        ("cat\ndog\n".encode("utf-16"), "line 1: not UTF-8"),
    ],
)
def test_what_is_no_label_is_named_by_file_and_line(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(errors.InvalidRequest) as caught:
        read_labels(path)
    assert words in str(caught.value)


def test_a_file_that_cannot_be_read_is_told_what_to_give(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "none.txt", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(errors.InvalidRequest) as caught:
            read_labels(path)
        assert f"from {path}: {reason}; give a text file with one label a line" in str(caught.value)
