from __future__ import annotations

import io

from rich.console import Console, RenderableType

from inference_service.cli.bench.latencies import Percentiles
from inference_service.cli.bench.screen import (
    BenchScreen,
    curve,
    interval_line,
    totals_table,
)
from inference_service.cli.bench.tally import Interval, Totals

TIMES = Percentiles(p50=1.25, p90=2, p95=3, p99=4, max=8, mean=1.5)
TOTALS = Totals(
    requests=2000,
    images=4000,
    images_in_span=3900,
    errors={"QUEUE_FULL": 3},
    latency=TIMES,
    mean_queue_ms=0.5,
    mean_compute_ms=0.25,
    mean_batch_size=3.5,
    cards={0: 1500, 1: 500},
    versions={1: 2000},
)


def shown(part: RenderableType) -> list[str]:
    console = Console(width=80, file=io.StringIO())
    console.print(part)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_screen_fits_80_columns_and_keeps_so_many_seconds() -> None:
    screen = BenchScreen("m: 8 streams", 1000.0)
    for second in range(200):
        screen.add(Interval(second, 0, TIMES), 1.0)
    lines = shown(screen.drawn(200.0, TOTALS))
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "200 of 1000 s" in text
    assert "199.0" in text
    assert "3 QUEUE_FULL" in text
    assert "█" in text


def test_a_screen_without_answers_can_be_drawn() -> None:
    nothing = Totals(0, 0, 0, {}, None, 0, 0, 0, {}, {})
    screen = BenchScreen("m", 5.0)
    assert shown(screen.drawn(0.0, nothing))
    screen.add(Interval(0, 4, None), 1.0)
    assert shown(screen.drawn(1.0, nothing))


def test_a_second_is_a_line_for_logs() -> None:
    line = interval_line(3.0, Interval(100, 2, TIMES), 0.5)
    assert "200.0 images/s" in line
    assert "p50 1.2  p90 2.0  p99 4.0  max 8.0 ms  errors 2" in line
    assert "no answers" in interval_line(3.0, Interval(0, 0, None), 1.0)


def test_the_totals_say_rates_times_and_errors() -> None:
    text = " ".join(" ".join(shown(totals_table("m", TOTALS, 10.0))).split())
    for words in (
        "images/s 390.0",
        "2,000 answered, 4,000 images",
        "p50 1.2 p90 2.0 p95 3.0 p99 4.0 max 8.0 mean 1.5",
        "0.5 ms queue + 0.2 ms compute, batches of 3.5",
        "0: 1,500 requests, 1: 500 requests",
        "3 QUEUE_FULL",
    ):
        assert words in text


def test_a_curve_is_as_high_as_its_values() -> None:
    assert curve([0, 1, 2, 7]) == "▁▂▃█"
    assert curve([0.0, 0.0]) == "▁▁"
    assert curve([]) == ""
