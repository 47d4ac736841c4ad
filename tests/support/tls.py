"""The inference service behind TLS, with certificates of the test."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc
import trustme
from grpc_health.v1 import health_pb2_grpc

from inference_service.protocols.native.servicer import InferenceServicer
from pbserve.inference.v1 import inference_pb2_grpc
from tests.support.inference_server import InferenceServer


class Certificates:
    """An authority, a server's certificate for a name, and a client's."""

    def __init__(self, name: str = "serving.example") -> None:
        self.authority = trustme.CA()
        self.root = self.authority.cert_pem.bytes()
        self._server = self.authority.issue_cert(name)
        client = self.authority.issue_cert("caller.example")
        self.client_certificate = client.cert_chain_pems[0].bytes()
        self.client_key = client.private_key_pem.bytes()

    def server_credentials(self, *, mutual: bool) -> grpc.ServerCredentials:
        chain = self._server.cert_chain_pems[0].bytes()
        return grpc.ssl_server_credentials(
            [(self._server.private_key_pem.bytes(), chain)],
            root_certificates=self.root if mutual else None,
            require_client_auth=mutual,
        )


class TokenCheck(grpc.aio.ServerInterceptor):
    """Refuses calls without the token; keeps what came."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.seen: list[str] = []

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler: Any = await continuation(handler_call_details)
        metadata = dict(handler_call_details.invocation_metadata)
        came = str(metadata.get("authorization", ""))
        self.seen.append(came)
        if not self.token or came == f"Bearer {self.token}":
            return handler
        make = (
            grpc.stream_stream_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.unary_unary_rpc_method_handler
        )

        async def refuse(request: Any, context: Any) -> None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")

        return make(refuse)


@contextlib.contextmanager
def behind_tls(
    server: InferenceServer, credentials: grpc.ServerCredentials, check: TokenCheck
) -> Iterator[str]:
    """Serves what `server` serves on another port, encrypted; yields the address."""

    async def start() -> tuple[Any, int]:
        secure = grpc.aio.server(interceptors=[check], options=[("grpc.so_reuseport", 0)])
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(
            InferenceServicer(server.core), secure
        )
        health_pb2_grpc.add_HealthServicer_to_server(server.server.health.servicer, secure)
        port = secure.add_secure_port("127.0.0.1:0", credentials)
        await secure.start()
        return secure, port

    secure, port = server.call(start())
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.call(secure.stop(None))
