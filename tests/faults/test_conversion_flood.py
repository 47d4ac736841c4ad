"""More conversions than an exporter has places for: some are done, the others are to come back."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from exporter_service.client import ExporterClient
from service_kit import errors
from service_kit.artifacts.manifest import Manifest
from service_kit.client.retry import RetryPolicy
from service_kit.store.artifact_store import ArtifactStore
from tests.support.digits import GOLDEN, digits_request
from tests.support.services import running

CALLS, PLACES = 60, 2


@pytest.mark.timeout(300)
def test_a_flood_of_conversions_is_converted_or_refused(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path / "models"))
    store.create()
    options = ("--store", store.url, "--checkpoint-root", str(GOLDEN))
    limits = ("--workers", "1", "--queue-limit", str(PLACES), "--spare-workers", "1")
    with running("exporter_service", *options, *limits, log=tmp_path / "log") as server:

        def convert(_: int) -> Manifest | errors.PbserveError:
            try:
                with ExporterClient(server.address, retry=RetryPolicy(attempts=1)) as client:
                    *_progress, manifest = client.convert(
                        digits_request(model="flood"), timeout=240
                    )
            except errors.PbserveError as error:
                return error
            assert isinstance(manifest, Manifest)
            return manifest

        with ThreadPoolExecutor(CALLS) as pool:
            results = list(pool.map(convert, range(CALLS)))
        done = [one.version for one in results if isinstance(one, Manifest)]
        refused = [one for one in results if isinstance(one, errors.PbserveError)]
        # One that runs, and those that wait.
        assert len(done) >= PLACES + 1
        assert sorted(done) == store.versions("flood") == list(range(1, len(done) + 1))
        assert Counter(type(one) for one in refused) == {errors.QueueFull: CALLS - len(done)}
        assert all(one.retry_after for one in refused)
        # And the next one is converted.
        last = convert(CALLS)
        assert isinstance(last, Manifest)
        assert last.version == len(done) + 1
