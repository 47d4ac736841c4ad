from __future__ import annotations

from exporter_service.service.rpc_roles import RPC_ROLES
from pbserve.exporter.v1 import exporter_pb2


def test_every_rpc_of_the_port_has_a_role() -> None:
    (service,) = exporter_pb2.DESCRIPTOR.services_by_name.values()
    assert RPC_ROLES.keys() == {f"/{service.full_name}/{one.name}" for one in service.methods}
