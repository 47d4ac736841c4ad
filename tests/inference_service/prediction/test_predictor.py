from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from PIL import Image

from inference_service.cards.batch_tensors import join_tensors
from inference_service.cards.batching import Priority
from inference_service.cards.card_spec import CardLimits
from inference_service.images.decoders import Decoders
from inference_service.models.registry import Loaded, Registry
from inference_service.models.servable import Servable
from inference_service.prediction import outputs
from inference_service.prediction.predictor import Predictor
from inference_service.prediction.request import InferenceRequest, InferenceResult
from inference_service.prediction.top_classes import top_classes
from service_kit import errors
from tests.support.engines import MeanEngine, pixels
from tests.support.servables import mean_servable

WAIT = 30.0


def png(value: int = 7, side: int = 2) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), (value,) * 3).save(out, "PNG")
    return out.getvalue()


class Bench:
    """A predictor over one model, and an image that keeps its decoder until it may go on."""

    def __init__(self, **servable: Any) -> None:
        self.engine = MeanEngine()
        limits = CardLimits(4, queue_images=10, queue_bytes=10_000)
        self.servable: Servable = mean_servable(self.engine, **({"limits": limits} | servable))
        registry = Registry()
        registry.install(Loaded(self.servable, "f"))
        self.decoders = Decoders(1)
        self.go_on = threading.Event()
        self.predictor = Predictor(registry, self.decoders)

    def ask(
        self,
        *values: int,
        seconds_left: float | None = None,
        ends_by_itself: bool = True,
        **changes: Any,
    ) -> asyncio.Task[InferenceResult]:
        """Asks for encoded images."""
        encoded = {"input": [png(value) for value in values]}
        inference_request = replace(InferenceRequest("m", {}), encoded=encoded, **changes)
        return asyncio.create_task(
            self.predictor.answer(inference_request, seconds_left, ends_by_itself=ends_by_itself)
        )

    def ask_raw(
        self,
        *values: float,
        seconds_left: float | None = None,
        ends_by_itself: bool = True,
        **changes: Any,
    ) -> asyncio.Task[InferenceResult]:
        inference_request = InferenceRequest("m", {"input": pixels(*values)}, **changes)
        return asyncio.create_task(
            self.predictor.answer(inference_request, seconds_left, ends_by_itself=ends_by_itself)
        )

    @property
    def card(self) -> Any:
        return self.servable.cards[0]

    async def until(self, images: int) -> None:
        """Waits until so many images are outstanding."""
        while self.card.status().outstanding_images != images:
            await asyncio.sleep(0)

    async def hold_decoder(self) -> threading.Event:
        """Keeps the decoders' thread busy until the event is set."""
        going, go_on = threading.Event(), self.go_on

        def work() -> None:
            going.set()
            assert go_on.wait(WAIT)

        self.decoders._free -= 1
        turn = self.decoders._threads.submit(work)
        loop = asyncio.get_running_loop()
        turn.add_done_callback(lambda _: loop.call_soon_threadsafe(self.decoders._next_turn))
        assert await asyncio.to_thread(going.wait, WAIT)
        return go_on

    async def hold_engine(self) -> asyncio.Task[InferenceResult]:
        self.engine.gate.clear()
        first = self.ask_raw(0)
        assert await asyncio.to_thread(self.engine.started.acquire, timeout=WAIT)
        return first


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    one = Bench()
    yield one
    one.engine.gate.set()
    one.go_on.set()
    one.decoders.close()
    one.servable.close()


async def test_a_request_with_too_many_numbers_is_refused(bench: Bench) -> None:
    bench.card.limits = CardLimits(4, elements=24)
    assert (await bench.ask_raw(1, 2)).outputs["probs"].shape == (2, 3)
    with pytest.raises(errors.InvalidTensor, match="36 numbers, and the model takes 24"):
        await bench.ask_raw(1, 2, 3)
    with pytest.raises(errors.InvalidTensor, match="36 numbers"):
        await bench.ask(1, 2, 3)


def means(answer: InferenceResult) -> list[float]:
    return [float(value) for value in answer.outputs["probs"][:, 0]]


async def test_encoded_images_wait_for_a_decoder_in_the_places_of_their_card(bench: Bench) -> None:
    go_on = await bench.hold_decoder()
    waiting = [bench.ask(n, n + 1) for n in (10, 20, 30, 40, 50)]
    await bench.until(10)
    with pytest.raises(errors.QueueFull, match="10 images outstanding, and takes 10") as caught:
        await bench.ask(9)
    assert caught.value.retry_after
    go_on.set()
    assert [means(await one) for one in waiting] == [[n, n + 1] for n in (10, 20, 30, 40, 50)]
    assert (bench.card.status().outstanding_images, bench.card.status().outstanding_bytes) == (0, 0)
    assert bench.servable.requests.failed == 1


async def test_encoded_bytes_count_while_they_wait_and_so_does_what_comes_out(
    bench: Bench,
) -> None:
    go_on = await bench.hold_decoder()
    waiting = bench.ask(1, 2)
    await bench.until(2)
    assert bench.card.status().outstanding_bytes == 2 * (len(png()) + 2 * 2 * 3)
    go_on.set()
    await waiting


async def test_interactive_requests_are_decoded_before_bulk(bench: Bench) -> None:
    bench.servable.limit(lambda _: CardLimits(1, queue_images=100))
    go_on, order = await bench.hold_decoder(), list[str]()
    waiting = [bench.ask(1, priority=Priority.BULK) for _ in range(2)]
    await bench.until(2)
    waiting += [bench.ask(2) for _ in range(2)]
    await bench.until(4)
    for one, name in zip(waiting, ["bulk", "bulk", "now", "now"], strict=True):
        one.add_done_callback(partial(_note, order, name))
    go_on.set()
    await asyncio.gather(*waiting)
    assert order == ["now", "now", "bulk", "bulk"]


def _note(order: list[str], name: str, _: object) -> None:
    order.append(name)


async def test_who_is_cancelled_before_the_decoder_is_free_leaves_at_once(bench: Bench) -> None:
    go_on = await bench.hold_decoder()
    waiting = bench.ask(1, 2, 3)
    await bench.until(3)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert bench.card.status().outstanding_images == 0
    assert bench.card.status().counts.cancelled_requests == 1
    go_on.set()
    assert means(await bench.ask(5)) == [5]
    assert sum(images for _, images in bench.engine.batches) == 1


async def test_who_expires_before_the_decoder_is_free_is_told_at_once(bench: Bench) -> None:
    go_on = await bench.hold_decoder()
    with pytest.raises(errors.DeadlineExpired, match="on card 0, with 0 of 2 images computed"):
        await bench.ask(1, 2, seconds_left=0.01, ends_by_itself=False)
    assert bench.card.status().outstanding_images == 0
    assert bench.card.status().counts.expired_requests == 1
    assert bench.servable.requests.failed == 1
    go_on.set()
    assert means(await bench.ask(5)) == [5]
    assert sum(images for _, images in bench.engine.batches) == 1


async def test_who_has_expired_on_arrival_is_not_decoded(bench: Bench) -> None:
    await bench.hold_decoder()
    with pytest.raises(errors.DeadlineExpired, match="on arrival"):
        await bench.ask(1, seconds_left=0.0)
    assert bench.card.status().counts.expired_requests == 1


async def test_a_deadline_ends_the_waiting_for_an_engine_that_is_busy(bench: Bench) -> None:
    first = await bench.hold_engine()
    with pytest.raises(errors.DeadlineExpired):
        await bench.ask_raw(1, seconds_left=0.01, ends_by_itself=False)
    assert bench.card.status().outstanding_images == 1
    bench.engine.gate.set()
    assert means(await first) == [0]
    assert bench.card.status().counts.expired_requests == 1


async def test_there_is_no_timer_for_a_call_that_somebody_else_ends(bench: Bench) -> None:
    first = await bench.hold_engine()
    late = bench.ask_raw(1, seconds_left=0.01)
    await bench.until(2)
    _, waiting = await asyncio.wait([late], timeout=0.1)
    assert waiting == {late}
    # Nobody has cancelled it: the card drops it when it takes it from its queue.
    bench.engine.gate.set()
    with pytest.raises(errors.DeadlineExpired, match="with 0 of 1 images computed"):
        await late
    assert means(await first) == [0]
    assert bench.card.status().counts.expired_requests == 1
    assert sum(images for _, images in bench.engine.batches) == 1


async def test_a_call_that_grpc_cancels_at_its_deadline_has_expired(bench: Bench) -> None:
    first = await bench.hold_engine()
    late, gone = bench.ask_raw(1, seconds_left=0.05), bench.ask_raw(2, seconds_left=WAIT)
    await bench.until(3)
    late.cancel()
    gone.cancel()
    await asyncio.wait([late, gone])
    counts = bench.card.status().counts
    assert (counts.expired_requests, counts.cancelled_requests) == (1, 1)
    assert bench.servable.requests.failed == 1
    bench.engine.gate.set()
    await first


async def test_an_image_that_does_not_decode_gives_its_place_back(bench: Bench) -> None:
    inference_request = InferenceRequest("m", {}, encoded={"input": [png(), b"no image"]})
    with pytest.raises(errors.InvalidTensor, match="image 1 of input 'input' does not decode"):
        await bench.predictor.answer(inference_request, None)
    assert bench.card.status().outstanding_images == 0
    assert bench.card.status().counts.cancelled_requests == 0


async def test_an_input_that_the_model_does_not_have_is_refused_undecoded(bench: Bench) -> None:
    await bench.hold_decoder()
    inference_request = InferenceRequest("m", {}, encoded={"pictures": [b"no image"]})
    with pytest.raises(errors.InvalidTensor, match=r"inputs are \['pictures'\]; the model takes"):
        await bench.predictor.answer(inference_request, None)


async def test_many_encoded_images_are_spread_over_idle_cards_in_their_order() -> None:
    bench = Bench(cards=3, limits=CardLimits(4))
    answer = await bench.ask(*range(12))
    assert means(answer) == list(range(12))
    assert sorted(answer.cards) == [0, 1, 2]
    bench.decoders.close()
    bench.servable.close()


async def test_large_answers_are_made_beside_the_event_loop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def noting(*args: Any) -> Any:
        threads.append(threading.get_ident())
        return top_classes(*args)

    monkeypatch.setattr(outputs, "top_classes", noting)
    small = await bench.ask_raw(1, 2, top=3)
    large = await bench.ask_raw(*[1.0] * 400, top=3)
    assert [len(one.top) for one in (small, large)] == [2, 400]
    assert large.top[0] == small.top[0]
    assert threads[0] == threading.get_ident()
    assert threads[1] != threading.get_ident()


async def test_large_outputs_of_several_cards_are_joined_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench, threads = Bench(cards=2, limits=CardLimits(4, queue_images=100)), list[int]()

    def noting(parts: Any) -> Any:
        threads.append(threading.get_ident())
        return join_tensors(parts)

    monkeypatch.setattr(outputs, "join_tensors", noting)
    assert means(await bench.ask_raw(*range(8))) == list(range(8))
    monkeypatch.setattr(outputs, "_LARGE_JOIN_BYTES", 95)
    assert means(await bench.ask_raw(*range(8))) == list(range(8))
    assert threads[0] == threading.get_ident()
    assert threads[1] != threading.get_ident()
    bench.decoders.close()
    bench.servable.close()


@pytest.mark.parametrize("encoded", [False, True], ids=["pixels", "encoded"])
async def test_a_request_with_too_many_images_is_refused_before_it_takes_a_place(
    encoded: bool,  # noqa: FBT001 - a case
) -> None:
    engine = MeanEngine()
    servable = mean_servable(engine)
    registry = Registry()
    registry.install(Loaded(servable, "f"))
    decoders = Decoders(1)
    predictor = Predictor(registry, decoders, max_request_images=2)

    def inference_request(images: int) -> InferenceRequest:
        if encoded:
            return InferenceRequest("m", {}, encoded={"input": [png()] * images})
        return InferenceRequest("m", {"input": pixels(*[1.0] * images)})

    assert len((await predictor.answer(inference_request(2), None)).outputs["probs"]) == 2
    with pytest.raises(errors.InvalidRequest, match="has 3 images, and may have 2"):
        await predictor.answer(inference_request(3), None)
    assert servable.cards[0].status().outstanding_images == 0
    await asyncio.to_thread(servable.close)
    decoders.close()
