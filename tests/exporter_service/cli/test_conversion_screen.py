from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from exporter_service.cli import conversion_screen
from exporter_service.cli.conversion_screen import Event, Steps, followed
from exporter_service.client.calls import ConversionProgress
from exporter_service.specs.progress import Step
from service_kit import errors
from service_kit.artifacts.manifest import Manifest
from tests.support.manifests import conversion


def manifest() -> Manifest:
    from datetime import datetime, timezone

    done = conversion()
    fields = {name: getattr(done, name) for name in done.__dataclass_fields__}
    return Manifest(model="m", version=1, created_at=datetime.now(timezone.utc), **fields)


def step(which: Step, elapsed: float, message: str = "") -> ConversionProgress:
    return ConversionProgress(which, which.fraction, elapsed, message)


def events() -> Iterator[Event]:
    yield step(Step.START, 0.5)
    yield step(Step.READ, 2.0, "model.ckpt-300\x1b[2J")
    yield step(Step.CHECK, 2.5)
    yield manifest()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=80)
    monkeypatch.setattr(conversion_screen, "notices", console)
    return written


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    written = io.StringIO()
    monkeypatch.setattr(conversion_screen, "notices", Console(file=written, width=40))
    return written


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_step_lasts_until_the_next_begins_and_the_last_goes_on() -> None:
    clock = Clock()
    steps = Steps(clock)
    assert steps.lines() == []
    clock.now = 101.0
    assert steps.elapsed == pytest.approx(1.0)
    assert steps.begin(step(Step.START, 0.5)) is None
    ended = steps.begin(step(Step.READ, 2.0, "x"))
    assert ended is not None
    assert ended.text == "starts TensorFlow"
    clock.now = 104.0
    seconds = [round(seconds, 6) for _, seconds in steps.lines()]
    assert seconds == [1.5, 3.0]
    assert steps.elapsed == pytest.approx(5.0)
    steps.end()
    clock.now = 200.0
    assert steps.elapsed == pytest.approx(5.0)


def test_a_conversion_that_begins_anew_does_so_on_the_screen() -> None:
    steps = Steps(Clock())
    steps.begin(step(Step.START, 5.0))
    steps.begin(step(Step.READ, 9.0))
    assert steps.begin(step(Step.START, 0.1)) is None
    assert [text for text, _ in steps.lines()] == ["starts TensorFlow"]


def test_every_step_stays_on_the_terminal_with_its_seconds(terminal: io.StringIO) -> None:
    assert followed(events(), every_step=True).model == "m"
    shown = terminal.getvalue()
    last = shown[shown.rindex("starts TensorFlow") :]
    assert "1.5 s" in last
    assert "reads the checkpoint: model.ckpt-300\\x1b[2J" in last
    assert "100%" in last


def test_nothing_yet_can_be_drawn(terminal: io.StringIO) -> None:
    with pytest.raises(errors.RemoteError, match="without a manifest"):
        followed(iter(()), every_step=True)


def test_one_line_shows_the_step_that_runs(terminal: io.StringIO) -> None:
    followed(events(), every_step=False)
    assert "done" in terminal.getvalue()


@pytest.mark.parametrize(
    ("every_step", "expected"),
    [
        (
            False,
            [
                "   0.5 s  starts TensorFlow",
                "   2.0 s  reads the checkpoint: model.ckpt-300\\x1b[2J",
                "   2.5 s  checks the numbers",
            ],
        ),
        (
            True,
            [
                "   1.5 s  starts TensorFlow",
                "   0.5 s  reads the checkpoint: model.ckpt-300\\x1b[2J",
                "   0.0 s  checks the numbers",
            ],
        ),
    ],
)
def test_a_log_has_a_line_a_step(
    log: io.StringIO, *, every_step: bool, expected: list[str]
) -> None:
    followed(events(), every_step=every_step)
    assert log.getvalue().splitlines() == expected


@pytest.mark.parametrize("every_step", [False, True])
def test_a_conversion_that_fails_shows_its_error(log: io.StringIO, *, every_step: bool) -> None:
    def failing() -> Iterator[Event]:
        yield step(Step.START, 0.5)
        raise errors.CheckpointCorrupt("damaged")

    with pytest.raises(errors.CheckpointCorrupt):
        followed(failing(), every_step=every_step)
