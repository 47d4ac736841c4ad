"""Class labels in a text file, one a line."""

from __future__ import annotations

import codecs
from pathlib import Path

from service_kit import errors
from service_kit.artifacts.class_labels import problem_of_label


def read_labels(path: Path | None) -> tuple[str, ...]:
    """Returns the labels of a UTF-8 text file, one a line, in order; none for None.

    Blank lines at the end do not count.

    Raises:
        InvalidRequest: the file cannot be read, is not UTF-8, has no label, or a line is none;
            says which.
    """
    if path is None:
        return ()
    try:
        # Some editors begin a file with a mark that is no part of the first label.
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise errors.InvalidRequest(
            f"cannot read class labels from {path}: {error.strerror}; give a text file with one "
            "label a line"
        ) from error
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        broken = content.count(b"\n", 0, error.start) + 1
        raise errors.InvalidRequest(
            f"{path}, line {broken}: not UTF-8 ({error.reason}); save it as UTF-8, one label a line"
        ) from error
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise errors.InvalidRequest(f"{path} has no class labels: write one a line")
    for number, line in enumerate(lines, 1):
        problem = problem_of_label(line)
        if problem:
            raise errors.InvalidRequest(f"{path}, line {number}: the class label {problem}")
    return tuple(lines)
