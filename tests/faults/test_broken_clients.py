"""Clients that send slowly, nonsense, or nothing: what they took is given back."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from typing import Any

import grpc
import pytest

from inference_service.client import InferenceClient
from tests.faults.conftest import Arena
from tests.support.fault_checks import answers_right, resources, until
from tests.support.http_calls import call
from tests.support.services import Service

CONNECTIONS = 150
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def connected(address: str) -> socket.socket:
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=30)


def page_of(server: Service) -> str:
    assert server.process.stdout
    found = re.search(r"http://([^/\s]+)", server.process.stdout.readline())
    assert found
    return found[1]


@pytest.mark.timeout(180)
def test_what_broken_clients_took_is_given_back(arena: Arena, good: bytes) -> None:
    arena.publish("good", good)
    with (
        arena.serving() as server,
        InferenceClient(server.address) as client,
        contextlib.ExitStack() as stack,
    ):
        client.wait_until_ready("good")
        assert answers_right(client, "good")
        before = resources(server.pid)
        said = [b"", _PREFACE[:7], _PREFACE, _PREFACE + os.urandom(64), b"GET / HTTP/1.1\r\n\r\n"]
        for number in range(CONNECTIONS):
            one = stack.enter_context(connected(server.address))
            with contextlib.suppress(OSError):
                one.sendall(said[number % len(said)])
        # Streams that are opened, and from which nobody reads.
        channel = stack.enter_context(grpc.insecure_channel(server.address))
        stream: Any = channel.stream_stream("/pbserve.inference.v1.InferenceService/StreamPredict")
        abandoned = [stream(iter(())) for _ in range(20)]
        assert answers_right(client, "good")
        for one_call in abandoned:
            one_call.cancel()
        stack.close()
        until(lambda: resources(server.pid).descriptors <= before.descriptors + 3)
        after = resources(server.pid)
        assert after.threads <= before.threads + 3
        assert after.resident_bytes < before.resident_bytes + 64 * 2**20
        assert answers_right(client, "good")


@pytest.mark.timeout(180)
def test_slow_uploads_do_not_close_the_form(arena: Arena, good: bytes) -> None:
    arena.publish("good", good)
    with arena.serving() as server, contextlib.ExitStack() as stack:
        with InferenceClient(server.address) as client:
            client.wait_until_ready("good")
        address = page_of(server)
        begun = (
            f"POST /predict HTTP/1.1\r\nHost: {address}\r\nContent-Length: 5000\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        )
        for _ in range(8):
            stack.enter_context(connected(address)).sendall(begun.encode())
        body = (
            b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nno\r\n--x--'
        )
        headers = {"Content-Type": "multipart/form-data; boundary=x"}

        def is_read() -> bool:
            reply = call(f"http://{address}", "POST", "predict", body=body, headers=headers)
            return reply.status != 429

        until(is_read, seconds=30)
