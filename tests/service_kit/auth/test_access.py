from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service_kit import errors
from service_kit.auth.access import Access, AccessRules, Token
from service_kit.auth.roles import OPEN_TO_ALL, Role

RPCS = {"/s/Open": OPEN_TO_ALL, "/s/Read": Role.READ, "/s/Convert": Role.CONVERT}


def token(name: str, *roles: Role) -> Token:
    return Token(name, sha256(f"secret-{name}".encode()).digest(), frozenset(roles))


RULES = AccessRules(
    [token("web", Role.READ, Role.PREDICT), token("ops", Role.ADMIN)],
    {"trainer.example": frozenset([Role.CONVERT])},
)


def test_without_rules_everybody_may_do_everything() -> None:
    access = Access(RPCS)
    for method in (*RPCS, "/s/Unknown"):
        assert access.admit(method, [], []) == "anonymous"
        assert access.admit(method, ["Bearer whatever"], []) == "anonymous"
        assert access.admit(method, [], ["client.example"]) == "client.example"


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_a_known_token_with_the_role_is_let_in(scheme: str) -> None:
    assert Access(RPCS, RULES).admit("/s/Read", [f"{scheme}secret-web"], []) == "web"


def test_what_is_open_asks_for_nothing() -> None:
    access = Access(RPCS, RULES)
    assert access.admit("/s/Open", [], []) == "anonymous"
    assert access.admit("/s/Open", ["Bearer wrong"], []) == "anonymous"


@pytest.mark.parametrize(
    ("authorizations", "words"),
    [
        ([], "asks for a token"),
        (["Bearer secret-other"], "not known here"),
        (["Bearer "], "not known here"),
        (["secret-web"], "has to be `Bearer TOKEN`"),
        (["Basic c2VjcmV0"], "has to be `Bearer TOKEN`"),
        (["Bearer secret-web", "Bearer secret-ops"], "send one"),
    ],
)
def test_who_is_not_known_is_told_what_to_send(authorizations: list[str], words: str) -> None:
    with pytest.raises(errors.Unauthenticated, match=words):
        Access(RPCS, RULES).admit("/s/Read", authorizations, [])


def test_a_known_caller_without_the_role_is_told_which_one_is_missing() -> None:
    with pytest.raises(errors.RoleMissing, match="role convert; web has predict, read"):
        Access(RPCS, RULES).admit("/s/Convert", ["Bearer secret-web"], [])


def test_an_rpc_that_nobody_thought_of_is_closed() -> None:
    with pytest.raises(errors.RoleMissing, match="open to nobody"):
        Access(RPCS, RULES).admit("/s/Unknown", ["Bearer secret-ops"], [])


def test_names_in_certificates_have_roles() -> None:
    access = Access(RPCS, RULES)
    names = ["some common name", "trainer.example"]
    assert access.admit("/s/Convert", [], names) == "trainer.example"
    with pytest.raises(errors.RoleMissing):
        access.admit("/s/Read", [], names)
    with pytest.raises(errors.Unauthenticated, match=r"other\.example is not in"):
        access.admit("/s/Read", [], ["other.example"])


def test_a_token_that_is_sent_counts_and_not_the_certificate() -> None:
    access = Access(RPCS, RULES)
    assert access.admit("/s/Read", ["Bearer secret-web"], ["trainer.example"]) == "web"
    with pytest.raises(errors.Unauthenticated):
        access.admit("/s/Convert", ["Bearer wrong"], ["trainer.example"])


def test_rules_can_be_replaced_and_an_old_token_is_out_at_once() -> None:
    access = Access(RPCS, RULES)
    access.replace_rules(AccessRules([token("new", Role.READ)]))
    assert access.admit("/s/Read", ["Bearer secret-new"], []) == "new"
    with pytest.raises(errors.Unauthenticated):
        access.admit("/s/Read", ["Bearer secret-web"], [])


@given(st.text(max_size=50))
def test_nothing_but_the_token_itself_is_taken_and_no_message_repeats_it(guess: str) -> None:
    assume(guess.strip() != "secret-web")
    with pytest.raises(errors.Unauthenticated) as caught:
        Access(RPCS, RULES).admit("/s/Read", [f"Bearer {guess}"], [])
    assert len(guess) < 8 or guess not in caught.value.message
