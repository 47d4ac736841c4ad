"""Small artifacts for tests that need no TensorFlow."""

from __future__ import annotations

import hashlib
from pathlib import Path

from service_kit.artifacts.manifest import (
    ArchitectureSpec,
    CheckpointFormat,
    CheckpointOrigin,
    Conversion,
    GraphFile,
    MovingAverageMode,
    MovingAverageReport,
    ParityComparison,
    ParityReport,
    Preprocessing,
    TensorSpec,
    Tower,
)


def tower(index: int = 0, cards: int = 1, size: int = 2, classes: int = 3) -> Tower:
    """Returns a tower for images of size x size x 3."""
    scope = f"Card_{index}" if cards > 1 else ""
    prefix = f"{scope}/" if scope else ""
    return Tower(
        index=index,
        scope=scope,
        device=f"/gpu:{index}" if scope else "",
        inputs=(TensorSpec("input", f"{prefix}input:0", "float32", (-1, size, size, 3)),),
        outputs=(TensorSpec("probs", f"{prefix}probs:0", "float32", (-1, classes)),),
    )


def conversion(content: bytes = b"graph", cards: int = 1) -> Conversion:
    """Returns the description of a graph file that holds `content`."""
    return Conversion(
        graph=GraphFile("frozen_model.pb", len(content), hashlib.sha256(content).hexdigest(), 7),
        checkpoint=CheckpointOrigin("/c/model.ckpt-300", 300, CheckpointFormat.V2, "ab" * 32),
        architecture=ArchitectureSpec("densenet", {"classes": 10, "layers": [3, 4, 3]}),
        moving_average=MovingAverageReport(MovingAverageMode.AUTO, 73, 48, {"statistics": 48}),
        preprocessing=Preprocessing(mean=(177.26, 109.55, 168.66)),
        towers=tuple(tower(index, cards) for index in range(cards)),
        parity=ParityReport(
            (ParityComparison("frozen with session", "ones", 1e-7, 1e-6, 1e-5),),
            1e-5,
            rows_by_inference=("probs",),
        ),
        tool_versions={"tensorflow": "2.21.0"},
    )


def graph_file(folder: Path, content: bytes = b"graph") -> Path:
    """Writes a graph file outside any store."""
    path = folder / "frozen_model.pb"
    path.write_bytes(content)
    return path
