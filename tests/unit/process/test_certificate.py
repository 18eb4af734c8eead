"""A certificate that is read again: over pairs of TLS endpoints in memory."""

import logging
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from relay.config import Settings
from relay.process.certificate import Certificate, certificate_of, reload_certificate
from relay.process.server import BadCertificate


def issue(folder: Path, name: str) -> Settings:
    issued = trustme.CA().issue_cert(name)
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return Settings(tls_cert=str(cert), tls_key=str(key))


def served(certificate: Certificate, name: str | None) -> bytes:
    """Return the certificate that a client with this server name gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname=name)
    server = certificate.context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (client, server):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return client.getpeercert(binary_form=True) or b""


@pytest.mark.parametrize("name", [None, "localhost", "other.example"])
def test_new_connections_get_the_certificate_that_was_read_last(tmp_path: Path, name: str | None, caplog) -> None:
    caplog.set_level(logging.INFO)
    certificate = certificate_of(issue(tmp_path, "localhost"))
    assert certificate is not None
    first = served(certificate, name)
    issue(tmp_path, "localhost")
    assert served(certificate, name) == first
    assert reload_certificate(certificate)
    second = served(certificate, name)
    assert second not in {first, b""}
    issue(tmp_path, "localhost")
    assert reload_certificate(certificate)
    assert served(certificate, name) not in {first, second, b""}
    assert caplog.text.count("the certificate was read again") == 2


def test_a_certificate_that_cannot_be_used_leaves_the_former_one_in_use(tmp_path: Path, caplog) -> None:
    settings = issue(tmp_path, "localhost")
    certificate = certificate_of(settings)
    assert certificate is not None
    first = served(certificate, None)
    Path(settings.tls_key).write_text("nonsense")
    with pytest.raises(BadCertificate):
        certificate.read_again()
    assert not reload_certificate(certificate)
    assert "SIGHUP: the relay keeps its certificate" in caplog.text
    assert "tls_key" in caplog.text
    assert served(certificate, None) == first


def test_without_a_certificate_there_is_nothing_to_read(caplog) -> None:
    assert certificate_of(Settings()) is None
    assert not reload_certificate(None)
    assert "there is no certificate to read again" in caplog.text
