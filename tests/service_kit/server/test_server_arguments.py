from __future__ import annotations

from service_kit.server.keepalive import Keepalive
from service_kit.server.server_arguments import keepalive_arguments, server_arguments

MAX_INT = 2**31 - 1


def test_clients_may_ping_every_five_seconds_and_are_pinged_every_minute() -> None:
    assert dict(keepalive_arguments(Keepalive())) == {
        "grpc.keepalive_time_ms": 60_000,
        "grpc.keepalive_timeout_ms": 20_000,
        "grpc.http2.ping_timeout_ms": 20_000,
        "grpc.keepalive_permit_without_calls": 1,
        # A fifth less than 5 s: pings of who keeps to them come early now and then.
        "grpc.http2.min_ping_interval_without_data_ms": 4_000,
    }


def test_pings_can_be_left_out_and_allowed_at_any_rate() -> None:
    found = dict(keepalive_arguments(Keepalive(seconds=0, least_ping_seconds=0)))
    assert found["grpc.keepalive_time_ms"] == MAX_INT
    assert found["grpc.http2.min_ping_interval_without_data_ms"] == 0
    # Else it would hold for the pings by which gRPC measures the line.
    assert "grpc.http2.ping_timeout_ms" not in found


def test_times_fit_into_the_integers_of_grpc() -> None:
    found = dict(keepalive_arguments(Keepalive(1e12, 1e-9, 1e12)))
    assert found["grpc.keepalive_time_ms"] == MAX_INT
    assert found["grpc.keepalive_timeout_ms"] == 1
    assert found["grpc.http2.min_ping_interval_without_data_ms"] == MAX_INT
    assert dict(server_arguments(1, 1e12))["grpc.max_connection_age_ms"] == MAX_INT


def test_all_calls_that_come_reach_the_event_loop() -> None:
    found = dict(server_arguments(2**20, None))
    soft = found["grpc.server.max_pending_requests"]
    # Without a random part between the two.
    assert soft == found["grpc.server.max_pending_requests_hard_limit"] == 65_536
    assert found["grpc.server_max_unrequested_time_in_server"] == MAX_INT
    assert "grpc.max_connection_age_ms" not in found


def test_clients_are_told_to_connect_anew_before_their_streams_are_ended() -> None:
    found = dict(server_arguments(2**20, 600))
    # gRPC makes it a tenth more or less for each connection.
    assert 599_000 < found["grpc.max_connection_age_ms"] * 1.1 <= 600_001
    # gRPC never cuts a call off.
    assert "grpc.max_connection_age_grace_ms" not in found
