"""The calls of the exporter: what is sent, what comes of it, what may be repeated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exporter_service.architectures.description import ArchitectureDescription
from exporter_service.checkpoints.contents import CheckpointContents
from exporter_service.client import codec
from exporter_service.specs.conversion import AdoptionRequest
from exporter_service.specs.progress import Step
from pbserve.exporter.v1 import exporter_pb2 as pb
from service_kit.artifacts import manifest_codec
from service_kit.artifacts.manifest import Manifest, ParityReport
from service_kit.client.call import Call, nothing
from service_kit.client.channel import sendable

# Manifests, a line for each that cannot be read, and the token of the next page.
Artifacts = tuple[list[Manifest], Sequence[str], str]
# Artifacts in one answer: of a thousand classes each, they stay below a megabyte or two.
_PAGE = 100


@dataclass(frozen=True, slots=True)
class ConversionProgress:
    """A step that begins: share of the steps done (0 to 1), seconds since the request came."""

    step: Step
    fraction: float
    elapsed: float
    message: str


def inspect(checkpoint: str) -> Call[CheckpointContents]:
    """Asks what a checkpoint holds."""
    with sendable():
        request = pb.InspectCheckpointRequest(checkpoint=checkpoint)
    return Call("InspectCheckpoint", request, codec.contents)


def adopt(request: AdoptionRequest) -> Call[Manifest]:
    """Has a frozen graph published; not repeatable: a second try would publish it again."""
    with sendable():
        message = codec.adoption_message(request)
    return Call("AdoptGraph", message, _adopted, repeatable=False)


def verify(model: str, version: int) -> Call[ParityReport]:
    """Has an artifact checked again; repeatable, since it changes nothing."""
    with sendable():
        request = pb.VerifyArtifactRequest(model=model, version=version)
    return Call("VerifyArtifact", request, _report)


def artifacts(model: str, token: str) -> Call[Artifacts]:
    """Asks for a page of the manifests of a model, or of all."""
    with sendable():
        request = pb.ListArtifactsRequest(model=model, page_size=_PAGE, page_token=token)
    return Call("ListArtifacts", request, _artifacts)


def artifact(model: str, version: int) -> Call[Manifest]:
    """Asks for one manifest."""
    with sendable():
        request = pb.GetArtifactRequest(model=model, version=version)
    return Call("GetArtifact", request, _artifact)


def delete(model: str, version: int) -> Call[None]:
    """Has an artifact removed; not repeatable: the number of the highest version is used again.

    Between two tries, somebody could publish a new artifact under it.
    """
    with sendable():
        request = pb.DeleteArtifactRequest(model=model, version=version)
    return Call("DeleteArtifact", request, nothing, repeatable=False)


def architectures() -> Call[list[ArchitectureDescription]]:
    """Asks for what can be built."""
    return Call("ListArchitectures", pb.ListArchitecturesRequest(), _architectures)


def event(response: pb.ConvertCheckpointResponse) -> ConversionProgress | Manifest:
    """Returns what a response of a conversion says."""
    if response.HasField("manifest"):
        return manifest_codec.from_proto(response.manifest)
    progress = response.progress
    name = pb.ConversionProgress.Step.Name(progress.step).removeprefix("STEP_")
    return ConversionProgress(
        step=Step[name],
        fraction=progress.fraction,
        elapsed=progress.elapsed.ToNanoseconds() / 1e9,
        message=progress.message,
    )


def _adopted(response: pb.AdoptGraphResponse) -> Manifest:
    return manifest_codec.from_proto(response.manifest)


def _report(response: pb.VerifyArtifactResponse) -> ParityReport:
    return manifest_codec.parity_from_proto(response.parity)


def _artifacts(response: pb.ListArtifactsResponse) -> Artifacts:
    found = [manifest_codec.from_proto(message) for message in response.artifacts]
    return found, list(response.unreadable), response.next_page_token


def _artifact(response: pb.GetArtifactResponse) -> Manifest:
    return manifest_codec.from_proto(response.manifest)


def _architectures(response: pb.ListArchitecturesResponse) -> list[ArchitectureDescription]:
    return [codec.architecture(message) for message in response.architectures]
