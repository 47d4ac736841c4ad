"""The proof that a graph file will be served: loaded as the inference service loads it, and run.

What is compared with the session's numbers is in `proof`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from exporter_service.graphs.session import reason
from exporter_service.specs.probes import Probe
from service_kit import errors
from service_kit.artifacts.manifest import Conversion, Tower
from service_kit.frozen_graph.blank_run import blank, check_outputs_of
from service_kit.frozen_graph.rows import OutputRows, Rows, infer_rows
from service_kit.frozen_graph.served_graph import import_towers
from service_kit.frozen_graph.tower_graph import PinnedTower, Ports, TowerGraph

# The device says nothing about what can be loaded, and takes time.
_ANYWHERE = ""
# Images in the batches that are run: alone, and with company of an even and an odd number.
_BATCHES = (1, 2, 3)
_MAX_NAMED = 3


@dataclass(frozen=True, slots=True)
class ServedProof:
    """Outputs that have one row an image, by how that was shown; see `ParityReport`."""

    by_inference: tuple[str, ...] = ()
    by_runs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServedGraph:
    """A graph as the inference service has it, of which it runs one tower for all equal ones.

    Attributes:
        graph: the `tf.Graph`, with every tower under its own names.
        leaders: one of each set of equal towers, with the names of its tensors.
        rows: what is known of the outputs' rows; empty: they need not be those of the images.
    """

    graph: Any
    leaders: Sequence[tuple[Tower, Ports]]
    rows: Sequence[OutputRows]


def load_as_served(conversion: Conversion, definition: Any) -> ServedGraph:
    """Loads a graph as the inference service does, and infers the rows of its outputs.

    Args:
        conversion: what the graph is.
        definition: the `GraphDef` in its file.

    Raises:
        Unconvertible: the inference service could not load it, or would hand out its rows wrongly.
    """
    towers = TowerGraph(definition)
    try:
        leaders = _different(conversion.towers, towers)
        imported, ports = import_towers(
            towers, [PinnedTower(one, _ANYWHERE) for one in conversion.towers]
        )
    except (errors.EngineFailed, errors.GraphRefused) as error:
        raise errors.Unconvertible(f"the inference service could not load it: {error}") from error
    rows = () if conversion.unbatched else _infer_rows(definition, leaders[0], conversion)
    _refuse_others(rows)
    return ServedGraph(imported, [(one, ports[one.index]) for one in leaders], rows)


def prove_served(
    session: Any, served: ServedGraph, probes: Sequence[Probe], conversion: Conversion
) -> ServedProof:
    """Runs the blank image and others in batches of 1, 2 and 3, as far as the graph takes them.

    Args:
        session: has the graph.
        served: what `load_as_served` returned.
        probes: batches by input, to run where shape inference does not know an output's rows.
        conversion: what the graph is.

    Raises:
        Unconvertible: the inference service could not run it, or would hand out its rows wrongly.
    """
    unknown = [one.name for one in served.rows if one.rows is Rows.NOT_KNOWN]
    batches = [one for one in _BATCHES if one <= (conversion.max_batch or one)]
    for tower, port in served.leaders:
        _run_blank(session, tower, port, batches, whole=conversion.unbatched)
        if unknown:
            _run_probes(session, tower, port, batches, probes)
    known = [one.name for one in served.rows if one.rows is Rows.ONE_AN_IMAGE]
    return ServedProof(tuple(known), tuple(unknown))


def _different(towers: Sequence[Tower], graph: TowerGraph) -> list[Tower]:
    """Returns one of each set of equal towers: the service runs one for all, too."""
    found: list[Tower] = []
    for tower in towers:
        if not any(graph.are_equal(one, tower) for one in found):
            found.append(tower)
    return found


def _infer_rows(graph: Any, tower: Tower, conversion: Conversion) -> tuple[OutputRows, ...]:
    try:
        return infer_rows(graph, tower, conversion.max_batch)
    except errors.EngineFailed as error:
        raise errors.Unconvertible(
            "choose outputs before the node that is named; a graph that is made for one size of "
            f"batch or of image fails so: {error}"
        ) from error


def _refuse_others(rows: Sequence[OutputRows]) -> None:
    others = [f"{one.name}: {one.reason}" for one in rows if one.rows is Rows.OTHERS]
    if others:
        raise errors.Unconvertible(
            "choose other outputs, or publish with --unbatched, which answers each request alone "
            "and whole: every output must have one row an image, and these have not: "
            + "; ".join(others[:_MAX_NAMED])
        )


def _run_blank(
    session: Any, tower: Tower, ports: Ports, batches: Sequence[int], *, whole: bool
) -> None:
    for images in batches:
        inputs = blank(tower, images)
        _check(session, tower, ports, inputs, images, whole=whole, what="blank")


def _run_probes(
    session: Any, tower: Tower, ports: Ports, batches: Sequence[int], probes: Sequence[Probe]
) -> None:
    for probe in probes:
        for images in batches:
            # A probe of one image, or of two, is repeated.
            inputs = {
                name: np.resize(batch, (images, *batch.shape[1:])) for name, batch in probe.items()
            }
            _check(session, tower, ports, inputs, images, whole=False, what="probe")


def _check(
    session: Any, tower: Tower, ports: Ports, inputs: Probe, images: int, *, whole: bool, what: str
) -> None:
    feed = dict(zip(ports.feeds, (inputs[spec.name] for spec in tower.inputs), strict=True))
    try:
        found = session.run(list(ports.fetches), feed)
        outputs = {spec.name: value for spec, value in zip(tower.outputs, found, strict=True)}
        check_outputs_of(tower, outputs, images, whole=whole)
    except (tf.errors.OpError, ValueError, TypeError, errors.EngineFailed) as error:
        raise errors.Unconvertible(
            f"choose other outputs: the inference service could not serve it; {images} {what} "
            f"image(s): {reason(error)}"
        ) from error
