"""Ctrl-C reaches what a test starts, however the tests themselves were started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

_WAITS = "import signal; print('ready', flush=True); signal.pause()"


def test_a_program_that_a_test_starts_can_be_interrupted() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert "KeyboardInterrupt" in errors


def test_it_can_be_when_the_tests_run_in_the_background() -> None:
    # As `nohup` and the `&` of a script start them: what ignores a signal has children that do.
    ignoring = ["/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh"]
    one = f"{Path(__file__)}::{test_a_program_that_a_test_starts_can_be_interrupted.__name__}"
    done = subprocess.run(
        [*ignoring, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", one],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
