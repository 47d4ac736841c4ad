from __future__ import annotations

from typing import Any

from tests.support.inference_server import InferenceServer
from tests.support.triton import failure, image_input


def test_statistics_are_what_happened(server: InferenceServer, client: Any) -> None:
    server.publish()
    before = client.get_inference_statistics("m", "1").model_stats[0]
    assert (before.inference_count, before.execution_count, before.last_inference) == (0, 0, 0)
    for _ in range(3):
        client.infer("m", [image_input(1)])
    client.infer("m", [image_input(*range(8))])
    for name in ("", "m"):
        (stats,) = client.get_inference_statistics(name).model_stats
        assert (stats.name, stats.version) == ("m", "1")
        assert (stats.inference_count, stats.execution_count) == (11, 5)
        assert [(b.batch_size, b.compute_infer.count) for b in stats.batch_stats] == [
            (1, 3),
            (4, 2),
        ]
        found = stats.inference_stats
        assert (found.success.count, found.fail.count) == (4, 0)
        parts = [found.queue, found.compute_input, found.compute_infer, found.compute_output]
        assert {part.count for part in parts} == {4}
        assert found.compute_infer.ns > 0
        assert found.success.ns >= found.compute_infer.ns + found.queue.ns
        assert stats.last_inference > 1_700_000_000_000


def test_what_failed_is_counted_and_what_was_malformed_is_not(
    server: InferenceServer, client: Any
) -> None:
    server.publish(cards=1)
    failure(lambda: client.infer("m", [image_input(-1)]))
    failure(lambda: client.infer("m", [image_input(1, dtype="float64")]))
    (stats,) = client.get_inference_statistics("m").model_stats
    assert (stats.inference_stats.success.count, stats.inference_stats.fail.count) == (0, 1)
    assert stats.inference_stats.fail.ns > 0
