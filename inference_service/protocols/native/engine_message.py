"""What runs a version -> its message."""

from __future__ import annotations

from inference_service.engine import EngineReport
from pbserve.artifact.v1 import manifest_pb2
from pbserve.inference.v1 import inference_pb2 as pb
from service_kit.artifacts.message_codec import to_message


def engine_message(report: EngineReport) -> pb.EngineStatus:
    """Returns the message of an engine's report."""
    parity = report.parity
    return pb.EngineStatus(
        name=report.name,
        version=report.version,
        reason=report.reason,
        precision=report.precision.value,
        parity=None if parity is None else to_message(manifest_pb2.ParityReport, parity),
    )
