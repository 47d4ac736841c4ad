from __future__ import annotations

import pytest

from service_kit import errors
from service_kit.auth.access import AccessRules, Token
from service_kit.auth.access_file import parse_access_file
from service_kit.auth.roles import Role

DIGEST = "0f" * 32


def test_tokens_and_names_in_certificates_have_roles() -> None:
    text = f"""
tokens:
  web: {{sha256: {DIGEST}, roles: [predict, read]}}
  nobody: {{sha256: {"ab" * 32}, roles: []}}
certificates:
  trainer.example: [convert]
"""
    assert parse_access_file(text, "access file a") == AccessRules(
        [
            Token("web", bytes.fromhex(DIGEST), frozenset([Role.PREDICT, Role.READ])),
            Token("nobody", bytes.fromhex("ab" * 32), frozenset()),
        ],
        {"trainer.example": frozenset([Role.CONVERT])},
    )


def test_an_empty_file_lets_nobody_in() -> None:
    assert parse_access_file("", "access file a") == AccessRules([], {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tokens: [a]", "tokens: Input should be a valid dictionary"),
        ("token: {}", "token: unknown; there are tokens, certificates"),
        ("tokens: {web: {roles: [read]}}", "tokens.web.sha256: Field required"),
        (
            f"tokens: {{web: {{sha256: {DIGEST[:-1]}, roles: [read]}}}}",
            "tokens.web.sha256: String should match",
        ),
        (
            f"tokens: {{web: {{sha256: {DIGEST}, roles: [root]}}}}",
            "'predict', 'read', 'convert' or 'admin'",
        ),
        (f"tokens: {{web: {{sha256: {DIGEST}, role: read}}}}", "there are sha256, roles"),
        (f"tokens: {{'a b': {{sha256: {DIGEST}, roles: [read]}}}}", "String should match pattern"),
        (
            f"tokens: {{a: {{sha256: {DIGEST}, roles: []}}, b: {{sha256: {DIGEST}, roles: []}}}}",
            "two of them have the same sha256",
        ),
        ("certificates: {a: admin}", "certificates.a: Input should be a valid list"),
    ],
)
def test_a_bad_file_is_refused_with_the_place(text: str, words: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        parse_access_file(text, "access file a")
    assert caught.value.message.startswith("access file a: ")
    assert words in caught.value.message


def test_a_token_written_in_the_clear_is_refused_and_not_repeated() -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        parse_access_file("tokens: {web: {sha256: my-plain-secret, roles: [read]}}", "file")
    assert "my-plain-secret" not in caught.value.message
