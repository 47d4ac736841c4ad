"""Whether towers that were made for one image at a time take any number of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow.compat.v1 as tf

from exporter_service.graphs.session import restore, session_config
from exporter_service.parity.company import equals_its_elements
from exporter_service.specs.conversion import TOLERANCE
from exporter_service.specs.probes import standard_probes
from service_kit import errors
from service_kit.artifacts.manifest import Tower
from service_kit.frozen_graph.rows import Rows, infer_rows


def answers_any_batch(
    graph: Any,
    tower: Tower,
    values: Mapping[str, Any],
    *,
    pixels: bool = False,
    open_size: tuple[int, int] | None = None,
) -> bool:
    """Returns whether batches get what their images get one by one, each image one row.

    Args:
        graph: the `tf.Graph`.
        tower: what to feed and to fetch.
        values: variable -> its value.
        pixels: as for `standard_probes`.
        open_size: as for `standard_probes`.
    """
    try:
        rows = infer_rows(graph.as_graph_def(), tower)
    except errors.EngineFailed:
        return False
    if any(one.rows is Rows.OTHERS for one in rows):
        return False
    probes = standard_probes(tower.inputs, pixels=pixels, open_size=open_size)
    with tf.Session(graph=graph, config=session_config(as_written=graph)) as session:
        restore(session, values)
        try:
            return all(
                equals_its_elements(session, tower, probe, TOLERANCE) for probe in probes.values()
            )
        except (tf.errors.OpError, ValueError, TypeError):
            return False
