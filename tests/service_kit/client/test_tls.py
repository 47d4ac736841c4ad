from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from service_kit import errors
from service_kit.client.tls import Tls

AUTHORITY = trustme.CA()
LEAF = AUTHORITY.issue_cert("client.example")
ROOT = AUTHORITY.cert_pem.bytes()
CERTIFICATE, KEY = LEAF.cert_chain_pems[0].bytes(), LEAF.private_key_pem.bytes()


def test_pem_comes_from_files_or_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "root.pem"
    path.write_bytes(ROOT)
    for root in (ROOT, path, str(path)):
        assert Tls(root_certificates=root).credentials() is not None
    assert Tls(ROOT, CERTIFICATE, KEY).credentials() is not None
    assert Tls().credentials() is not None


def test_nothing_is_shown_when_it_is_printed() -> None:
    shown = repr(Tls(ROOT, CERTIFICATE, KEY, server_name="serving"))
    assert shown == "Tls(server_name='serving')"


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        (Tls("/nowhere/root.pem"), "root_certificates cannot be read: No such file"),
        (Tls("/"), "root_certificates cannot be read: Is a directory"),
        (Tls("a\0b"), "root_certificates cannot be read"),
        (Tls(5), "root_certificates cannot be read"),  # type: ignore[arg-type]
        (Tls(b"hello"), "root_certificates has no certificate in PEM"),
        (Tls(b""), "root_certificates has no certificate in PEM"),
        (Tls(ROOT, KEY, CERTIFICATE), "client_key has no private key in PEM"),
        (Tls(ROOT, KEY, KEY), "client_certificate has no certificate in PEM"),
        (Tls(ROOT, CERTIFICATE), "go together"),
        (Tls(ROOT, client_key=KEY), "go together"),
        (
            Tls(ROOT, CERTIFICATE, b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"),
            "client_key is encrypted",
        ),
    ],
)
def test_what_would_fail_each_handshake_is_told_at_once(tls: Tls, words: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=words):
        tls.credentials()


def test_a_key_given_as_a_text_is_not_repeated_in_the_error() -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        Tls(ROOT, CERTIFICATE, KEY.decode()).credentials()
    assert KEY.decode()[40:80] not in str(caught.value)
    assert "as bytes" in str(caught.value)
