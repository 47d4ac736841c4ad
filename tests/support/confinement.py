"""A program as the manifests have it: user 10001, no capabilities, a root that is read only.

It needs root and mount namespaces. Where the machine does not have them, programs run as they are.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

USER = 10001
# Where the folder of a test is in there: those above it are closed to other users.
PLACE = Path("/mnt")

_SCRIPT = """
set -e
folder=$1; python=$2; shift 2
mount --bind "$folder" /mnt
while [ "$1" != -- ]; do mount --bind "/mnt/$1" "/mnt/$1"; shift; done; shift
# An interpreter in somebody's closed home is in an open one.
case $python in "$HOME"/*)
    mount --bind "$python" /media
    mount -t tmpfs -o mode=755 tmpfs "$HOME"
    mkdir -p "$python"
    mount --bind /media "$python" ;;
esac
mount -o remount,ro,bind /mnt
mount -o remount,ro,bind /
# The working directory of the images.
cd /
exec setpriv --reuid 10001 --regid 10001 --clear-groups --bounding-set=-all --inh-caps=-all \
    --no-new-privs "$@"
"""


def confined(folder: Path, writable: Sequence[str] = ()) -> list[str]:
    """Returns what a command begins with to be confined; it keeps its process id.

    Args:
        folder: is at `PLACE` in there.
        writable: folders in it that the user may write to.
    """
    folder.chmod(0o711)
    for name in writable:
        os.chown(folder / name, USER, USER)
    return [*("unshare", "--mount", "sh", "-c", _SCRIPT, "sh"), *_arguments(folder, writable)]


def _arguments(folder: Path, writable: Sequence[str]) -> list[str]:
    return [str(folder), sys.base_prefix, *writable, "--"]


@cache
def possible() -> bool:
    """Whether this machine can confine, and the user can then run what is installed."""
    if os.geteuid() != 0:
        return False
    folder = Path(os.environ.get("TMPDIR", "/tmp"))  # noqa: S108 - the machine's
    command = ["unshare", "--mount", "sh", "-c", _SCRIPT, "sh", *_arguments(folder, ())]
    try:
        done = subprocess.run(
            [*command, sys.executable, "-c", "import grpc, service_kit"],
            capture_output=True, check=False, timeout=60, cwd="/",
        )  # fmt: skip
    except OSError:
        return False
    return done.returncode == 0
