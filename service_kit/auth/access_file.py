"""The access file: who has which roles, in YAML."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from service_kit import errors
from service_kit.auth.access import AccessRules, Token
from service_kit.auth.roles import Role
from service_kit.files.settings_file import LONGEST_KEY, parse_settings

_Name = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_KEY, pattern=r"^[^\s]+$")]
_Roles = list[Annotated[Role, Field(strict=False)]]


class _Token(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    roles: _Roles


class _File(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    tokens: dict[_Name, _Token] | None = None
    certificates: dict[_Name, _Roles] | None = None


def parse_access_file(text: str, where: str) -> AccessRules:
    """Returns the rules in a file.

    `tokens` has, by a name for logs, the SHA-256 of each token (hexadecimal) and its roles;
    `certificates` has roles by common name or alternative name.

    Raises:
        InvalidRequest: it is no YAML, a setting is unknown, or two tokens are one; says where.
    """
    found = parse_settings(_File, text, where, parts=[_Token])
    tokens = [
        Token(name, bytes.fromhex(token.sha256), frozenset(token.roles))
        for name, token in (found.tokens or {}).items()
    ]
    if len({token.sha256 for token in tokens}) != len(tokens):
        raise errors.InvalidRequest(f"{where}: tokens: two of them have the same sha256")
    certificates = {name: frozenset(roles) for name, roles in (found.certificates or {}).items()}
    return AccessRules(tokens, certificates)
