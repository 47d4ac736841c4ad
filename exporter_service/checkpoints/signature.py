"""Recognises by their first and last bytes the files that lie where a checkpoint should.

Every index of a V2 checkpoint and every V1 checkpoint ends in the same eight bytes, so a file
that does is never taken for something else.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from exporter_service.checkpoints.bundle_index import TABLE_MAGIC
from service_kit import errors
from service_kit.artifacts.manifest import CheckpointFormat

# A tar archive has its signature at byte 257.
HEAD_BYTES = 512
# The first entry of a table shares no byte with the one before it and has the empty key.
_TABLE_START = b"\0\0"
_AS_TF1 = "load it where it was made and save it with tf.compat.v1.train.Saver"
_UNPACK = "unpack it below a checkpoint root and give the prefix of the checkpoint in it"


@dataclass(frozen=True, slots=True)
class Foreign:
    """What a file is instead of a part of a checkpoint.

    Attributes:
        kind: goes after `is` in a message.
        remedy: what to do, in the imperative.
        damaged: whether the right file is meant and only its content is not there; otherwise
            another file is.
    """

    kind: str
    remedy: str
    damaged: bool = False


_EMPTY = Foreign("empty", "copy it again", damaged=True)
_CUT_OFF = Foreign(
    "cut off or overwritten: it starts as a checkpoint and does not end as one",
    "copy it again",
    damaged=True,
)
_UNKNOWN = Foreign(
    "neither the index of a V2 checkpoint nor a V1 checkpoint of TensorFlow",
    "give the prefix of a checkpoint, which is the path of its .index file without .index",
)
_PYTORCH = Foreign("a PyTorch file (.pt)", "export from TensorFlow 1 instead")
_SIGNATURES = tuple(
    (re.compile(signature, re.DOTALL), foreign)
    for signature, foreign in (
        (
            rb"version https://git-lfs\.github\.com/spec/v1",
            Foreign(
                "a Git LFS pointer",
                "run `git lfs pull` in the repository that it comes from",
                damaged=True,
            ),
        ),
        (
            rb"(\xef\xbb\xbf)?\s*<(?i:!doctype|html|head|\?xml)",
            Foreign("a web page or a web server's error", "download the file itself", damaged=True),
        ),
        (rb"\x89HDF\r\n\x1a\n", Foreign("an HDF5 file, as Keras writes it (.h5)", _AS_TF1)),
        (rb"\x1f\x8b\x08", Foreign("compressed with gzip", _UNPACK)),
        (rb"BZh[1-9]1AY&SY", Foreign("compressed with bzip2", _UNPACK)),
        (rb"\xfd7zXZ\0", Foreign("compressed with xz", _UNPACK)),
        (rb".{257}ustar", Foreign("a tar archive", _UNPACK)),
        # A pickle of PyTorch's magic number.
        (rb"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", _PYTORCH),
        # In zip files the name of the first member begins at byte 30.
        (rb"PK\x03\x04.{26}[^/]+/(data\.pkl|byteorder|version|\.format_version)", _PYTORCH),
        (
            rb"PK\x03\x04.{26}(metadata\.json|config\.json|model\.weights\.h5)",
            Foreign("a Keras file (.keras)", _AS_TF1),
        ),
        (rb"PK\x03\x04.{26}[^\0]{,200}\.npy", Foreign("arrays of NumPy (.npz)", _AS_TF1)),
        (rb"PK\x03\x04", Foreign("a zip archive", _UNPACK)),
        # SavedModel.saved_model_schema_version is 1, and meta_graphs follows.
        (
            rb"\x08\x01\x12",
            Foreign(
                "the graph of a SavedModel",
                "its variables are a checkpoint: give variables/variables in its folder",
            ),
        ),
        # GraphDef.node and its length, NodeDef.name and its length, a name, NodeDef.op.
        (
            rb"\n[\x80-\xff]{,4}[\0-\x7f]\n[\x01-\x7f][A-Za-z0-9.][A-Za-z0-9_.\\/>-]*\x12",
            Foreign(
                "a TensorFlow graph (.pb)",
                "a frozen graph needs no checkpoint, publish it with `pbexport adopt`",
            ),
        ),
    )
)


def foreign_content(head: bytes) -> Foreign | None:
    """Returns what a file is by its first `HEAD_BYTES` bytes; None: nothing that is known."""
    if not head:
        return _EMPTY
    return next((foreign for signature, foreign in _SIGNATURES if signature.match(head)), None)


def foreign_file(path: Path) -> Foreign | None:
    """Returns what a file is instead of raw values, if that is known.

    Values may be any bytes: ask only when they have turned out to be wrong.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return foreign_content(file.read(HEAD_BYTES))


def check_table(path: Path, format_: CheckpointFormat) -> None:
    """Checks by a few bytes that a file may be a V2 index or, for V1, a checkpoint.

    Raises:
        CheckpointCorrupt: its content is lost, or an index holds something else.
        InvalidRequest: it is a file of another kind, where any path could have been given.
        OSError: it cannot be read.
    """
    foreign = _foreign_table(path)
    if foreign is None:
        return
    message = f"{path.name} cannot be read as a checkpoint: it is {foreign.kind}; {foreign.remedy}"
    if foreign.damaged or format_ is CheckpointFormat.V2:
        raise errors.CheckpointCorrupt(message)
    raise errors.InvalidRequest(message)


def _foreign_table(path: Path) -> Foreign | None:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        file.seek(max(0, file.seek(0, os.SEEK_END) - len(TABLE_MAGIC)))
        if file.read(len(TABLE_MAGIC)) == TABLE_MAGIC:
            return None
    if head.startswith(_TABLE_START):
        return _CUT_OFF
    return foreign_content(head) or _UNKNOWN
