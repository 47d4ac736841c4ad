from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inference_service.client import AsyncInferenceClient, RetryPolicy
from inference_service.client.codec import Inputs
from inference_service.client.results import StreamAnswer
from service_kit import errors
from service_kit.store.artifact_store import ArtifactStore
from tests.support.engines import pixels
from tests.support.inference_server import InferenceServer, inference_server


@pytest.fixture
async def client(server: InferenceServer) -> AsyncIterator[AsyncInferenceClient]:
    async with AsyncInferenceClient(server.address) as opened:
        yield opened


async def test_predicts_as_the_other_client(
    server: InferenceServer, client: AsyncInferenceClient, tmp_path: Path
) -> None:
    server.publish(b"5")
    prediction = await client.predict("m", pixels(1, 2, dtype="uint8"), card=1)
    np.testing.assert_allclose(prediction.outputs["probs"][:, 0], [6, 7])
    assert (prediction.model, prediction.version, prediction.card) == ("m", 1, 1)
    path = tmp_path / "a.png"
    Image.new("RGB", (6, 4), (9, 9, 9)).save(path)
    both = await client.predict("m", [path, path.read_bytes()], image_fit="stretch")
    assert both.outputs["probs"].tolist() == [[14] * 3] * 2
    with pytest.raises(errors.CardNotFound, match="no card 9"):
        await client.predict("m", pixels(1), card=9)
    with pytest.raises(errors.InvalidRequest, match=r"no\.png cannot be read"):
        await client.predict("m", tmp_path / "no.png")


async def test_many_calls_run_at_the_same_time(
    server: InferenceServer, client: AsyncInferenceClient
) -> None:
    server.publish()
    found = await asyncio.gather(*(client.predict("m", pixels(n)) for n in range(50)))
    assert [one.outputs["probs"][0, 0] for one in found] == list(range(50))


def generated(count: int) -> Iterator[np.ndarray]:
    for n in range(count):
        yield pixels(n)


async def awaited(count: int) -> AsyncIterator[np.ndarray]:
    for n in range(count):
        await asyncio.sleep(0)
        yield pixels(n)


@pytest.mark.parametrize("groups", [generated, awaited, lambda n: list(generated(n))])
@pytest.mark.parametrize("in_order", [False, True])
async def test_a_stream_yields_every_answer_with_its_index(
    server: InferenceServer, client: AsyncInferenceClient, groups: Any, *, in_order: bool
) -> None:
    server.publish()
    stream = client.stream("m", groups(200), window=16, in_request_order=in_order)
    answers = [answer async for answer in stream]
    found = {answer.index: answer.result().outputs["probs"][0, 0] for answer in answers}
    assert found == {n: n for n in range(200)}
    assert not in_order or [answer.index for answer in answers] == list(range(200))


async def test_errors_belong_to_their_answers(
    server: InferenceServer, client: AsyncInferenceClient, tmp_path: Path
) -> None:
    server.publish()
    groups: list[Inputs] = [pixels(1), pixels(1, dtype="float64"), tmp_path / "no.png", pixels(3)]
    answers = [a async for a in client.stream("m", groups, in_request_order=True, window=1)]
    kinds = [type(answer.error) for answer in answers]
    assert kinds == [type(None), errors.InvalidTensor, errors.InvalidRequest, type(None)]


async def test_the_event_loop_is_never_blocked_by_groups(
    server: InferenceServer, client: AsyncInferenceClient
) -> None:
    server.publish()
    ticked = threading.Event()

    def groups() -> Iterator[np.ndarray]:
        # Goes on only when the loop has run meanwhile.
        assert ticked.wait(30)
        yield pixels(1)

    stream = client.stream("m", groups())
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    ticked.set()
    assert (await first).index == 0


async def test_the_window_bounds_what_is_in_flight(
    server: InferenceServer, client: AsyncInferenceClient
) -> None:
    server.publish(cards=1)
    server.engines[0].gate.clear()
    taken = []

    async def groups() -> AsyncIterator[np.ndarray]:
        for n in range(50):
            taken.append(n)
            yield pixels(n)

    stream = client.stream("m", groups(), window=5)
    answers = asyncio.ensure_future(collected(stream))
    assert await asyncio.to_thread(server.engines[0].started.acquire, timeout=30)
    # One more is taken from the caller and waits for its place.
    while len(taken) < 6:
        await client.models()
    for _ in range(20):
        await client.models()
    assert len(taken) == 6
    server.engines[0].gate.set()
    assert len(await answers) == 50


async def collected(stream: AsyncIterator[StreamAnswer]) -> list[StreamAnswer]:
    return [answer async for answer in stream]


async def test_what_the_callers_groups_raise_reaches_the_caller(
    server: InferenceServer, client: AsyncInferenceClient
) -> None:
    server.publish()

    async def later() -> AsyncIterator[np.ndarray]:
        yield pixels(1)
        raise FileNotFoundError("b.png")

    def now() -> Iterator[np.ndarray]:
        yield pixels(1)
        raise FileNotFoundError("b.png")

    for groups in (later(), now()):
        stream = client.stream("m", groups)
        assert (await anext(stream)).index == 0
        with pytest.raises(FileNotFoundError, match=r"b\.png"):
            await anext(stream)


async def test_leaving_a_stream_early_ends_it(
    server: InferenceServer, client: AsyncInferenceClient
) -> None:
    server.publish()
    ended = asyncio.Event()

    async def groups() -> AsyncIterator[np.ndarray]:
        try:
            while True:
                yield pixels(1)
        finally:
            ended.set()

    before = asyncio.all_tasks()
    async with contextlib.aclosing(client.stream("m", groups(), window=2)) as stream:
        await anext(stream)
    await asyncio.wait_for(ended.wait(), 30)
    while asyncio.all_tasks() - before:
        await asyncio.sleep(0)
    assert (await client.predict("m", pixels(4))).outputs["probs"][0, 0] == 4


async def test_a_cancelled_stream_ends(
    server: InferenceServer, client: AsyncInferenceClient
) -> None:
    server.publish(cards=1)
    server.engines[0].gate.clear()
    before = asyncio.all_tasks()
    running = asyncio.create_task(collected(client.stream("m", generated(9))))
    assert await asyncio.to_thread(server.engines[0].started.acquire, timeout=30)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    server.engines[0].gate.set()
    while asyncio.all_tasks() - before:
        await asyncio.sleep(0)


async def test_a_deadline_ends_a_stream_wherever_it_waits(
    server: InferenceServer, client: AsyncInferenceClient
) -> None:
    server.publish(cards=1)
    never = asyncio.Event()

    async def groups() -> AsyncIterator[np.ndarray]:
        await never.wait()
        yield pixels(1)

    with pytest.raises(errors.DeadlineExpired):
        await collected(client.stream("m", groups(), timeout=0.1))
    server.engines[0].gate.clear()
    # The server may say so first, of the group.
    with pytest.raises(errors.DeadlineExpired):
        [answer.result() async for answer in client.stream("m", [pixels(1)], timeout=0.3)]


async def test_a_full_queue_loses_nothing_of_a_stream(store: ArtifactStore, tmp_path: Path) -> None:
    with inference_server(store, tmp_path, queue_images=2) as server:
        await asyncio.to_thread(server.publish, cards=1)
        patient = RetryPolicy(stream_attempts=1000, first_pause=0.01)
        async with AsyncInferenceClient(server.address, retry=patient) as client:
            server.engines[0].gate.clear()
            running = asyncio.create_task(collected(client.stream("m", generated(100), window=20)))
            while (await client.model("m")).versions[0].cards[0].counts.refused_requests < 20:
                assert not running.done()
            server.engines[0].gate.set()
            answers = await running
        assert {a.index: a.result().outputs["probs"][0, 0] for a in answers} == {
            n: n for n in range(100)
        }


async def test_the_only_group_under_way_is_sent_again(store: ArtifactStore, tmp_path: Path) -> None:
    with inference_server(store, tmp_path, queue_images=1) as server:
        await asyncio.to_thread(server.publish, cards=1)
        server.engines[0].gate.clear()
        patient = RetryPolicy(stream_attempts=1000, first_pause=0.01, longest_pause=0.01)
        async with AsyncInferenceClient(server.address, retry=patient) as client:
            first = asyncio.create_task(client.predict("m", pixels(1)))
            assert await asyncio.to_thread(server.engines[0].started.acquire, timeout=30)
            second = asyncio.create_task(collected(client.stream("m", [pixels(2)])))
            while (await client.model("m")).versions[0].cards[0].counts.refused_requests < 3:
                assert not second.done()
            server.engines[0].gate.set()
            await first
            (answer,) = await second
    assert answer.result().outputs["probs"][0, 0] == 2


async def test_models_are_shown_and_changed(
    server: InferenceServer, client: AsyncInferenceClient
) -> None:
    await asyncio.to_thread(server.publish)
    (model,) = await client.models()
    assert model == await client.model("m")
    assert (await client.load("m", 1)).state == "AVAILABLE"
    await client.set_label("m", "stable", 1)
    assert (await client.model("m")).labels == {"stable": 1}
    await client.set_label("m", "stable", 0)
    assert await client.problems() == ()
    await client.unload("m")
    with pytest.raises(errors.ModelNotFound):
        await client.predict("m", pixels(1))


async def test_waits_until_a_model_is_ready(
    server: InferenceServer, client: AsyncInferenceClient
) -> None:
    await client.wait_until_ready(timeout=30)
    waiting = asyncio.create_task(client.wait_until_ready("m", timeout=30))
    await asyncio.to_thread(server.publish)
    await waiting
    with pytest.raises(errors.DeadlineExpired, match="model x was not ready within"):
        await client.wait_until_ready("x", timeout=0.2)
