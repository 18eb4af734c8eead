"""A WebSocket that is to take the place of polling, and polling itself when it is closed."""

import asyncio
from types import SimpleNamespace
from typing import Any

from relay.gateways.socketio.engine import Upgrade
from relay.gateways.socketio.packets import FRAMINGS, Payload
from relay.gateways.socketio.polling import Polling
from relay.metrics import Metrics
from relay.model.codec import Frame
from relay.model.errors import SLOW, CloseReason
from relay.rooms.connection import Connection


class FakeConnection:
    def __init__(self) -> None:
        self.told: list[bytes] = []
        self.reason: CloseReason | None = None

    def write(self, frame: Frame) -> None:
        self.told.append(frame.data)

    def close(self, reason: CloseReason) -> None:
        self.reason = reason


def polling(on_close: Any) -> Polling:
    return Polling(FRAMINGS[4], limit=1000, metrics=Metrics(), on_close=on_close)


async def test_one_timer_releases_polls_however_often_a_client_probes(monkeypatch: Any) -> None:
    loop = asyncio.get_running_loop()
    begun: list[asyncio.TimerHandle] = []
    later = loop.call_later

    def call_later(*arguments: Any) -> asyncio.TimerHandle:
        begun.append(later(*arguments))
        return begun[-1]

    monkeypatch.setattr(loop, "call_later", call_later)
    worker = SimpleNamespace(settings=SimpleNamespace(handshake_timeout=10))
    engine: Any = SimpleNamespace(worker=worker, connection=polling(None), upgrade=None)
    connection: Any = FakeConnection()
    upgrade = Upgrade(engine, connection, lambda *, paused: None)
    for _ in range(50):
        upgrade.received(Frame(b"2probe"))
    assert connection.told == [b"3probe"] * 50
    assert len(begun) == 2
    upgrade.disconnected(1006, None)
    assert all(timer.cancelled() for timer in begun)


async def test_who_is_too_slow_is_gone_only_after_others_were_written_to() -> None:
    """The hub is in the middle of a room's members when it writes."""
    ended: asyncio.Future[tuple[CloseReason, Payload | None]] = asyncio.get_running_loop().create_future()
    slow: Connection = polling(lambda reason, left: ended.set_result((reason, left)))
    for _ in range(3):
        slow.write(Frame(b"4" + b"x" * 400))
    assert slow.reason is SLOW
    assert not ended.done()
    assert await ended == (SLOW, Payload(b"1"))


async def test_a_session_that_the_relay_has_closed_does_not_go_on_over_a_websocket() -> None:
    worker = SimpleNamespace(settings=SimpleNamespace(handshake_timeout=10))
    engine: Any = SimpleNamespace(worker=worker, connection=polling(None), upgrade=None, closing=True)
    connection: Any = FakeConnection()
    upgrade = Upgrade(engine, connection, lambda *, paused: None)
    upgrade.received(Frame(b"5"))
    assert connection.reason is not None
