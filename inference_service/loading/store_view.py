"""What is known of the store: what it had when it was last looked at, or why it cannot be read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping

import structlog

from inference_service.loading.counts import HotLoadCounts
from inference_service.models.publication import Fingerprints, Publication
from service_kit import errors
from service_kit.store.artifact_store import ArtifactStore
from service_kit.store.local_mark import MARK

_log = structlog.get_logger(__name__)


class StoreView:
    """Looks at one store when it is told to, and remembers. Belongs to the event loop."""

    def __init__(
        self,
        store: ArtifactStore,
        counts: HotLoadCounts,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Knows nothing yet.

        Args:
            store: has what is published.
            counts: of looks, and their seconds.
            clock: times the looks, in seconds.
        """
        self._store = store
        self._counts = counts
        self._clock = clock
        self._looks = self._newest_look = 0
        self._published: dict[str, Mapping[int, str]] = {}
        # Why the last look failed; empty: it did not.
        self.problem = ""
        # Why what was seen may not be the store; empty: it is.
        self.mark_problem = ""

    @property
    def url(self) -> str:
        """Where the store is."""
        return self._store.url

    @property
    def published(self) -> Fingerprints:
        """Model -> version -> fingerprint of what the store had when it was last looked at."""
        return self._published

    def publications(self) -> Iterator[Publication]:
        """Yields the same one by one."""
        for model, versions in self._published.items():
            for version, fingerprint in versions.items():
                yield Publication(model, version, fingerprint)

    def publication(self, model: str, version: int) -> Publication:
        """Returns a version as the store had it; its fingerprint is empty if it had none."""
        return Publication(model, version, self._published.get(model, {}).get(version, ""))

    async def look(self, model: str | None = None) -> bool:
        """Looks at the store, for one model or all; False when it cannot be reached.

        A store that cannot be reached changes nothing.
        """
        self._looks += 1
        number = self._looks
        began = self._clock()
        try:
            published = await asyncio.to_thread(self._store.published)
        except errors.StoreUnavailable as error:
            self._counts.looked(self._clock() - began, reached=False)
            if str(error) != self.problem:
                _log.warning("store_unavailable", message=str(error))
            self.problem = str(error)
            return False
        self._counts.looked(self._clock() - began, reached=True)
        if self.problem:
            _log.info("store_available")
        self.problem = ""
        self._note_mark()
        if number < self._newest_look:
            # A look that began later has ended before: it knows better.
            return True
        self._newest_look = number
        if model is None:
            self._published = dict(published)
        elif model in published:
            self._published[model] = published[model]
        else:
            self._published.pop(model, None)
        return True

    def _note_mark(self) -> None:
        problem = ""
        if self._store.is_unmarked:
            problem = (
                f"mount its volume, if it has one: {self.url} has no {MARK}, which pbexport puts "
                "into a store, and may be an empty mount point; --require-store-mark refuses it"
            )
        if problem and not self.mark_problem:
            _log.warning("store_unmarked", message=problem)
        self.mark_problem = problem
