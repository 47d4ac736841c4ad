"""Tokens with a role each, and files that know them."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from service_kit.auth.access import AccessRules, Token
from service_kit.auth.roles import Role

# Role -> a token that has it and no other.
TOKENS = {role: f"token-of-{role.value}" for role in Role}


def one_token_a_role() -> AccessRules:
    """Returns rules in which the token of each role has that role alone."""
    return AccessRules(
        [
            Token(role.value, sha256(secret.encode()).digest(), frozenset([role]))
            for role, secret in TOKENS.items()
        ]
    )


def token(name: str) -> str:
    """Returns the token of a name in `write_access_file`."""
    return f"secret-{name}"


def write_access_file(path: Path, **roles: str) -> None:
    """Writes a file with `name="role, role"`."""
    lines = ["tokens:"]
    for name, has in roles.items():
        digest = sha256(token(name).encode()).hexdigest()
        lines.append(f"  {name}: {{sha256: '{digest}', roles: [{has}]}}")
    new = path.with_suffix(".new")
    new.write_text("\n".join(lines) + "\n")
    new.replace(path)
