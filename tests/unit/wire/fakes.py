"""A transport and receivers that record the calls of a WebSocket connection."""

import asyncio

from relay.model.codec import Frame
from relay.rooms.keepalive import Keepalive, KeepaliveTiming
from relay.rooms.throttle import Throttle
from relay.wire.limits import WireLimits
from relay.wire.websocket import WebSocketProtocol


class FakeTransport(asyncio.Transport):
    """Records the written bytes, and whether reading is paused."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.wrote = asyncio.Event()
        self.reading = True
        self.closing = self.aborted = self.ended = self.tls = False

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.aborted = self.closing = True

    def can_write_eof(self) -> bool:
        return not self.tls

    def write_eof(self) -> None:
        self.ended = True

    def get_write_buffer_size(self) -> int:
        return len(self.written)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data
        self.wrote.set()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class FailingReceiver:
    """A session with a bug."""

    watched = False

    def received(self, frame: Frame) -> None:
        raise ZeroDivisionError

    def disconnected(self, code: int, relay_closed: str | None) -> None:
        raise ZeroDivisionError


class FakeReceiver:
    watched = False

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.ended: list[int] = []

    def received(self, frame: Frame) -> None:
        self.texts.append(frame.data)

    def disconnected(self, code: int, relay_closed: str | None) -> None:
        self.ended.append(code)


def protocol_of(
    transport: FakeTransport, receiver: FakeReceiver | FailingReceiver, *, rate: float = 1e6
) -> WebSocketProtocol:
    throttle = Throttle()
    timing = KeepaliveTiming(25, 20, 25)
    limits = WireLimits(2000, 1000, Keepalive(timing), throttle, set(), small_frames=rate, small_frame_burst=rate)
    return WebSocketProtocol(transport, limits, receiver)


def masked(first: int, data: bytes) -> bytes:
    return bytes([first, 0x80 | len(data), 0, 0, 0, 0]) + data
