from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from service_kit import errors
from service_kit.client.channel import channel_options, sendable, typed_errors


def test_pings_come_no_more_often_than_servers_allow_by_default() -> None:
    options = dict(channel_options("10.0.0.1:8500"))
    # GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS of servers is 5 minutes.
    assert int(options["grpc.keepalive_time_ms"]) > 300_000
    # Without calls, two hours would be the least.
    assert "grpc.keepalive_permit_without_calls" not in options


def test_all_addresses_are_used_and_retries_are_left_to_the_client() -> None:
    config = json.loads(str(dict(channel_options("dns:///pods:8500"))["grpc.service_config"]))
    assert config == {"loadBalancingConfig": [{"round_robin": {}}]}


def test_what_is_for_this_machine_does_not_go_through_a_proxy() -> None:
    assert dict(channel_options("localhost:8500"))["grpc.enable_http_proxy"] == 0
    assert "grpc.enable_http_proxy" not in dict(channel_options("10.0.0.1:8500"))


def test_the_name_in_a_certificate_can_be_another() -> None:
    options = dict(channel_options("10.0.0.1:8500", "serving.example"))
    assert options["grpc.ssl_target_name_override"] == "serving.example"
    assert "grpc.ssl_target_name_override" not in dict(channel_options("10.0.0.1:8500"))


def test_values_that_fit_no_field_are_invalid_requests() -> None:
    for error in (ValueError("out of range"), TypeError("bad type")):
        with pytest.raises(errors.InvalidRequest, match="cannot be sent"), sendable():
            raise error


def test_calls_that_fail_become_typed_errors() -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        stub: Any = HealthStub(channel)
        with pytest.raises(errors.ServerStopping, match="nothing listens on"), typed_errors():
            stub.Check(HealthCheckRequest(), timeout=30)
