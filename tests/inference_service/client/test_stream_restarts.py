"""What a stream, and single calls, notice of servers that come and go: nothing."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference_service.client import AsyncInferenceClient, InferenceClient, RetryPolicy
from inference_service.client.results import StreamAnswer
from service_kit import errors
from service_kit.store.artifact_store import ArtifactStore
from tests.support.engines import pixels
from tests.support.inference_server import InferenceServer, inference_server

# Patient for as long as a test may take, and quick.
QUICK = RetryPolicy(attempts=200, stream_attempts=200, first_pause=0.01, longest_pause=0.05)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., InferenceServer]]:
    """Starts servers of model m, each with its own store; `add` is what it adds to the mean."""
    with contextlib.ExitStack() as running:

        def start_one(add: int = 0, port: int = 0, **options: Any) -> InferenceServer:
            folder = tmp_path / f"server{add}"
            folder.mkdir(exist_ok=True)
            store = ArtifactStore(str(folder / "models"))
            store.create()
            server = inference_server(store, folder, port=port, **options)
            opened = running.enter_context(server)
            opened.publish(str(add).encode(), cards=1)
            return opened

        yield start_one


def stop(server: InferenceServer) -> None:
    server.call(server.server.drain(lame_duck_seconds=0, grace_seconds=5))


def both(*servers: InferenceServer) -> str:
    return "ipv4:" + ",".join(server.address for server in servers)


def value(answer: StreamAnswer) -> float:
    return float(answer.result().outputs["probs"][0, 0])


class Groups:
    """Images by number; does something before one of them is given."""

    def __init__(self, count: int, when: dict[int, Callable[[], object]]) -> None:
        self.count, self.when, self.given = count, when, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for n in range(self.count):
            if n in self.when:
                self.when[n]()
            self.given += 1
            yield pixels(n)


def test_all_servers_behind_an_address_are_used(start: Callable[..., InferenceServer]) -> None:
    first, second = start(add=1000), start(add=2000)
    with InferenceClient(both(first, second)) as client:
        seen: Counter[int] = Counter()
        while min(seen[1000], seen[2000]) < 20:
            seen[int(client.predict("m", pixels(0)).outputs["probs"][0, 0])] += 1
        # In turn, once both connections stand.
        assert sum(seen.values()) < 400


def test_calls_go_to_the_server_that_is_left(start: Callable[..., InferenceServer]) -> None:
    first, second = start(add=1000), start(add=2000)
    with InferenceClient(both(first, second), retry=QUICK) as client:
        for n in range(100):
            if n == 30:
                stop(first)
            answer = client.predict("m", pixels(n)).outputs["probs"][0, 0]
            assert answer - n in ({1000, 2000} if n < 30 else {2000})


def test_calls_from_many_threads_survive_a_server(start: Callable[..., InferenceServer]) -> None:
    first, second = start(), start(add=1)
    results: list[float] = []
    with InferenceClient(both(first, second), retry=QUICK) as client:

        def ask(number: int) -> None:
            for n in range(50):
                if (number, n) == (0, 20):
                    stop(first)
                results.append(float(client.predict("m", pixels(n)).outputs["probs"][0, 0]) - n)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 300
    assert set(results) <= {0, 1}


@pytest.mark.parametrize("in_order", [False, True])
def test_a_rolling_restart_loses_nothing_of_a_stream(
    start: Callable[..., InferenceServer], *, in_order: bool
) -> None:
    first, second = start(), start()
    ports = [int(one.address.rpartition(":")[2]) for one in (first, second)]

    def replace(server: InferenceServer, port: int) -> Callable[[], None]:
        def run() -> None:
            stop(server)
            start(port=port)

        return run

    groups = Groups(600, {200: replace(first, ports[0]), 400: replace(second, ports[1])})
    with InferenceClient(both(first, second), retry=QUICK) as client:
        answers = list(client.stream("m", groups, window=16, in_request_order=in_order))
    assert sorted(answer.index for answer in answers) == list(range(600))
    assert all(value(answer) == answer.index for answer in answers)
    if in_order:
        assert [answer.index for answer in answers] == list(range(600))


def test_a_server_restarted_in_place_loses_nothing(start: Callable[..., InferenceServer]) -> None:
    server = start()
    port = int(server.address.rpartition(":")[2])

    def restart() -> None:
        stop(server)
        start(port=port)

    with InferenceClient(server.address, retry=QUICK) as client:
        answers = list(client.stream("m", Groups(300, {100: restart}), window=16))
    assert sorted(answer.index for answer in answers) == list(range(300))


async def test_asyncio_streams_survive_a_restart_too(
    start: Callable[..., InferenceServer],
) -> None:
    import asyncio

    server = start()
    port = int(server.address.rpartition(":")[2])

    async def groups() -> AsyncIterator[np.ndarray]:
        for n in range(300):
            if n == 100:
                await asyncio.to_thread(stop, server)
                await asyncio.to_thread(start, port=port)
            yield pixels(n)

    async with AsyncInferenceClient(server.address, retry=QUICK) as client:
        answers = [answer async for answer in client.stream("m", groups(), window=16)]
    assert sorted(answer.index for answer in answers) == list(range(300))
    assert all(value(answer) == answer.index for answer in answers)


def test_a_server_that_stays_away_ends_the_stream(start: Callable[..., InferenceServer]) -> None:
    server = start()
    few = RetryPolicy(attempts=2, stream_attempts=3, first_pause=0.001)
    with InferenceClient(server.address, retry=few) as client:
        found: list[StreamAnswer] = []
        answers = client.stream("m", Groups(100, {50: lambda: stop(server)}), window=4)
        with pytest.raises(errors.ServerStopping):
            found.extend(answers)
    indices = [answer.index for answer in found]
    assert len(indices) == len(set(indices))
    # What was answered before is not lost with the rest.
    assert set(range(40)) <= set(indices)


def streams_of(server: InferenceServer) -> int:
    """Returns how many streams have ended so far."""
    calls = server.metrics.calls
    return sum(n for (method, _), n in calls._ended.items() if method.endswith("/StreamPredict"))


class UntilAged:
    """Images by number, until so many streams have ended, and a few more."""

    def __init__(self, server: InferenceServer, ends: int) -> None:
        self._server, self._ends, self.given = server, ends, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        while self._server.on_loop(lambda: streams_of(self._server)) < self._ends:
            for _ in range(50):
                yield pixels(self.given)
                self.given += 1


@pytest.mark.parametrize("in_order", [False, True])
def test_a_stream_outlives_its_connections(
    start: Callable[..., InferenceServer], *, in_order: bool
) -> None:
    server = start(server_options={"connection_seconds": 0.3})
    groups = UntilAged(server, 4)
    with InferenceClient(server.address, retry=QUICK) as client:
        answers = list(client.stream("m", groups, window=32, in_request_order=in_order))
    indices = [answer.index for answer in answers]
    assert sorted(indices) == list(range(groups.given))
    assert all(value(answer) == answer.index for answer in answers)
    assert not in_order or indices == sorted(indices)


async def test_an_asyncio_stream_outlives_its_connections(
    start: Callable[..., InferenceServer],
) -> None:
    server = start(server_options={"connection_seconds": 0.3})
    given = 0

    async def groups() -> AsyncIterator[np.ndarray]:
        nonlocal given
        while server.on_loop(lambda: streams_of(server)) < 4:
            for _ in range(50):
                yield pixels(given)
                given += 1

    async with AsyncInferenceClient(server.address, retry=QUICK) as client:
        answers = [answer async for answer in client.stream("m", groups(), window=32)]
    assert sorted(answer.index for answer in answers) == list(range(given))
    assert all(value(answer) == answer.index for answer in answers)


def test_a_stream_that_waits_for_images_outlives_its_connection(
    start: Callable[..., InferenceServer],
) -> None:
    server = start(server_options={"connection_seconds": 0.1})
    # The retries of a new client have to do.
    with InferenceClient(server.address) as client:

        def groups() -> Iterator[np.ndarray]:
            for number in range(3):
                yield pixels(number)
                while server.on_loop(lambda: streams_of(server)) <= number:
                    pass

        answers = list(client.stream("m", groups()))
    assert [value(answer) for answer in answers] == [0, 1, 2]
