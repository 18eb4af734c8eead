"""From polling to a WebSocket: the handshake, and the session after one that stops half way."""

import asyncio

import pytest

from relay.gateways.base.polling_rules import PollAnswer
from relay.gateways.socketio.engine import EngineSession
from relay.gateways.socketio.upgrade import Upgrade, upgrading
from relay.model.codec import Frame
from relay.model.errors import BAD_PACKET, GOING_AWAY, NORMAL
from tests.unit.gateways.socketio.clients import Engine, FakeConnection, engine


async def begun(one: Engine, session: EngineSession) -> tuple[FakeConnection, Upgrade]:
    """A WebSocket for this session."""
    connection = FakeConnection()
    upgrade, greeting = upgrading(session)(connection)
    await greeting
    assert isinstance(upgrade, Upgrade)
    return connection, upgrade


def messages(one: Engine) -> list[bytes]:
    return one.handlers[0].messages


async def test_after_the_handshake_everything_goes_over_the_websocket() -> None:
    async with engine() as one:
        session = one.polling()
        connection, upgrade = await begun(one, session)
        assert session.upgrade is upgrade
        upgrade.received(Frame(b"2probe"))
        session.connection.write(Frame(b"4kept"))
        upgrade.received(Frame(b"5"))
        assert session.upgrade is None
        session.connection.write(Frame(b"4new"))
        upgrade.received(Frame(b"4hello"))
        assert connection.written == [b"3probe", b"4kept", b"4new"]
        assert messages(one) == [b"hello"]
        upgrade.disconnected(1000, None)
        assert one.handlers[0].ended == [True]


async def test_packets_of_the_last_poll_do_not_come_again_over_the_websocket() -> None:
    async with engine() as one:
        session = one.polling()
        assert session.polling is not None
        session.connection.write(Frame(b"4polled"))
        assert [frame.data for frame in (await session.polling.poll("mark")).frames] == [b"4polled"]
        connection, upgrade = await begun(one, session)
        upgrade.received(Frame(b"2probe"))
        session.connection.write(Frame(b"4kept"))
        upgrade.received(Frame(b"5"))
        assert connection.written == [b"3probe", b"4kept"]


async def test_polls_are_answered_at_once_while_the_client_upgrades() -> None:
    async with engine() as one:
        session = one.polling()
        assert session.polling is not None
        poll = session.polling.poll()
        _, upgrade = await begun(one, session)
        assert not poll.done()
        upgrade.received(Frame(b"2probe"))
        assert poll.result() == PollAnswer([])
        async with asyncio.timeout(5):
            assert await session.polling.poll() == PollAnswer([])


async def test_a_session_and_its_upgrade_count_once() -> None:
    async with engine() as one:
        await begun(one, one.polling())
        assert len(one.worker.admissions) == 1


@pytest.mark.parametrize("probed", [False, True])
async def test_a_websocket_that_is_lost_half_way_leaves_the_session_polling(probed: bool) -> None:
    async with engine() as one:
        session = one.polling()
        _, upgrade = await begun(one, session)
        if probed:
            upgrade.received(Frame(b"2probe"))
        upgrade.disconnected(1006, None)
        assert session.upgrade is None
        assert one.sessions.get(session.id) is session
        await session.read_payload(b"4hello", binary=False)
        assert messages(one) == [b"hello"]


@pytest.mark.parametrize("frame", [Frame(b"4hello"), Frame(b"3"), Frame(b"2probe", is_text=False)])
async def test_anything_else_than_the_handshake_closes_the_websocket(frame: Frame) -> None:
    async with engine() as one:
        session = one.polling()
        connection, upgrade = await begun(one, session)
        upgrade.received(frame)
        assert connection.reason is BAD_PACKET
        assert one.sessions.get(session.id) is session
        assert messages(one) == []


async def test_a_client_that_takes_too_long_loses_the_websocket_alone() -> None:
    async with engine(handshake_timeout=0.05) as one:
        session = one.polling()
        connection, upgrade = await begun(one, session)
        upgrade.received(Frame(b"2probe"))
        await connection.until(lambda: connection.reason)
        assert connection.reason is NORMAL
        assert session.upgrade is None
        upgrade.received(Frame(b"5"))
        assert session.polling is not None


async def test_the_end_of_the_session_closes_the_websocket() -> None:
    async with engine() as one:
        session = one.polling()
        connection, _ = await begun(one, session)
        session.disconnected(1006, None)
        assert connection.reason is NORMAL


async def test_a_session_that_the_relay_has_closed_does_not_go_on_over_a_websocket() -> None:
    async with engine() as one:
        session = one.polling()
        connection, upgrade = await begun(one, session)
        session.connection.close(GOING_AWAY)
        upgrade.received(Frame(b"5"))
        assert connection.reason is BAD_PACKET
        assert session.polling is not None


async def test_a_second_probe_closes_the_websocket() -> None:
    async with engine() as one:
        session = one.polling()
        connection, upgrade = await begun(one, session)
        upgrade.received(Frame(b"2probe"))
        assert connection.reason is None
        upgrade.received(Frame(b"2probe"))
        assert connection.reason is BAD_PACKET


async def test_an_upgrade_stands_for_the_first_poll() -> None:
    async with engine() as one:
        session = one.polling(polled=False)
        await session.read_payload(b"4early", binary=False)
        _, upgrade = await begun(one, session)
        upgrade.received(Frame(b"2probe"))
        upgrade.received(Frame(b"5"))
        assert messages(one) == [b"early"]
