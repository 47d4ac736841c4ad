from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection_pb2 as pb
from grpc_reflection.v1alpha import reflection_pb2_grpc

from service_kit.address import Address
from service_kit.server.server import Server

HEALTH = "grpc.health.v1.Health"


async def reflected(
    *requests: pb.ServerReflectionRequest, pools: tuple[Any, ...] = ()
) -> list[pb.ServerReflectionResponse]:
    server = Server(max_message_bytes=2**20)
    server.descriptor_pools = pools

    async def each() -> AsyncIterator[pb.ServerReflectionRequest]:
        for one in requests:
            yield one

    address = await server.start(Address("127.0.0.1", 0), ["a.Service"])
    async with grpc.aio.insecure_channel(str(address)) as channel:
        # The stubs describe synchronous channels.
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(cast("Any", channel))
        answers = [answer async for answer in stub.ServerReflectionInfo(each())]
    await server.drain(lame_duck_seconds=0, grace_seconds=1)
    return answers


def pool(package: str) -> Any:
    """Returns a pool with one message."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package)
    file.message_type.add(name="Type").extension_range.add(start=1, end=9)
    made = descriptor_pool.DescriptorPool()
    made.AddSerializedFile(file.SerializeToString())
    return made


async def test_what_any_of_the_pools_has_is_found() -> None:
    extension = pb.ExtensionRequest(containing_type="x.Type", extension_number=1)
    answers = await reflected(
        pb.ServerReflectionRequest(list_services="*"),
        pb.ServerReflectionRequest(file_containing_symbol=HEALTH),
        pb.ServerReflectionRequest(file_by_filename="x.proto"),
        pb.ServerReflectionRequest(file_containing_symbol="y.Type"),
        pb.ServerReflectionRequest(all_extension_numbers_of_type="y.Type"),
        pb.ServerReflectionRequest(file_containing_extension=extension),
        pb.ServerReflectionRequest(file_containing_symbol="z.Type"),
        pools=(pool("x"), pool("y")),
    )
    assert [answer.WhichOneof("message_response") for answer in answers] == [
        "list_services_response",
        "file_descriptor_response",
        "file_descriptor_response",
        "file_descriptor_response",
        "all_extension_numbers_response",
        "error_response",
        "error_response",
    ]
    listed = [one.name for one in answers[0].list_services_response.service]
    assert listed == ["a.Service", HEALTH, "grpc.reflection.v1alpha.ServerReflection"]


@pytest.mark.parametrize("symbol", [HEALTH, "grpc.health.v1.HealthCheckRequest"])
async def test_without_other_pools_it_answers_from_pythons_own(symbol: str) -> None:
    (answer,) = await reflected(pb.ServerReflectionRequest(file_containing_symbol=symbol))
    assert answer.HasField("file_descriptor_response")
