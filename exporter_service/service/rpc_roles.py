"""Which role each rpc of the exporter's port asks for."""

from __future__ import annotations

from collections.abc import Mapping

from service_kit.auth.roles import Role

_SERVICE = "pbserve.exporter.v1.ExporterService"
_ROLE_OF = {
    "ConvertCheckpoint": Role.CONVERT,
    "AdoptGraph": Role.CONVERT,
    # These two start a process, and read files that only who converts need see.
    "InspectCheckpoint": Role.CONVERT,
    "VerifyArtifact": Role.CONVERT,
    "ListArtifacts": Role.READ,
    "GetArtifact": Role.READ,
    "ListArchitectures": Role.READ,
    "DeleteArtifact": Role.ADMIN,
}

RPC_ROLES: Mapping[str, Role | None] = {
    f"/{_SERVICE}/{method}": role for method, role in _ROLE_OF.items()
}
