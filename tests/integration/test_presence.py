"""Presence of a room, as two workers and their clients see it."""

import asyncio
import time

import pytest
from websockets.exceptions import InvalidStatus

from relay.model.envelope import MessageId
from tests.conftest import MakeClient, MakeFleet, MakeRelay
from tests.fleet import QUICK, Client, eventually


async def members(relay, room: str = "room") -> dict[str, bool]:
    answer = await relay.describe(room)
    assert answer["count"] == len(answer["members"])
    assert answer["present"] == (answer["count"] > 0)
    return {member["peer"]: member.get("held", False) for member in answer["members"]}


async def test_joins_leaves_and_lists_agree_on_both_workers(pair, enter: MakeClient) -> None:
    watcher = await enter(pair[0], "/rooms/room?peer=w&presence=1")
    assert watcher.welcome["members"] == [{"peer": "w"}]
    crowd = await asyncio.gather(*[enter(pair[n % 2], f"/rooms/room?peer=p{n}") for n in range(10)])
    joined = []
    while len(joined) < 10:
        joined += (await watcher.next())["joined"]
    assert sorted(joined) == [f"p{n}" for n in range(10)]
    expected = dict.fromkeys(["w", *joined], False)
    assert await members(pair[0]) == await members(pair[1]) == expected
    answer = await watcher.ask({"type": "presence"})
    assert {member["peer"] for member in answer["members"]} == set(expected)
    await asyncio.gather(*[client.close() for client in crowd])
    left = []
    while len(left) < 10:
        left += (await watcher.next())["left"]
    assert await members(pair[1]) == {"w": False}
    assert "members" not in (await enter(pair[1])).welcome


@pytest.mark.parametrize("code", [1000, 1001])
async def test_a_leave_is_reported_on_the_other_worker_within_100_ms(pair, enter: MakeClient, code: int) -> None:
    watcher = await enter(pair[0], "/rooms/room?peer=w&presence=1")
    took = []
    for number in range(5):
        client = await enter(pair[1], f"/rooms/room?peer=p{number}")
        assert (await watcher.next())["joined"]
        began = time.monotonic()
        closing = asyncio.create_task(client.close(code))
        assert (await watcher.next())["left"] == [f"p{number}"]
        took.append(time.monotonic() - began)
        await closing
    # A busy machine may delay some of them; a member that is held would delay all by the grace time.
    assert min(took) < 0.1, took


async def test_a_lost_member_is_held_for_the_grace_time_and_then_reported(pair, enter: MakeClient) -> None:
    watcher, client = await enter(pair[0], "/rooms/room?peer=w&presence=1"), await enter(pair[1], "/rooms/room?peer=p")
    await watcher.next()
    began = time.monotonic()
    client.lose()
    await eventually(lambda: _is(members(pair[0]), {"w": False, "p": True}))
    assert (await watcher.next())["left"] == ["p"]
    assert time.monotonic() - began >= QUICK["reconnect_grace"] - 0.05


async def _is(awaitable, expected) -> bool:
    return await awaitable == expected


async def test_a_pong_has_no_id_ahead_of_a_join_that_was_not_sent(pair, enter: MakeClient) -> None:
    watcher = await enter(pair[0], "/rooms/room?peer=w&presence=1")
    for number in range(10):
        joined = MessageId.parse((await enter(pair[0], f"/rooms/room?peer=p{number}")).welcome["id"])
        await watcher.send({"type": "ping", "key": "k"})
        told = await watcher.until(lambda event: event.get("key") == "k")
        if MessageId.parse(told[-1]["id"]) < joined:
            told += await watcher.until(lambda event: event.get("joined"))
        assert [f"p{number}"] in [event.get("joined") for event in told]


async def test_a_return_within_the_grace_time_is_no_news(pair, enter: MakeClient) -> None:
    watcher, client = await enter(pair[0], "/rooms/room?peer=w&presence=1"), await enter(pair[1], "/rooms/room?peer=p")
    await watcher.next()
    client.lose()
    back = await enter(pair[0], "/rooms/room?peer=p", resume=client.welcome["resume"])
    assert back.welcome["resumed"] is True
    await eventually(lambda: _is(members(pair[1]), {"w": False, "p": False}))
    # Past the end of the old hold, and nothing was told of it.
    await eventually(lambda: _zero(pair[1], "relay_held_members"))
    assert await watcher.all_up_to_now() == []
    assert await members(pair[1]) == {"w": False, "p": False}


async def test_coming_back_closes_the_old_connection(pair, enter: MakeClient) -> None:
    old = await enter(pair[0], "/rooms/room?peer=p")
    new = await enter(pair[1], "/rooms/room?peer=p", resume=old.welcome["resume"])
    assert new.welcome["resumed"] is True
    assert await old.closed() == 4500
    await new.send({"type": "ping"})
    assert (await new.next())["type"] == "pong"
    same_worker = await enter(pair[1], "/rooms/room?peer=p", resume=new.welcome["resume"])
    assert await new.closed() == 4500
    assert await members(pair[0]) == {"p": False}
    await same_worker.close()


async def test_a_taken_peer_id_is_refused(pair, enter: MakeClient) -> None:
    await enter(pair[0], "/rooms/room?peer=p")
    for resume in ("", "wrong"):
        other = await enter(pair[1], "/rooms/room?peer=p", resume=resume)
        assert other.welcome["code"] == "peer_taken"
        assert await other.closed() == 4501
    assert await members(pair[0]) == {"p": False}


async def test_resume_keys_rotate(pair, enter: MakeClient) -> None:
    first = await enter(pair[0], "/rooms/room?peer=p")
    second = await enter(pair[1], "/rooms/room?peer=p", resume=first.welcome["resume"])
    third = await enter(pair[0], "/rooms/room?peer=p", resume=first.welcome["resume"])
    assert third.welcome["resumed"] is True
    # All attempts with the same key lead to the same next key.
    assert third.welcome["resume"] == second.welcome["resume"]
    fourth = await enter(pair[1], "/rooms/room?peer=p", resume=third.welcome["resume"])
    assert fourth.welcome["resumed"] is True
    late = await enter(pair[0], "/rooms/room?peer=p", resume=first.welcome["resume"])
    assert late.welcome["code"] == "peer_taken"


async def test_names_are_for_members_of_the_room(pair, enter: MakeClient) -> None:
    await enter(pair[0], "/rooms/room?peer=p")
    stranger = await enter(pair[1], "/rooms/elsewhere")
    answer = await stranger.ask({"type": "presence", "room": "room"})
    assert (answer["present"], answer["count"], answer["members"]) == (True, 1, [])


async def test_long_lists_are_cut_but_counted(start: MakeRelay, enter: MakeClient, redis_url, prefix) -> None:
    relay = await start(redis_url=redis_url, redis_prefix=prefix, presence_list_limit=3)
    for _ in range(5):
        await enter(relay)
    last = await enter(relay, "/rooms/room?presence=1")
    assert (last.welcome["count"], len(last.welcome["members"])) == (6, 3)


async def test_sigterm_closes_clients_exits_0_and_leaves_the_memberships_held(
    fleet_of: MakeFleet, enter: MakeClient
) -> None:
    pair = await fleet_of(2, reconnect_grace=2.0)
    watcher = await enter(pair[0], "/rooms/room?peer=w&presence=1")
    clients = [await enter(pair[1], f"/rooms/room?peer=p{n}") for n in range(20)]
    began = time.monotonic()
    exited = asyncio.create_task(pair[1].terminate())
    assert {await client.closed() for client in clients} == {1001}
    back = await enter(pair[0], "/rooms/room?peer=p0", resume=clients[0].welcome["resume"])
    assert back.welcome["resumed"] is True
    assert await exited == 0
    assert time.monotonic() - began < QUICK["drain_timeout"] + 15
    told: list[str] = []
    while len(told) < 19:
        told += [peer for event in [await watcher.next()] for peer in event["left"]]
    assert sorted(told) == sorted(f"p{n}" for n in range(1, 20))


async def test_a_worker_that_stops_is_red_first_and_serves_on_meanwhile(start: MakeRelay, enter: MakeClient) -> None:
    relay = await start(drain_delay=1)
    client = await enter(relay, "/rooms/room?peer=a")
    exited = asyncio.create_task(relay.terminate())
    await eventually(lambda: relay.healthy(503))
    late = await enter(relay, "/rooms/room?peer=b")
    assert (await client.ask({"n": 1}))["type"] == "ack"
    assert [await client.closed(), await late.closed()] == [1001, 1001]
    assert await exited == 0


async def test_messages_that_reach_a_stopping_worker_are_sent_on(pair, enter: MakeClient) -> None:
    listener, sender = await enter(pair[0]), await enter(pair[1], "/rooms/room?peer=s")
    for n in range(200):
        await sender.send({"n": n})
    await sender.ask({"type": "ping"})
    exited = asyncio.create_task(pair[1].terminate())
    heard = [event["n"] for event in await listener.until(lambda event: event.get("n") == 199)]
    assert heard == list(range(200))
    assert await exited == 0


async def test_a_stuck_client_does_not_keep_a_worker_from_stopping(start: MakeRelay, enter: MakeClient) -> None:
    relay = await start()
    stuck = await enter(relay)
    stuck.socket.transport.pause_reading()
    began = time.monotonic()
    assert await relay.terminate() == 0
    assert time.monotonic() - began < QUICK["drain_timeout"] + 15


async def test_a_fleet_that_dies_whole_leaves_nothing_in_redis(
    start: MakeRelay, enter: MakeClient, redis_server, prefix
) -> None:
    settings = {"redis_url": redis_server.url, "redis_prefix": prefix, "room_state_ttl": 2}
    relays = [await start(**settings) for _ in range(2)]
    client = await enter(relays[0])
    await enter(relays[1])
    await client.ask({"n": 1})
    assert redis_server.client.keys(f"{prefix}:*")
    for relay in relays:
        relay.process.kill()

    def outlives(key: bytes) -> bool:
        return key.endswith((b":repeats", b":log")) or b":usage:" in key

    await eventually(lambda: all(map(outlives, redis_server.client.keys(f"{prefix}:*"))))
    for key in redis_server.client.keys(f"{prefix}:*"):
        assert 0 < redis_server.client.pttl(key) <= 150_000


async def test_a_live_room_outlives_the_time_to_live(start: MakeRelay, enter: MakeClient, redis_server, prefix) -> None:
    relay = await start(redis_url=redis_server.url, redis_prefix=prefix, room_state_ttl=2)
    client = await enter(relay, "/rooms/room?peer=p")
    epoch = client.welcome["id"].split("-")[0]
    lowest = 2000
    deadline = time.monotonic() + 3.5
    while time.monotonic() < deadline:
        lowest = min(lowest, redis_server.client.pttl(f"{prefix}:{{room}}:presence"))
        await asyncio.sleep(0.05)
    assert lowest > 0
    assert await members(relay) == {"p": False}
    assert (await client.ask({"n": 1}))["id"].split("-")[0] == epoch


async def test_an_idle_connection_costs_redis_nothing(start: MakeRelay, enter: MakeClient, own_redis) -> None:
    relay = await start(redis_url=own_redis.url)

    async def commands_a_second() -> float:
        before, began = own_redis.client.info("stats")["total_commands_processed"], time.monotonic()
        await asyncio.sleep(0.25)
        await asyncio.sleep(0.25)
        await asyncio.sleep(0.25)
        await asyncio.sleep(0.25)
        after = own_redis.client.info("stats")["total_commands_processed"]
        return (after - before) / (time.monotonic() - began)

    without = await commands_a_second()
    for number in range(300):
        await enter(relay, f"/rooms/r{number % 20}")
    # Work that the joins have left for later may still be done in the first of these seconds.
    with_many = min([await commands_a_second() for _ in range(2)])
    print(f"commands a second: {without:.1f} without, {with_many:.1f} with 300 idle connections in 20 rooms")
    # The worker asks for the number of its rooms with each heartbeat; connections add nothing.
    assert with_many < without + 20


async def test_health_and_metrics_count_connections_rooms_and_members(pair, enter: MakeClient) -> None:
    client = await enter(pair[0], "/rooms/one")
    await client.ask({"type": "join", "room": "two"})
    health = (await pair[0].get("/health")).json()
    assert (health["ready"], health["rooms"], health["connections"]) == (True, 2, 1)
    assert set(health["checks"]) == {"redis", "fleet_key", "subscription", "heartbeat", "memory", "draining"}
    assert health["checks"]["subscription"]["seconds"] < QUICK["probe_timeout"]
    assert await pair[0].metric("relay_connections") == 1
    assert await pair[0].metric("relay_members") == 2
    await client.close()
    await eventually(lambda: _zero(pair[0], "relay_connections"))
    assert await pair[0].metric("relay_closed_connections_total", reason="client") == 1


async def _zero(relay, metric: str) -> bool:
    return await relay.metric(metric) == 0


async def test_tls(start: MakeRelay, tmp_path) -> None:
    import ssl

    import trustme

    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    relay = await start(tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    client = await Client.open(f"{relay.ws}/rooms/room", ssl=trust)
    assert (await client.ask({"n": 1}))["type"] == "ack"
    await client.close()


async def test_other_origins_are_refused_where_some_are_named(start: MakeRelay, enter: MakeClient) -> None:
    relay = await start(allowed_origins="https://good.example")
    await enter(relay, additional_headers={"Origin": "https://good.example"})
    with pytest.raises(InvalidStatus) as refused:
        await enter(relay, additional_headers={"Origin": "https://evil.example"})
    assert refused.value.response.status_code == 403


async def test_after_a_close_that_was_answered_the_peer_id_is_free(pair, enter: MakeClient) -> None:
    for turn in range(20):
        client = await enter(pair[turn % 2], "/rooms/room?peer=p")
        assert client.welcome["type"] == "welcome"
        await client.socket.close(1000)


async def test_a_join_waits_for_the_goodbye_of_a_page_that_is_reloaded(pair, enter: MakeClient) -> None:
    page = await enter(pair[0], "/rooms/room?peer=p")
    for turn in range(10):
        reloaded, _ = await asyncio.gather(enter(pair[1 - turn % 2], "/rooms/room?peer=p"), page.socket.close(1001))
        assert (reloaded.welcome["type"], reloaded.welcome.get("resumed")) == ("welcome", False)
        page = reloaded
