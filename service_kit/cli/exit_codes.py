"""What the exit code of a command tells a script: the one table of both command lines."""

from __future__ import annotations

import enum

from service_kit import errors


class ExitCode(enum.IntEnum):
    """Exit codes. A script may repeat a call that ended with `UNAVAILABLE`, and no other.

    OK: done. FAILED: refused, or failed in a way that will repeat itself. USAGE: the options are
    wrong; nothing was sent. UNAVAILABLE: no server, or one that is stopping, busy, or has the
    model not yet. NOT_FOUND: no such model, version, label, card or checkpoint. PARTLY: some
    images, requests or servers failed, the others were answered. INTERRUPTED: Ctrl-C, as shells
    have it (128 + SIGINT).
    """

    OK = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    NOT_FOUND = 4
    PARTLY = 5
    INTERRUPTED = 130


# An error takes the code of the nearest class above it that is listed.
_CODE_OF: dict[type[errors.PbserveError], ExitCode] = {
    errors.PbserveError: ExitCode.FAILED,
    errors.NotFound: ExitCode.NOT_FOUND,
    errors.ServerStopping: ExitCode.UNAVAILABLE,
    errors.ModelUnavailable: ExitCode.UNAVAILABLE,
    errors.StoreUnavailable: ExitCode.UNAVAILABLE,
    errors.ScratchUnavailable: ExitCode.UNAVAILABLE,
    errors.QueueFull: ExitCode.UNAVAILABLE,
    errors.CardOutOfOrder: ExitCode.UNAVAILABLE,
    errors.DeadlineExpired: ExitCode.UNAVAILABLE,
}


def exit_code_of(error: errors.PbserveError) -> ExitCode:
    """Returns the exit code of a command that ends with an error."""
    return next(_CODE_OF[cls] for cls in type(error).__mro__ if cls in _CODE_OF)
