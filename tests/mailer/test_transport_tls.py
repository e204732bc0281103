"""The SMTP session under TLS: no mail over what cannot be trusted."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from scripted_smtp import ScriptedServer
from sessions import deliver, server_of
from waiting import PATIENCE_S

from tasks.mailer.transport import Server, SmtpFault


def certificate(folder: Path) -> Path:
    """Write a self-signed certificate of 127.0.0.1 with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.example")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(
            [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    file = folder / "mx.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                          serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )  # fmt: skip
    return file


@pytest.fixture(params=["starttls", "tls"])
def secure(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, Any, Path]]:
    """Return a server's settings, the server and its certificate, for both ways to TLS."""
    file = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    smtp = ScriptedServer(
        extensions="STARTTLS", context=context, implicit=request.param == "tls"
    ).start()
    yield server_of(smtp, **{request.param: True}), smtp, file
    smtp.stop()


def test_a_self_signed_certificate_is_refused_before_anything_is_said(
    secure: tuple[Server, ScriptedServer, Path],
) -> None:
    server, smtp, _ = secure
    with pytest.raises(SmtpFault, match="certificate") as caught:
        deliver(server)
    assert (caught.value.phase, caught.value.lost) == ("tls", False)
    assert smtp.said("MAIL") == smtp.said("AUTH") == []


def test_a_trusted_certificate_is_accepted(
    secure: tuple[Server, ScriptedServer, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, smtp, file = secure
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    assert deliver(server).code == 250
    assert len(smtp.accepted) == 1


def test_a_trusted_certificate_of_another_name_is_refused(
    secure: tuple[Server, ScriptedServer, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, smtp, file = secure
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(SmtpFault, match="(?i)hostname mismatch") as caught:
        deliver(Server(host="localhost", port=server.port, starttls=server.starttls,
                       tls=server.tls, timeout_s=PATIENCE_S))  # fmt: skip
    assert caught.value.phase == "tls"
    assert smtp.accepted == []


def test_a_server_without_starttls_gets_no_mail_in_the_clear(smtp: ScriptedServer) -> None:
    with pytest.raises(SmtpFault) as caught:
        deliver(server_of(smtp, starttls=True))
    assert (caught.value.phase, caught.value.lost) == ("tls", False)
    assert smtp.said("MAIL") == []
