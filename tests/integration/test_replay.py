"""Resuming on another worker, and the replay of missed events."""

import asyncio
import signal

from tests.conftest import MakeClient, MakeRelay
from tests.fleet import Client, Json, Proxy, eventually


async def position_of(client: Client) -> str:
    return str((await client.ask({"type": "ping"}))["id"])


def gist(events: list[Json]) -> list[object]:
    """Envelopes by their number, everything else by its type."""
    return [event.get("n", event.get("type")) for event in events]


async def test_missed_messages_come_once_in_order_and_without_a_seam(pair, enter: MakeClient) -> None:
    a, b = await enter(pair[0], "/rooms/room?peer=a"), await enter(pair[1], "/rooms/room?peer=b&presence=1")
    position = await position_of(b)
    b.lose()
    for n in range(3):
        await a.ask({"n": n})
    await enter(pair[1], "/rooms/room?peer=c")
    await a.ask({"n": 3, "to": "b"})
    await a.ask({"n": 4, "to": "c"})
    back = await enter(pair[0], f"/rooms/room?peer=b&presence=1&since={position}", resume=b.welcome["resume"])
    await a.ask({"n": 5})
    assert (back.welcome["resumed"], back.welcome["recovered"], back.welcome["id"]) == (True, True, position)
    events = await back.until(lambda event: event.get("n") == 5)
    assert gist(events) == [0, 1, 2, "presence", 3, "recovered", 5]
    assert (events[3]["joined"], events[5]["replayed"]) == (["c"], 4)
    assert await pair[0].metric("relay_resumes_total", outcome="recovered") == 1


async def test_coming_back_again_and_again_while_others_talk_loses_nothing(pair, enter: MakeClient) -> None:
    talker, listener = await enter(pair[0], "/rooms/room?peer=t"), await enter(pair[1], "/rooms/room?peer=l")
    total = 400

    async def talk() -> None:
        for n in range(total):
            await talker.ask({"n": n})

    heard: list[int] = []
    position, key = listener.welcome["id"], listener.welcome["resume"]
    talking = asyncio.create_task(talk())
    turn = 0
    while len(heard) < total:
        event = await listener.next()
        position = event.get("id", position)
        if "n" in event:
            heard.append(event["n"])
            if len(heard) % 23 == 0:
                listener.lose()
                turn += 1
                listener = await enter(pair[turn % 2], f"/rooms/room?peer=l&since={position}", resume=key)
                assert listener.welcome["recovered"] is True
                position, key = listener.welcome["id"], listener.welcome["resume"]
    await talking
    assert heard == list(range(total))


async def test_more_rooms_over_one_socket_are_recovered_each_on_its_own(pair, enter: MakeClient) -> None:
    a, b = await enter(pair[0], "/rooms/one?peer=a"), await enter(pair[1], "/rooms/one?peer=b")
    for client in (a, b):
        welcome = await client.ask({"type": "join", "room": "two"})
    position = (await b.ask({"type": "ping", "room": "two"}))["id"]
    b.lose()
    await a.ask({"type": "publish", "room": "two", "envelope": {"n": 1}})
    back = await enter(pair[0], "/rooms/one?peer=b", resume=b.welcome["resume"])
    await back.send({"type": "join", "room": "two", "since": position, "resume": welcome["resume"]})
    events = await back.until(lambda event: event.get("type") == "recovered")
    assert gist(events) == ["welcome", 1, "recovered"]
    assert {event["room"] for event in events} == {"two"}


async def test_a_client_whose_membership_ended_gets_not_resumed_and_no_messages(pair, enter: MakeClient) -> None:
    a, b = await enter(pair[0], "/rooms/room?peer=a"), await enter(pair[1], "/rooms/room?peer=b")
    position = await position_of(b)
    await b.close()
    await eventually(lambda: alone(pair[0]))
    await a.ask({"n": 1})
    late = await enter(pair[0], f"/rooms/room?peer=b&presence=1&since={position}", resume=b.welcome["resume"])
    assert (late.welcome["recovered"], late.welcome["reason"]) == (False, "not_resumed")
    assert late.welcome["count"] == 2
    assert await late.all_up_to_now() == []


async def alone(relay) -> bool:
    return (await relay.get("/rooms/room")).json()["count"] == 1


async def test_a_worker_without_a_log_says_that_it_has_none(
    start: MakeRelay, enter: MakeClient, redis_url, prefix
) -> None:
    relay = await start(redis_url=redis_url, redis_prefix=prefix, history_size=0, reconnect_grace=5)
    a, b = await enter(relay, "/rooms/room?peer=a"), await enter(relay, "/rooms/room?peer=b")
    position = await position_of(b)
    b.lose()
    await a.ask({"n": 1})
    back = await enter(relay, f"/rooms/room?peer=b&since={position}", resume=b.welcome["resume"])
    assert (back.welcome["resumed"], back.welcome["recovered"], back.welcome["reason"]) == (True, False, "off")


async def test_one_process_on_its_own_recovers_too(start: MakeRelay, enter: MakeClient) -> None:
    relay = await start(reconnect_grace=5)
    a, b = await enter(relay, "/rooms/room?peer=a"), await enter(relay, "/rooms/room?peer=b")
    position = await position_of(b)
    b.lose()
    await a.ask({"n": 1})
    back = await enter(relay, f"/rooms/room?peer=b&since={position}", resume=b.welcome["resume"])
    assert gist([await back.next(), await back.next()]) == [1, "recovered"]


async def test_a_worker_reads_missed_events_from_the_history_for_its_members(
    start: MakeRelay, enter: MakeClient, own_redis
) -> None:
    async with Proxy(own_redis.port) as proxy:
        # Longer than the outage on a busy machine, so that no member is taken over or leaves.
        times = {"worker_lease": 20, "reconnect_grace": 20}
        cut_off, other = await start(redis_url=proxy.url, **times), await start(redis_url=own_redis.url, **times)
        listeners = [await enter(cut_off, f"/rooms/room?peer=l{number}&presence=1") for number in range(3)]
        talker = await enter(other, "/rooms/room?peer=t")
        for listener in listeners:
            await listener.until(lambda event: "t" in event.get("joined", ()))
        proxy.refusing = True
        proxy.cut()
        for n in range(50):
            await talker.ask({"n": n})
        late = await enter(other, "/rooms/room?peer=late")
        proxy.refusing = False
        for listener in listeners:
            events = await listener.until(lambda event: "late" in event.get("joined", ()))
            assert gist(events)[:50] == list(range(50))
        await late.ask({"n": 50})
        for listener in listeners:
            assert gist([await listener.next()]) == [50]
        assert await cut_off.metric("relay_gap_recoveries_total") == 1


async def test_an_acknowledged_key_is_good_on_any_worker_and_after_one_was_killed(pair, enter: MakeClient) -> None:
    listener = await enter(pair[0], "/rooms/room?peer=l")
    sender = await enter(pair[1], "/rooms/room?peer=s")
    first = await sender.ask({"n": 1, "key": "k"})
    pair[1].signal(signal.SIGKILL)
    again = await enter(pair[0], "/rooms/room?peer=s", resume=sender.welcome["resume"])
    assert (await again.ask({"n": 1, "key": "k"}))["id"] == first["id"]
    await again.send({"n": 2})
    assert gist(await listener.until(lambda event: event.get("n") == 2)) == [1, 2]
