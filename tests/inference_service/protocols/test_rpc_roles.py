"""Every rpc of every protocol on the port, and every role."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from inference_service.client import InferenceClient
from inference_service.protocols.rpc_roles import RPC_ROLES
from service_kit import errors
from service_kit.auth.roles import OPEN_TO_ALL, Role
from service_kit.store.artifact_store import ArtifactStore
from tests.support.inference_server import InferenceServer, inference_server
from tests.support.tokens import TOKENS, one_token_a_role

REFUSALS = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceServer]:
    folder = tmp_path_factory.mktemp("guarded")
    store = ArtifactStore(str(folder / "models"))
    store.create()
    with inference_server(store, folder, access=one_token_a_role()) as running:
        running.publish()
        yield running


def code_of(address: str, method: str, token: str | None) -> grpc.StatusCode:
    """Calls with a message that no service can parse, so that nothing is changed."""
    metadata = [("authorization", f"Bearer {token}")] if token else None
    with grpc.insecure_channel(address) as channel:
        rpc: Any = channel.stream_stream(method)
        call = rpc(iter([b"\xff\xff"]), metadata=metadata, timeout=20)
        with contextlib.suppress(grpc.RpcError):
            list(call)
        code: grpc.StatusCode = call.code()
        return code


@pytest.mark.parametrize("role", [*Role, None], ids=lambda role: role.value if role else "nobody")
@pytest.mark.parametrize("method", sorted(RPC_ROLES))
def test_an_rpc_is_open_to_its_role_alone(
    guarded: InferenceServer, method: str, role: Role | None
) -> None:
    code = code_of(guarded.address, method, TOKENS[role] if role else None)
    needed = RPC_ROLES[method]
    if needed is OPEN_TO_ALL or needed is role:
        assert code not in REFUSALS
    else:
        assert code is (REFUSALS[1] if role else REFUSALS[0])


def test_the_table_has_exactly_what_the_port_answers(guarded: InferenceServer) -> None:
    from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2  # noqa: F401

    with grpc.insecure_channel(guarded.address) as channel:
        make: Any = reflection_pb2_grpc.ServerReflectionStub
        stub = make(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="*")
        (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=20)
    found = {one.name for one in answer.list_services_response.service}
    assert {method.split("/")[1] for method in RPC_ROLES} == {
        name for name in found if not name.startswith("grpc.")
    }
    pool = descriptor_pool.Default()
    for service in {method.split("/")[1] for method in RPC_ROLES}:
        described = {one.name for one in pool.FindServiceByName(service).methods}
        # Newer releases of a protocol have methods that these stubs have not.
        assert described <= {m.split("/")[2] for m in RPC_ROLES if m.split("/")[1] == service}


def test_the_command_lines_words_for_a_missing_token_say_what_to_do(
    guarded: InferenceServer,
) -> None:
    client = InferenceClient(guarded.address)
    with client, pytest.raises(errors.Unauthenticated, match="asks for a token"):
        client.models()
