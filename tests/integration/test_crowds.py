"""Real crowds behind one address are within the default limits: meetings, schools, and pages that reload together."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any

import pytest

from tests.conftest import MakeClient, MakeRelay
from tests.fleet import Client, Relay
from tests.integration.socketio import OverWebSocket

PEERS = 20
CANDIDATES = 12
SCHOOL = 500
RELOADS = 100
_CANDIDATE = "candidate:842163049 1 udp 1677729535 198.51.100.7 46154 typ srflx raddr 192.0.2.1 rport 46154 "


@pytest.fixture
async def relay(start: MakeRelay, redis_url: str, prefix: str) -> Relay:
    return await start(redis_url=redis_url, redis_prefix=prefix)


async def refusals(relay: Relay) -> float:
    """All errors that clients got, of every code, and all connections that the relay closed."""
    return await relay.metric("relay_errors_total") + await relay.metric("relay_closed_connections_total")


def candidates(sender: int) -> Iterable[dict[str, Any]]:
    """The candidates of a browser: one for each network and protocol, each in a message of its own."""
    return ({"message": {"candidate": _CANDIDATE, "sdpMid": "0", "number": [sender, n]}} for n in range(CANDIDATES))


def all_but(sender: int) -> set[tuple[int, int]]:
    return {(peer, number) for peer in range(PEERS) if peer != sender for number in range(CANDIDATES)}


async def test_candidates_of_a_meeting_arrive_at_once(relay: Relay, enter: MakeClient) -> None:
    members = [await enter(relay, f"/rooms/meeting?peer=p{number}") for number in range(PEERS)]

    async def hear(client: Client) -> set[tuple[int, int]]:
        wanted = len(all_but(0))
        return {tuple((await client.next())["message"]["number"]) for _ in range(wanted)}

    async def send(number: int) -> None:
        await asyncio.gather(*(members[number].send(one) for one in candidates(number)))

    heard = await both(map(hear, members), map(send, range(PEERS)))
    assert heard == [all_but(number) for number in range(PEERS)]
    assert await refusals(relay) == 0


async def test_candidates_of_a_meeting_arrive_at_once_over_socketio(relay: Relay) -> None:
    members = [await (await OverWebSocket.open(relay, "/rooms/meeting")).enter() for _ in range(PEERS)]

    async def hear(client: OverWebSocket) -> set[tuple[int, int]]:
        wanted = len(all_but(0))
        return {tuple((await client.event())[1]["message"]["number"]) for _ in range(wanted)}

    async def send(number: int) -> None:
        await asyncio.gather(*(members[number].emit("message", one) for one in candidates(number)))

    heard = await both(map(hear, members), map(send, range(PEERS)))
    assert heard == [all_but(number) for number in range(PEERS)]
    assert await refusals(relay) == 0
    for member in members:
        member.lose()


async def both(hearing: Iterable[Awaitable[Any]], sending: Iterable[Awaitable[None]]) -> list[Any]:
    """Let all hear and send at the same time; return the messages that each heard."""
    heard, _ = await asyncio.gather(asyncio.gather(*hearing), asyncio.gather(*sending))
    return heard


async def test_a_school_behind_one_address_opens_a_room_for_each_pair(relay: Relay, enter: MakeClient) -> None:
    async def talk(number: int) -> None:
        path = f"/rooms/pair-{number}"
        ann, ben = await enter(relay, f"{path}?peer=ann"), await enter(relay, f"{path}?peer=ben")
        await ann.send({"message": {"offer": number, "sdp": "a=x\r\n" * 400}, "to": "ben"})
        assert (await ben.next())["message"]["offer"] == number
        await ben.send({"message": {"answer": number, "sdp": "a=x\r\n" * 400}, "to": "ann"})
        assert (await ann.next())["message"]["answer"] == number

    await asyncio.gather(*map(talk, range(SCHOOL // 2)))
    assert await relay.metric("relay_connections") == SCHOOL
    assert await refusals(relay) == 0


async def test_pages_that_reload_together_talk_again(relay: Relay, enter: MakeClient) -> None:
    paths = [f"/rooms/class-{number // 4}?peer=pupil-{number}" for number in range(RELOADS)]
    first = await asyncio.gather(*(enter(relay, path) for path in paths))

    async def reload(client: Client, path: str) -> Client:
        await client.close(1001)
        return await enter(relay, path)

    second = await asyncio.gather(*map(reload, first, paths))
    await asyncio.gather(*(client.send({"message": number}) for number, client in enumerate(second)))
    for number, client in enumerate(second):
        others = {one for one in range(number // 4 * 4, number // 4 * 4 + 4) if one != number}
        assert {(await client.next())["message"] for _ in others} == others
    assert await relay.metric("relay_errors_total") == 0
