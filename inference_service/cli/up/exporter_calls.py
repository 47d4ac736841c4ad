"""What `pbserve up` asks of the exporter: the one place of the command line that knows protobuf."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from inference_service.cli.up.plan import Candidate, Fit, Inspection, Plan, Wishes
from inference_service.cli.up.source import Source
from pbserve.artifact.v1 import manifest_pb2
from pbserve.exporter.v1 import exporter_pb2 as pb
from pbserve.exporter.v1 import exporter_pb2_grpc
from service_kit import errors
from service_kit.artifacts.digest import sha256_of
from service_kit.artifacts.message_codec import struct_to_dict
from service_kit.client.call import Call
from service_kit.client.channel import typed_errors
from service_kit.client.client import Client

# Of a repeated `up`, the exporter answers with what the first one published.
_ID_PREFIX = "up-"


class ExporterCalls(Client):
    """Calls one exporter service."""

    _service = pb.DESCRIPTOR.services_by_name["ExporterService"].full_name

    def __init__(self, address: str) -> None:
        """Prepares a connection to `host:port` on this machine."""
        super().__init__(address, exporter_pb2_grpc.ExporterServiceStub)

    def inspect(self, checkpoint: str) -> Inspection:
        """Returns what a checkpoint below the root holds; raises what the exporter does."""
        request = pb.InspectCheckpointRequest(checkpoint=checkpoint)
        return self._run(Call("InspectCheckpoint", request, _inspection), None)

    def convert(
        self, source: Source, found: Inspection, plan: Plan, step: Callable[[str, float], None]
    ) -> int:
        """Converts a checkpoint and returns the version; that of before, if it is the same.

        Args:
            source: the checkpoint.
            found: what it holds.
            plan: how to convert it.
            step: told of each step: what it is, and seconds since the beginning.
        """
        request = _conversion(source, plan)
        content = request.SerializeToString(deterministic=True) + found.digest.encode()
        request.request_id = _ID_PREFIX + hashlib.sha256(content).hexdigest()
        with typed_errors(self._service):
            for event in self._stub.ConvertCheckpoint(request):
                if event.HasField("manifest"):
                    return int(event.manifest.version)
                name = pb.ConversionProgress.Step.Name(event.progress.step)
                text = name.removeprefix("STEP_").lower()
                said = f"{text}: {event.progress.message}" if event.progress.message else text
                step(said, event.progress.elapsed.ToNanoseconds() / 1e9)
        raise errors.RemoteError("the exporter ended the conversion without a manifest")

    def adopt(self, source: Source, wishes: Wishes) -> tuple[int, bool]:
        """Publishes a frozen graph; returns the version, and whether it is new."""
        if version := self._adopted(source, wishes):
            return version, False
        request = pb.AdoptGraphRequest(
            model=source.model, graph=source.path, inputs=wishes.inputs, outputs=wishes.outputs
        )
        call = Call("AdoptGraph", request, _adopted_version, repeatable=False)
        return self._run(call, None), True

    def _adopted(self, source: Source, wishes: Wishes) -> int:
        """Returns the highest version with the same graph and tensors, 0 for none."""
        digest = sha256_of(source.file)
        request = pb.ListArtifactsRequest(model=source.model)
        response = self._run(Call("ListArtifacts", request, _itself), None)
        frozen = manifest_pb2.CHECKPOINT_FORMAT_FROZEN_GRAPH
        return max(
            (
                int(one.version)
                for one in response.artifacts
                if one.checkpoint.format == frozen
                and one.checkpoint.index_sha256 == digest
                and _are_named(one.towers[0].inputs, wishes.inputs)
                and _are_named(one.towers[0].outputs, wishes.outputs)
            ),
            default=0,
        )


def _are_named(specs: Sequence[manifest_pb2.TensorSpec], texts: Sequence[str]) -> bool:
    """Whether tensors are those that `x`, `x:0` or `alias=x:0` name, in order; none: any."""
    if not texts:
        return True
    return len(specs) == len(texts) and all(
        _is_named(spec, *text.rpartition("=")[::2]) for spec, text in zip(specs, texts, strict=True)
    )


def _is_named(spec: manifest_pb2.TensorSpec, alias: str, tensor: str) -> bool:
    wanted = tensor if ":" in tensor else f"{tensor}:0"
    # Below the scope of its tower.
    return f"/{spec.tensor_name}".endswith(f"/{wanted}") and alias in {"", spec.name}


def _itself(response: pb.ListArtifactsResponse) -> pb.ListArtifactsResponse:
    return response


def _adopted_version(response: pb.AdoptGraphResponse) -> int:
    return int(response.manifest.version)


def _conversion(source: Source, plan: Plan) -> pb.ConvertCheckpointRequest:
    request = pb.ConvertCheckpointRequest(
        model=source.model,
        checkpoint=source.path,
        architecture=manifest_pb2.ArchitectureSpec(name=plan.architecture),
        cards=plan.cards,
    )
    request.architecture.parameters.update(plan.parameters)
    if plan.image_size:
        request.image_size.height, request.image_size.width = plan.image_size
    if plan.mean:
        request.preprocessing.mean.extend(plan.mean)
    return request


def _inspection(response: pb.InspectCheckpointResponse) -> Inspection:
    origin, graph = response.checkpoint, response.meta_graph
    return Inspection(
        path=origin.path,
        digest=origin.index_sha256,
        step=origin.global_step if origin.HasField("global_step") else None,
        fits=[
            Fit(spec.name, struct_to_dict(spec.parameters))
            for spec in response.fitting_architectures
        ],
        inputs=[
            Candidate(one.tensor_name, one.kind, None if one.unknown_rank else tuple(one.shape))
            for one in graph.inputs
            if one.reaches_output
        ],
        outputs=[Candidate(one.tensor_name, one.kind) for one in graph.outputs],
        has_graph=response.HasField("meta_graph"),
        problem=response.meta_graph_problem,
    )
