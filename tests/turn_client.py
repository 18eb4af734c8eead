"""A client of TURN servers (RFC 8656), as far as tests need it."""

import asyncio
import hashlib
import hmac
import secrets
import socket
import ssl
import struct
from ipaddress import IPv4Address
from typing import Self

_COOKIE = 0x2112A442
_ALLOCATE, _CREATE_PERMISSION = 0x0003, 0x0008
_USERNAME, _MESSAGE_INTEGRITY, _ERROR_CODE, _REALM, _NONCE = 0x0006, 0x0008, 0x0009, 0x0014, 0x0015
_REQUESTED_TRANSPORT, _XOR_PEER_ADDRESS = 0x0019, 0x0012
_UDP = struct.pack("!B3x", 17)


_HEAD = 20
_PATIENCE = 10.0


class TurnClient:
    """A socket to a TURN server on 127.0.0.1, with a credential; requests return their error code, 0 for none.

    It speaks UDP, or TLS if `trust` says which certificates are good.
    """

    def __init__(self, port: int, username: str, password: str, *, trust: ssl.SSLContext | None = None) -> None:
        self._username = username.encode()
        self._password = password
        self._realm = self._nonce = b""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM if trust else socket.SOCK_DGRAM)
        self._socket.settimeout(_PATIENCE)
        self._socket.connect(("127.0.0.1", port))
        if trust:
            self._socket = trust.wrap_socket(self._socket, server_hostname="127.0.0.1")
        self._stream = self._socket.makefile("rb") if trust else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream:
            self._stream.close()
        self._socket.close()

    async def allocate(self) -> int:
        """Ask for a relayed address."""
        transport = (_REQUESTED_TRANSPORT, _UDP)
        code = await self._ask(_ALLOCATE, transport)
        assert code == 401, "a TURN server that asks for no credential"
        return await self._ask(_ALLOCATE, transport)

    async def permit(self, peer: str) -> int:
        """Ask for the permission to send to an address."""
        address = struct.pack("!I", int(IPv4Address(peer)) ^ _COOKIE)
        head = struct.pack("!BBH", 0, 1, 80 ^ _COOKIE >> 16)
        return await self._ask(_CREATE_PERMISSION, (_XOR_PEER_ADDRESS, head + address))

    async def _ask(self, method: int, *attributes: tuple[int, bytes]) -> int:
        transaction, known = secrets.token_bytes(12), list(attributes)
        if self._nonce:
            known += [(_USERNAME, self._username), (_REALM, self._realm), (_NONCE, self._nonce)]
        body = b"".join(_attribute(kind, value) for kind, value in known)
        request = _head(method, len(body), transaction) + body
        if self._nonce:
            # The length in the head counts the attribute that the hash does not cover.
            key = hashlib.md5(b":".join([self._username, self._realm, self._password.encode()])).digest()
            covered = _head(method, len(body) + 24, transaction) + body
            request = covered + _attribute(_MESSAGE_INTEGRITY, hmac.digest(key, covered, "sha1"))
        answer = await asyncio.to_thread(self._exchange, request, transaction)
        found = dict(_attributes(answer[_HEAD:]))
        self._realm, self._nonce = found.get(_REALM, self._realm), found.get(_NONCE, self._nonce)
        error = found.get(_ERROR_CODE)
        return error[2] * 100 + error[3] if error else 0

    def _exchange(self, request: bytes, transaction: bytes) -> bytes:
        self._socket.sendall(request)
        while (answer := self._receive())[8:_HEAD] != transaction:
            pass
        return answer

    def _receive(self) -> bytes:
        if self._stream is None:
            return self._socket.recv(2000)
        head = self._stream.read(_HEAD)
        return head + self._stream.read(int.from_bytes(head[2:4]))


def _head(method: int, length: int, transaction: bytes) -> bytes:
    return struct.pack("!HHI", method, length, _COOKIE) + transaction


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + b"\0" * (-len(value) % 4)


def _attributes(body: bytes) -> list[tuple[int, bytes]]:
    found = []
    while body:
        kind, length = struct.unpack("!HH", body[:4])
        found.append((kind, body[4 : 4 + length]))
        body = body[4 + length + -length % 4 :]
    return found
