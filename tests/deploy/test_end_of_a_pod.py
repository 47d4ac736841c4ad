"""A pod that is told to end under load loses nothing: with the manifests' own numbers."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inference_service.client import InferenceClient
from service_kit import errors
from service_kit.client.retry import RetryPolicy
from service_kit.store.artifact_store import ArtifactStore
from tests.conftest import Converted
from tests.support.digits import PARITY, expected
from tests.support.overlays import containers, overlay
from tests.support.pods import Pod, running_pod

pytestmark = pytest.mark.slow

IMAGES, PROBS = expected()["images"], expected()["probs_ema"]
# Answers that a caller gets before the pod is told to end, and after it has said so.
BEFORE, AFTER = 20, 20
# Nothing that a pod refuses may be hidden by a client that asks again.
ONCE = RetryPolicy(attempts=1, stream_attempts=1)


@dataclass
class Load:
    """Callers of two pods, and what became of what they asked."""

    ending: Pod
    staying: Pod
    said_so: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)
    answered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    problems: list[str] = field(default_factory=list)
    refused: list[BaseException] = field(default_factory=list)
    late: int = 0
    _threads: list[threading.Thread] = field(default_factory=list)

    def ask(self, client: InferenceClient, number: int, images: int) -> None:
        at = np.arange(number, number + images) % len(IMAGES)
        probs = client.predict("digits", IMAGES[at]).outputs["probs"]
        if np.abs(probs - PROBS[at]).max() >= PARITY:
            self.problems.append(f"request {number} has a wrong answer")
        self.answered.release()

    def start(self, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                self.problems.append(repr(error))

        self._threads.append(threading.Thread(target=run, daemon=True))
        self._threads[-1].start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    @contextlib.contextmanager
    def clients(self) -> Iterator[tuple[InferenceClient, InferenceClient]]:
        with (
            InferenceClient(self.ending.address("grpc"), retry=ONCE) as ending,
            InferenceClient(self.staying.address("grpc"), retry=ONCE) as staying,
        ):
            yield ending, staying

    def attentive(self) -> None:
        """Goes as soon as health says NOT_SERVING, as a client does that watches it."""
        with self.clients() as (ending, staying):
            for number in itertools.count():
                if self.gone.is_set():
                    return
                self.ask(staying if self.said_so.is_set() else ending, number, 1)

    def slow(self) -> None:
        """Goes some requests later, as a balancer does that hears of it last."""
        with self.clients() as (ending, staying):
            numbers = itertools.count()
            while not self.said_so.is_set():
                self.ask(ending, next(numbers), 1)
            for _ in range(AFTER):
                self.ask(ending, next(numbers), 1)
                self.late += 1
            while not self.gone.is_set():
                self.ask(staying, next(numbers), 1)

    def deaf(self) -> None:
        """Goes when it is refused, and not before: the refused request is asked of the other."""
        with self.clients() as (ending, staying):
            for number in itertools.count():
                try:
                    self.ask(ending, number, 8)
                except errors.PbserveError as error:
                    self.refused.append(error)
                    self.ask(staying, number, 8)
                    return

    def spread(self) -> None:
        """Has a connection to each, as through the headless service, and the client's defaults."""
        both = f"ipv4:{self.ending.address('grpc')},{self.staying.address('grpc')}"
        with InferenceClient(both) as client:
            for number in itertools.count():
                if self.gone.is_set():
                    return
                self.ask(client, number, 1)

    def streaming(self) -> None:
        """Streams until the stream is ended, and asks the other for what has no answer."""
        sent, answers = 0, set()
        with self.clients() as (ending, staying):

            def images() -> Iterator[Any]:
                nonlocal sent
                for number in itertools.count():
                    sent = number + 1
                    yield IMAGES[number % len(IMAGES)][None]

            try:
                for answer in ending.stream("digits", images()):
                    probs = answer.result().outputs["probs"]
                    if np.abs(probs[0] - PROBS[answer.index % len(PROBS)]).max() >= PARITY:
                        self.problems.append(f"image {answer.index} has a wrong answer")
                    answers.add(answer.index)
                    self.answered.release()
            except errors.ServerStopping as error:
                self.refused.append(error)
            for number in set(range(sent)) - answers:
                self.ask(staying, number, 1)

    def watch(self) -> None:
        """Hears what the pod says of itself."""
        port = self.ending.ports[self.ending.container.ports["health"]]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answers = stub.Watch(health_pb2.HealthCheckRequest())
            with contextlib.suppress(grpc.RpcError):
                for answer in answers:
                    if answer.status != health_pb2.HealthCheckResponse.SERVING:
                        break
        self.said_so.set()


@pytest.fixture(scope="module")
def store(converted_ema: Converted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    opened = ArtifactStore(str(folder / "models"))
    opened.create()
    opened.publish("digits", converted_ema.conversion, converted_ema.path)
    return folder / "models"


@pytest.fixture
def pods(store: Path, tmp_path: Path) -> Iterator[tuple[Pod, Pod]]:
    (container,) = (c for c in containers(overlay("dev")) if c.program == "pbserve")
    with contextlib.ExitStack() as stack:
        started = []
        for name in ("ending", "staying"):
            own = shutil.copytree(store, tmp_path / name / "stored")
            started.append(stack.enter_context(running_pod(container, tmp_path / name, own)))
        for pod in started:
            with InferenceClient(pod.address("grpc")) as client:
                client.wait_until_ready("digits")
        yield started[0], started[1]


def test_no_request_is_lost_when_a_pod_ends_under_load(pods: tuple[Pod, Pod]) -> None:
    ending, staying = pods
    assert ending.health("readinessProbe") == "SERVING"
    load = Load(ending, staying)
    load.start(load.watch)
    for work in (load.attentive, load.slow, load.deaf, load.spread, load.streaming):
        load.start(work)
    for _ in range(5 * BEFORE):
        assert load.answered.acquire(timeout=60)
    os.kill(ending.process.pid, signal.SIGTERM)
    assert load.said_so.wait(30)
    assert ending.health("readinessProbe") == "NOT_SERVING"
    # A kubelet that restarted it now would cut off what it is still to answer.
    assert ending.health("livenessProbe") == "SERVING"
    seconds = ending.container.pod["terminationGracePeriodSeconds"]
    assert ending.process.wait(seconds) == 0
    load.gone.set()
    load.join()
    assert load.problems == []
    # It went on to take calls after it had said that it ends.
    assert load.late == AFTER
    # Who did not hear it was told so; nothing was begun for them.
    assert [type(error) for error in load.refused] == [errors.ServerStopping] * 2
    assert staying.health("readinessProbe") == "SERVING"
    assert "Traceback" not in ending.log.read_text()
