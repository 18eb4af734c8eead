"""A client that runs the steps of a case and notes the events."""

import contextlib
import re
import socket
import time

from tests.conformance.autobahn.case import Answered, Case, Event, Seen, Waited, Write
from tests.conformance.autobahn.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, closing, decode

_CHUNK = 2**18

_UPGRADE = (
    "GET / HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n"
)


def perform(case: Case, port: int) -> Seen:
    """Run one case against the server."""
    with socket.create_connection(("127.0.0.1", port), timeout=case.patience) as sock:
        # Otherwise the kernel would wait for more data before it sends a chop.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = _Client(sock, case)
        client.upgrade()
        client.play()
        return client.seen


class _Client:
    def __init__(self, sock: socket.socket, case: Case) -> None:
        self._sock = sock
        self._case = case
        self._deadline = time.monotonic() + case.patience
        self._buffer = bytearray()
        self._opcode: int | None = None
        self._parts: list[bytes] = []
        self.seen = Seen()

    def upgrade(self) -> None:
        offer = self._case.offer
        self._sock.sendall(_UPGRADE.format(f"Sec-WebSocket-Extensions: {offer}\r\n" if offer else "").encode())
        while b"\r\n\r\n" not in self._buffer:
            received = self._sock.recv(_CHUNK)
            assert received, "no answer to the handshake"
            self._buffer += received
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        extensions = re.search(rb"(?im)^sec-websocket-extensions:\s*(.*)$", head)
        self.seen.extensions = extensions[1].decode() if extensions else None

    def play(self) -> None:
        for move in self._case.moves():
            if self._over:
                break
            self._move(move)
        if self._case.ending.by == "client" and not self._case.closes:
            while tuple(self.seen.events) not in (self._case.ok, self._case.non_strict) and self._read(self._deadline):
                pass
            self._send(closing(1000).encode(), closes=True)
        while self._read(self._deadline):
            pass

    @property
    def _over(self) -> bool:
        return self.seen.closed_first == "server" or self.seen.end != "none"

    def _move(self, move: Write | Answered | Waited) -> None:
        if isinstance(move, Write):
            self._send(move.data, closes=move.closes)
            if self._case.chop is not None and self._case.pace:
                time.sleep(self._case.pace)
        elif isinstance(move, Answered):
            self._read(self._deadline)
        else:
            until = time.monotonic() + move.seconds
            while self._read(until):
                pass
            if not self._over:
                self.seen.events.append(Event("waited"))

    def _send(self, data: bytes, *, closes: bool = False) -> None:
        if closes and self.seen.closed_first == "nobody":
            self.seen.closed_first = "client"
        # A server that has closed need not read the rest; its last frames are still read here.
        with contextlib.suppress(ConnectionError):
            self._sock.sendall(data)

    def _read(self, until: float) -> bool:
        """Note the next frame; False if none comes in time or the connection has ended."""
        while (frame := decode(self._buffer)) is None:
            if self.seen.end != "none":
                return False
            try:
                self._sock.settimeout(max(until - time.monotonic(), 0.001))
                received = self._sock.recv(_CHUNK)
            except TimeoutError:
                return False
            except ConnectionError:
                self._end("reset")
                return False
            finally:
                self._sock.settimeout(self._case.patience)
            if not received:
                self._end("eof")
                return False
            self._buffer += received
        self._note(frame)
        return True

    def _end(self, how: str) -> None:
        self.seen.end = "eof" if how == "eof" else "reset"
        if self.seen.closed_first == "nobody":
            self.seen.closed_first = "server"

    def _note(self, frame: Frame) -> None:
        assert frame.rsv == 0, "the server uses a bit that was not agreed on"
        assert not self.seen.said_goodbye, "the server speaks after its close frame"
        if frame.opcode == CLOSE:
            self.seen.said_goodbye = True
            self.seen.code = int.from_bytes(frame.payload[:2]) if frame.payload else None
            if self.seen.closed_first == "nobody":
                self.seen.closed_first = "server"
                self._send(Frame(CLOSE, frame.payload[:2]).encode())
        elif frame.opcode == PING:
            self.seen.events.append(Event("ping", frame.payload))
        elif frame.opcode == PONG:
            self.seen.events.append(Event("pong", frame.payload))
        else:
            self._note_message(frame)

    def _note_message(self, frame: Frame) -> None:
        assert frame.opcode in (CONTINUATION, TEXT, BINARY), f"opcode {frame.opcode}"
        assert (frame.opcode == CONTINUATION) == (self._opcode is not None), "the server's fragments are out of order"
        self._opcode = self._opcode or frame.opcode
        self._parts.append(frame.payload)
        if frame.fin:
            self.seen.events.append(Event("text" if self._opcode == TEXT else "binary", b"".join(self._parts)))
            self._opcode, self._parts = None, []
