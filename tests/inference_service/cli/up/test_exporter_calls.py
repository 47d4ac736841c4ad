from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from inference_service.cli.up.exporter_calls import ExporterCalls
from inference_service.cli.up.plan import Wishes, plan_conversion
from inference_service.cli.up.source import Source
from service_kit import errors
from tests.conftest import RunningExporter
from tests.support.digits import GOLDEN


@pytest.fixture
def calls(exporter: RunningExporter) -> Iterator[ExporterCalls]:
    with ExporterCalls(exporter.address) as client:
        yield client


def source(path: str, *, is_graph: bool = False) -> Source:
    return Source(GOLDEN, path, f"up-{uuid.uuid4().hex[:8]}", is_graph)


def test_a_checkpoint_is_inspected_and_converted_once(calls: ExporterCalls) -> None:
    digits = source("ckpt_ema")
    found = calls.inspect("ckpt_ema")
    assert found.step == 300
    assert [fit.name for fit in found.fits] == ["densenet"]
    assert found.fits[0].parameters["layers"] == [3, 4, 3]
    assert [one.shape for one in found.inputs] == [(32, 32, 32, 3)]
    plan, steps = plan_conversion(found, Wishes()), list[str]()

    def convert(wishes: Wishes) -> int:
        steps.clear()
        return calls.convert(
            digits, found, plan_conversion(found, wishes), lambda text, _: steps.append(text)
        )

    assert plan.image_size == (32, 32)
    assert convert(Wishes()) == 1
    assert "read: model.ckpt-300" in steps
    assert convert(Wishes()) == 1
    assert not steps
    # Other wishes are another conversion.
    assert convert(Wishes(mean=(1.0, 2.0, 3.0))) == 2


def test_a_graph_is_adopted_once(calls: ExporterCalls) -> None:
    graph = source("single.pb", is_graph=True)
    assert calls.adopt(graph, Wishes()) == (1, True)
    assert calls.adopt(graph, Wishes()) == (1, False)
    named = Wishes(inputs=("images=input:0",), outputs=("probs",))
    assert calls.adopt(graph, named) == (2, True)
    assert calls.adopt(graph, named) == (2, False)


def test_a_refusal_is_the_exporters(calls: ExporterCalls) -> None:
    with pytest.raises(errors.CheckpointNotFound, match="nowhere"):
        calls.inspect("nowhere")
