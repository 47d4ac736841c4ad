"""Runs a package as a program that ends when its parent does, even if that is killed.

`python -m inference_service.cli.up.bound PARENT PACKAGE ARGUMENTS...`
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys

# prctl(2).
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Asks the kernel to kill it at the parent's death, then runs the package.

    Not to end it in order: nobody reads its log any more, and each line would be an error.
    """
    parent, package = int(sys.argv[1]), sys.argv[2]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It died before the kernel was asked.
        return
    sys.argv = [package, *sys.argv[3:]]
    runpy.run_module(package, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
