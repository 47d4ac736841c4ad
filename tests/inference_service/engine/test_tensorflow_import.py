from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# In a process of its own: this one may have TensorFlow.
TOGETHER = """
import gc, os, sys, threading

from inference_service.engine.devices import parse_devices
from inference_service.engine.lazy import LazyEngines
from inference_service.engine.tensorflow_import import import_tensorflow

assert "tensorflow" not in sys.modules
failures = []
begin = threading.Barrier(6)

def load():
    begin.wait()
    assert len(LazyEngines(parse_devices("cpu:2"), cores=2).devices()) == 2

def speak():
    begin.wait()
    import_tensorflow()
    assert "tensorflow" in sys.modules

def guarded(work):
    try:
        work()
    except BaseException as error:
        failures.append(error)

threads = [threading.Thread(target=guarded, args=(work,)) for work in (load, speak) * 3]
for one in threads:
    one.start()
for one in threads:
    one.join()
assert not failures, failures
assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "2"
assert os.environ["TF_OVERRIDE_GLOBAL_THREADPOOL"] == "1"
frozen = gc.get_freeze_count()
assert frozen > 100_000, frozen
# Once is enough, and what a server has made since is not frozen.
import_tensorflow()
assert gc.get_freeze_count() == frozen
"""


def test_whoever_comes_first_imports_for_all_with_the_engines_settings() -> None:
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"}
    done = subprocess.run(
        [sys.executable, "-c", TOGETHER],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
