"""Whether an artifact's requests may share batches."""

from __future__ import annotations

import structlog

from service_kit import errors
from service_kit.artifacts.manifest import Manifest
from service_kit.frozen_graph.rows import Rows, infer_rows
from service_kit.frozen_graph.served_graph import parse_graph

_log = structlog.get_logger(__name__)


def has_row_an_image(manifest: Manifest, graph: bytes) -> bool:
    """Returns whether every output has one row an image.

    The exporter proves that of what it publishes. An artifact without the proof, of an earlier
    release or somebody else's making, is looked at here; where that shows nothing, or something
    else, its requests are answered whole, each by itself. Blocks, with TensorFlow.

    Args:
        manifest: of the artifact.
        graph: its graph file, which an engine has taken.
    """
    if manifest.unbatched:
        return False
    if manifest.rows_proven:
        return True
    try:
        found = infer_rows(parse_graph(graph), manifest.towers[0], manifest.max_batch)
    except errors.EngineFailed as error:
        reasons = [str(error)]
    else:
        reasons = [f"{one.name}: {one.reason}" for one in found if one.rows is Rows.OTHERS]
    if reasons:
        _log.warning(
            "requests_do_not_share_batches",
            model=manifest.model,
            version=manifest.version,
            reasons=reasons,
        )
    return not reasons
