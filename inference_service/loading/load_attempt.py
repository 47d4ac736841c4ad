"""One load, which can be ended before its time."""

from __future__ import annotations

import contextlib
import threading

import structlog

from inference_service.engine import Engine
from inference_service.loading.malloc_trim import give_back
from service_kit import errors

_log = structlog.get_logger(__name__)


class LoadAttempt:
    """Has the engine that is being warmed, so that somebody else can close it.

    A thread that hangs in a graph cannot be ended. Closing its engine ends what runs in it, where
    the engine can do that: TensorFlow looks between two ops, and so at every turn of a loop.
    """

    def __init__(self, name: str) -> None:
        """Has no engine yet; `name` is of the load, for the log."""
        self._name = name
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._given_up = False

    def take(self, engine: Engine) -> None:
        """Remembers what is to be closed.

        Raises:
            LoadTimedOut: nobody waits for the load any more; the engine is closed.
        """
        with self._lock:
            if not self._given_up:
                self._engine = engine
                return
        engine.close()
        give_back()
        raise errors.LoadTimedOut("nobody waits for it any more")

    def done(self) -> Engine | None:
        """Returns the engine, which belongs to the caller from now on; None: it is being closed."""
        with self._lock:
            engine, self._engine = self._engine, None
        return engine

    def give_up(self) -> None:
        """Has the engine closed, on a thread of its own: it may not come back."""
        with self._lock:
            self._given_up = True
        engine = self.done()
        if engine is not None:
            threading.Thread(
                target=self._close, args=(engine,), name="give-up", daemon=True
            ).start()

    def _close(self, engine: Engine) -> None:
        with contextlib.suppress(Exception):
            engine.close()
            give_back()
            _log.info("load_ended", load=self._name)
