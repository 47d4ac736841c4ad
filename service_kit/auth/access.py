"""Who may call what: roles of tokens and certificates, and a table of rpcs."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from service_kit import errors
from service_kit.auth.roles import OPEN_TO_ALL, Role
from service_kit.telemetry.current_call import ANONYMOUS

_SCHEME = "bearer "


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token by its SHA-256 (32 bytes): its name in logs and what it may do."""

    name: str
    sha256: bytes
    roles: frozenset[Role]


@dataclass(frozen=True, slots=True)
class AccessRules:
    """Tokens, and roles by the names in client certificates."""

    tokens: Sequence[Token] = ()
    certificates: Mapping[str, frozenset[Role]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, by the name that logs have, and what they may do."""

    name: str
    roles: frozenset[Role]


class Access:
    """Lets calls in, or refuses them. Without rules everybody may do everything."""

    def __init__(self, rpcs: Mapping[str, Role | None], rules: AccessRules | None = None) -> None:
        """Guards a port.

        Args:
            rpcs: full method (`/package.Service/Method`) -> role, `OPEN_TO_ALL` for none; with
                rules, what is not in it is refused.
            rules: None: nobody is refused.
        """
        self._rpcs = rpcs
        self._rules = rules

    def replace_rules(self, rules: AccessRules) -> None:
        """Takes other rules, from the next call on."""
        self._rules = rules

    @property
    def has_rules(self) -> bool:
        """Whether anybody can be refused."""
        return self._rules is not None

    def role(self, method: str) -> Role | None:
        """Returns the role that a method asks for; None for open and unknown ones."""
        return self._rpcs.get(method)

    def refuses(self, method: str, authorizations: Sequence[str]) -> bool:
        """Whether `admit` will refuse a call, whatever certificate may come with it."""
        if not authorizations and self._rules is not None and self._rules.certificates:
            return False
        try:
            self.admit(method, authorizations, ())
        except errors.PbserveError:
            return True
        return False

    def admit(
        self, method: str, authorizations: Sequence[str], certificate_names: Sequence[str]
    ) -> str:
        """Returns the caller's name for logs.

        Args:
            method: full name of the rpc.
            authorizations: values of the metadata key `authorization`.
            certificate_names: common name and alternative names of a verified certificate.

        Raises:
            Unauthenticated: there is no token that is known and no certificate that is named.
            RoleMissing: the caller is known, and may not call this.
        """
        is_open = method in self._rpcs and self._rpcs[method] is OPEN_TO_ALL
        if self._rules is None or is_open:
            return certificate_names[0] if certificate_names else ANONYMOUS
        caller = _caller(self._rules, authorizations, certificate_names)
        role = self._rpcs.get(method)
        if role is None:
            # Deny by default: an rpc that nobody has thought of.
            raise errors.RoleMissing(f"{method} is open to nobody on this server")
        if role not in caller.roles:
            has = ", ".join(sorted(one.value for one in caller.roles)) or "none"
            raise errors.RoleMissing(
                f"{method} asks for the role {role.value}; {caller.name} has {has}: have the "
                "operator add it, or use another token"
            )
        return caller.name


def _caller(
    rules: AccessRules, authorizations: Sequence[str], certificate_names: Sequence[str]
) -> Caller:
    if authorizations:
        return _token_caller(rules.tokens, authorizations)
    named = [name for name in certificate_names if name in rules.certificates]
    if named:
        return Caller(named[0], frozenset().union(*(rules.certificates[name] for name in named)))
    if certificate_names:
        raise errors.Unauthenticated(
            f"the certificate of {certificate_names[0]} is not in this server's access file, and "
            "no token was sent"
        )
    raise errors.Unauthenticated(
        "this server asks for a token: send the metadata `authorization: Bearer TOKEN`"
    )


def _token_caller(tokens: Iterable[Token], authorizations: Sequence[str]) -> Caller:
    # More than one would leave open which of them was meant, here and in what stands before us.
    if len(authorizations) > 1:
        raise errors.Unauthenticated("send one `authorization`, not several")
    (value,) = authorizations
    if not value.lower().startswith(_SCHEME):
        raise errors.Unauthenticated("the metadata `authorization` has to be `Bearer TOKEN`")
    digest = hashlib.sha256(value[len(_SCHEME) :].strip().encode()).digest()
    found: Token | None = None
    # All of them, always: the time that this takes says nothing about any token.
    for token in tokens:
        if hmac.compare_digest(digest, token.sha256):
            found = token
    if found is None:
        raise errors.Unauthenticated("the token is not known here: is it an old one?")
    return Caller(found.name, found.roles)
