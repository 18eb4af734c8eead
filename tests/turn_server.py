"""A real TURN server for the tests: coturn, as the deployment starts it."""

import asyncio
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import trustme

from tests.fleet import eventually, require
from tests.ports import free_port, release_port

DEPLOYED = Path(__file__).parents[1] / "deploy" / "turn"
_BINDING_REQUEST = bytes.fromhex("000100002112a442") + b"relay-tests!"


class TurnServer:
    """coturn on 127.0.0.1, which may be a peer as well; all other addresses are denied as in the deployment.

    `secret` is that of the credentials. With `tls`, it has the certificate `issued`, which `trust()` trusts.
    """

    def __init__(self, *, tls: bool = False) -> None:
        self.secret = secrets.token_hex(16)
        self.port, self.tls_port = free_port(), free_port()
        self._authority = trustme.CA()
        self.issued = self._authority.issue_cert("127.0.0.1")
        self._folder = Path(tempfile.mkdtemp(prefix="relay-turn-"))
        self.log = self._folder / "log.txt"
        text = (DEPLOYED / "turnserver.conf").read_text().replace("listening-port=3478", f"listening-port={self.port}")
        own = ["listening-ip=127.0.0.1", "relay-ip=127.0.0.1", "allow-loopback-peers", ""]
        script = (DEPLOYED / "start.sh").read_text()
        for name, lines in {"etc/turnserver.conf": "\n".join([text, *own]), "turn_secret": self.secret}.items():
            (self._folder / name).parent.mkdir(exist_ok=True)
            (self._folder / name).write_text(lines.replace("=/tmp/", f"={self._folder}/"))
        for path, here in {"/tmp/": "", "/etc/turn/": "etc/", "/run/relay/": ""}.items():
            script = script.replace(path, f"{self._folder}/{here}")
        environment = {"PATH": os.environ["PATH"], "ALLOWED_PEERS": "127.0.0.1"}
        if tls:
            certificate = self._folder / "certificate.pem"
            self.issued.private_key_and_cert_chain_pem.write_to_path(certificate)
            environment |= {"CERTIFICATE": str(certificate), "TLS_PORT": str(self.tls_port)}
        # The reservation is a UDP socket, and the server needs that port.
        for port in (self.port, self.tls_port):
            release_port(port)
        require("turnserver")
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", script], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                cwd=self._folder, env=environment,
            )  # fmt: skip

    @property
    def url(self) -> str:
        return f"turn:127.0.0.1:{self.port}?transport=udp"

    @property
    def tls_url(self) -> str:
        return f"turns:127.0.0.1:{self.tls_port}?transport=tcp"

    @property
    def logged(self) -> str:
        return self.log.read_text(errors="replace")

    def trust(self) -> ssl.SSLContext:
        """Return a new context of a client that trusts this server."""
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        return context

    async def ready(self) -> Self:
        """Wait until it answers a STUN request."""
        await eventually(lambda: asyncio.to_thread(self._answers), 20)
        return self

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.logged
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.2)
            client.connect(("127.0.0.1", self.port))
            try:
                client.send(_BINDING_REQUEST)
                return client.recv(1000).startswith(b"\x01\x01")
            except OSError:
                return False

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        print(f"--- coturn on port {self.port}\n{self.logged}")  # pytest shows it when the test fails
        shutil.rmtree(self._folder)
