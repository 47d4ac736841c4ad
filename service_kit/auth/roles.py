"""What callers may do."""

from __future__ import annotations

import enum
from typing import Final


class Role(enum.Enum):
    """A caller may have several; none of them includes another.

    PREDICT: ask models. READ: see what is there. CONVERT: make artifacts out of checkpoints.
    ADMIN: change what is there (load, unload, labels, delete, reload).
    """

    PREDICT = "predict"
    READ = "read"
    CONVERT = "convert"
    ADMIN = "admin"


# Instead of a role: health and reflection, which balancers and generic clients ask for.
OPEN_TO_ALL: Final = None

ALWAYS_OPEN: dict[str, Role | None] = {
    "/grpc.health.v1.Health/Check": OPEN_TO_ALL,
    "/grpc.health.v1.Health/Watch": OPEN_TO_ALL,
    "/grpc.health.v1.Health/List": OPEN_TO_ALL,
}
REFLECTION: dict[str, Role | None] = {
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": OPEN_TO_ALL,
}
