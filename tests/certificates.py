"""Certificates for servers and clients of the tests, by an authority that nobody else trusts."""

import subprocess
import tempfile
from functools import cache
from pathlib import Path

import trustme

from tests.fleet import lacking, require
from tests.ports import free_port


class Certificates:
    """Files of an authority, and of a certificate for servers on loopback addresses, which is also one of a client."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="relay-certificates-")
        folder, authority = Path(self._directory.name), trustme.CA()
        issued = authority.issue_cert("127.0.0.1", "localhost")
        self.authority, self.certificate, self.key = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
        authority.cert_pem.write_to_path(self.authority)
        self.certificate.write_bytes(b"".join(one.bytes() for one in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(self.key)

    def server_options(self) -> dict[str, object]:
        """The options of a redis-server or a sentinel for TLS, with a port for it besides the other one."""
        files = {"tls-cert-file": self.certificate, "tls-key-file": self.key, "tls-ca-cert-file": self.authority}
        return files | {"tls-port": free_port(), "tls-auth-clients": "optional", "tls-replication": "yes"}

    def close(self) -> None:
        self._directory.cleanup()


@cache
def _serves_tls() -> bool:
    # The first option that it does not know, or that is wrong, ends it, with this option in its words.
    command = [require("redis-server"), "--tls-port", "0", "--port", "-1"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    return "tls-port" not in told.stdout + told.stderr


def require_tls() -> None:
    """Skip the test if the redis-server of the tests was built without TLS; under CI, the test fails."""
    if not _serves_tls():
        lacking("this redis-server was built without TLS")
