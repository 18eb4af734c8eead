"""Plain HTTP on two workers and a real Redis: streams, polls and posts that reach different workers, or a dead one."""

import asyncio
import json
import signal
from collections.abc import Callable
from typing import Any

import httpx2 as httpx
import pytest

from tests.conftest import MakeClient, MakeFleet, MakeRelay
from tests.fleet import RedisServer, Relay, eventually
from tests.gateways.drivers.plain_http import EventStream
from tests.gateways.drivers.wires import Ended
from tests.ports import free_port

KEY = "a-key-of-the-page-0123456789"
PLACE = f"peer=alice&resume={KEY}"


def forwarding(port: int) -> dict[str, Any]:
    secret = "a-secret-of-the-fleet-0123456789abcdef"
    return {"fleet_secret": secret, "forward_listen": f"127.0.0.1:{port}", "forward_networks": "127.0.0.0/8"}


async def request(relay: Relay, method: str, path: str, content: Any = None, **headers: str) -> httpx.Response:
    body = content if content is None or isinstance(content, bytes) else json.dumps(content).encode()
    async with httpx.AsyncClient(timeout=10) as client:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.request(method, relay.http + path, content=body, headers=sent)


async def post(relay: Relay, envelope: Any, query: str = PLACE) -> httpx.Response:
    return await request(relay, "POST", f"/rooms/room/messages?{query}", envelope)


async def poll(relay: Relay, query: str) -> dict[str, Any]:
    response = await request(relay, "GET", f"/rooms/room/messages?{query}")
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def open_stream(relay: Relay, query: str = PLACE, **headers: str) -> tuple[EventStream, dict[str, Any]]:
    stream = await EventStream.open(relay.port, f"/rooms/room/events?{query}", **headers)
    name, welcome = await stream.next()
    assert name == "welcome", welcome
    return stream, welcome


async def test_a_post_reaches_any_worker(pair: tuple[Relay, Relay], enter: MakeClient) -> None:
    here, there = pair
    bob = await enter(there, "/rooms/room?peer=bob")
    stream, welcome = await open_stream(here)
    assert (welcome["peer"], welcome["resume"]) == ("alice", KEY)
    for relay in (here, there):
        answer = await post(relay, {"channel": "c", "message": relay.port})
        heard = await bob.next()
        assert (heard["from"], heard["message"], heard["id"]) == ("alice", relay.port, answer.json()["id"])
    await bob.send({"message": "hello"})
    name, envelope = await stream.next()
    assert (name, envelope["message"], envelope["id"]) == ("", "hello", stream.last)
    await stream.drop()


@pytest.mark.parametrize("query", [f"peer=alice&resume={KEY}x", f"peer=mallory&resume={KEY}"])
async def test_a_place_is_proven_by_its_key(pair: tuple[Relay, Relay], query: str) -> None:
    stream, _ = await open_stream(pair[0])
    for relay in pair:
        refused = await post(relay, {"message": 1}, query)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_joined")
        assert (await request(relay, "DELETE", f"/rooms/room/messages?{query}")).status_code in (204, 409)
    assert (await pair[0].describe("room"))["count"] == 1
    await stream.drop()


async def test_the_same_address_comes_back_to_another_worker(pair: tuple[Relay, Relay], enter: MakeClient) -> None:
    here, there = pair
    bob = await enter(there, "/rooms/room?peer=bob&presence=1")
    stream, _ = await open_stream(here)
    await bob.until(lambda event: "alice" in event.get("joined", ()))
    await bob.ask({"message": 1})
    await stream.next()
    await stream.drop()
    # The place can be proven while it is held.
    await eventually(lambda: _is_held(here, "alice"))
    assert (await post(there, {"message": "held"})).status_code == 200
    told = await bob.until(lambda event: event.get("message") == "held")
    await bob.ask({"message": 2})
    again, welcome = await open_stream(there, Last_Event_ID=stream.last)
    assert (welcome["resumed"], welcome["recovered"], welcome["resume"]) == (True, True, KEY)
    assert (await again.next())[1]["message"] == 2
    # Others have seen no change.
    told += await bob.all_up_to_now()
    assert not [event for event in told if event.get("type") == "presence"]
    await again.drop()


def _says(message: Any) -> Callable[[dict[str, Any]], bool]:
    return lambda event: event.get("message") == message


@pytest.mark.parametrize("resource", ["events", "messages"])
async def test_a_request_that_was_given_up_at_a_stopped_worker_does_not_take_the_place(
    fleet_of: MakeFleet, enter: MakeClient, resource: str
) -> None:
    # Neither a lease nor a grace time ends meanwhile, however slow the machine is.
    stopped, there = await fleet_of(2, worker_lease=60, reconnect_grace=60)
    bob = await enter(there, "/rooms/room?peer=bob")
    first, _ = await open_stream(there)
    stopped.signal(signal.SIGSTOP)
    _, writer = await asyncio.open_connection("127.0.0.1", stopped.port)
    writer.write(f"GET /rooms/room/{resource}?{PLACE} HTTP/1.1\r\nHost: relay\r\n\r\n".encode())
    await writer.drain()
    writer.transport.abort()
    await first.drop()
    stream, _ = await open_stream(there)
    stopped.signal(signal.SIGCONT)

    async def has_served_it() -> bool:
        handshakes = await stopped.metric("relay_handshakes_total", protocol="plainhttp")
        return bool(handshakes) and not await stopped.metric("relay_sessions", protocol="plainhttp")

    await eventually(has_served_it, 20)
    assert (await bob.ask({"message": "still here"}))["type"] == "ack"
    assert (await stream.next())[1]["message"] == "still here"
    await stream.drop()


async def _is_held(relay: Relay, peer: str) -> bool:
    members = (await relay.describe("room"))["members"]
    return any(member["peer"] == peer and member.get("held") for member in members)


async def test_a_place_moves_between_a_websocket_and_plain_http(pair: tuple[Relay, Relay], enter: MakeClient) -> None:
    """The native protocol replaces the key with each welcome, and plain HTTP keeps it."""
    here, there = pair
    bob = await enter(there, "/rooms/room?peer=bob&presence=1")
    native = await enter(here, "/rooms/room?peer=alice")
    key, seen = native.welcome["resume"], native.welcome["id"]
    told: list[dict[str, Any]] = await bob.until(lambda event: "alice" in event.get("joined", ()))
    number = 0

    async def miss(number: int) -> None:
        await bob.send({"message": number, "key": f"bob-{number}"})
        told.extend(await bob.until(lambda event: event.get("key") == f"bob-{number}"))

    for one, other in ((here, there), (there, here)):
        native.lose()
        number += 1
        await miss(number)
        place = f"peer=alice&resume={key}"
        stream, welcome = await open_stream(other, f"{place}&since={seen}")
        assert (welcome["resumed"], welcome["recovered"], welcome["resume"]) == (True, True, key)
        assert (await stream.next())[1]["message"] == number
        repeated = {"message": "kept", "key": f"key-{number}"}
        first = (await post(one, repeated, place)).json()["id"]
        await stream.drop()
        number += 1
        await miss(number)
        # The client of the stream had not seen the end of it, and its socket may be open still.
        native = await enter(one, f"/rooms/room?peer=alice&since={stream.last}", resume=key)
        assert (native.welcome["resumed"], native.welcome["recovered"]) == (True, True)
        assert native.welcome["resume"] != key
        missed = await native.until(_says(number))
        assert [event["message"] for event in missed if "message" in event] == [number]
        # Keys of messages count for the membership, on every kind of connection.
        answer = await native.ask(repeated)
        assert (answer["type"], answer["id"]) == ("ack", first)
        key, seen = native.welcome["resume"], missed[-1]["id"]
    told += await bob.all_up_to_now()
    assert [event["joined"] for event in told if event.get("type") == "presence"] == [["alice"]]
    assert [event["message"] for event in told if "message" in event] == ["kept", "kept"]


async def test_a_killed_worker_loses_nothing(own_redis: RedisServer, start: MakeRelay) -> None:
    settings = {"redis_url": own_redis.url, "reconnect_grace": 20}
    stays, killed = await start(**settings), await start(**settings)
    stream, _ = await open_stream(killed)
    polled = await poll(killed, "peer=php&wait=0")
    php = f"peer=php&resume={polled['resume']}"
    ids = [(await post(stays, {"message": number}, php)).json()["id"] for number in range(3)]
    assert [(await stream.next())[1]["id"] for _ in ids] == ids
    killed.signal(signal.SIGKILL)
    await stream.drop()
    missed = await post(stays, {"message": 3})
    answered = await post(stays, {"message": 4}, php)
    assert (missed.status_code, answered.status_code) == (200, 200)
    again, welcome = await open_stream(stays, Last_Event_ID=stream.last)
    assert welcome["recovered"] is True
    assert (await again.next())[1]["id"] == answered.json()["id"]
    # The key names the dead worker; another one goes on.
    answer = await poll(stays, f"{php}&since={polled['next']}&wait=5")
    assert [message["message"] for message in answer["messages"]] == [3]
    await again.drop()


async def test_a_poll_goes_on_on_the_worker_that_has_the_session(
    start: MakeRelay, redis_url: str, prefix: str, enter: MakeClient
) -> None:
    pair = [await start(redis_url=redis_url, redis_prefix=prefix, **forwarding(free_port())) for _ in range(2)]
    bob = await enter(pair[0], "/rooms/room?peer=bob&presence=1")
    first = await poll(pair[0], "peer=php&wait=0")
    place, cursor = f"peer=php&resume={first['resume']}", first["next"]
    for number, relay in enumerate((*pair, *pair)):
        waiting = asyncio.create_task(poll(relay, f"{place}&since={cursor}&wait=10"))
        sent = (await bob.ask({"message": number}))["id"]
        answer = await waiting
        assert [message["message"] for message in answer["messages"]] == [number]
        cursor = answer["next"]
        assert cursor == sent
    # An answer that was lost is given again.
    before = cursor
    await bob.ask({"message": "again"})
    answers = [await poll(relay, f"{place}&since={before}&wait=10") for relay in pair]
    assert answers[0] == answers[1]
    assert [message["message"] for message in answers[0]["messages"]] == ["again"]
    seen = [event for event in await bob.all_up_to_now() if event.get("type") == "presence"]
    assert [event["joined"] for event in seen] in ([], [["php"]])


async def test_a_client_that_leaves_is_gone_at_once(pair: tuple[Relay, Relay], enter: MakeClient) -> None:
    here, there = pair
    bob = await enter(here, "/rooms/room?peer=bob&presence=1")
    for method, path in (("DELETE", "messages"), ("POST", "leave")):
        stream, _ = await open_stream(here)
        await bob.until(lambda event: "alice" in event.get("joined", ()))
        assert (await request(there, method, f"/rooms/room/{path}?{PLACE}")).status_code == 204
        await bob.until(lambda event: "alice" in event.get("left", ()))
        name, fields = await stream.next()
        assert (name, fields["reconnect"], stream.last) == ("close", False, "end")
        with pytest.raises(Ended):
            await stream.next()
        # The browser comes back on its own, and is told not to.
        ended = await EventStream.open(there.port, f"/rooms/room/events?{PLACE}", Last_Event_ID=stream.last)
        assert ended.status == 204
        await ended.drop()
        await stream.drop()
        # There is nobody to leave any more.
        assert (await request(there, method, f"/rooms/room/{path}?{PLACE}")).status_code == 204


async def test_order_of_posts(pair: tuple[Relay, Relay], enter: MakeClient) -> None:
    here, there = pair
    bob = await enter(there, "/rooms/room?peer=bob")
    stream, _ = await open_stream(here)
    batch = (await post(there, [{"message": number} for number in range(20)])).json()
    assert [(await bob.next())["id"] for _ in batch] == [one["id"] for one in batch]
    # A post that overtakes the one before it waits for it.
    late = asyncio.create_task(post(there, {"message": "candidate"}, f"{PLACE}&after=offer-1"))
    await asyncio.sleep(0.05)
    await post(here, {"message": "offer", "key": "offer-1"})
    assert (await late).status_code == 200
    assert [(await bob.next())["message"] for _ in range(2)] == ["offer", "candidate"]
    repeated = (await post(there, {"message": "offer", "key": "offer-1"})).json()
    assert repeated["repeat"] is True
    never = await post(there, {"message": 1}, f"{PLACE}&after=never-sent")
    assert (never.status_code, never.json()["error"]["code"]) == (409, "out_of_order")
    broken = (await post(there, [{"message": 1}, {"type": "x"}, {"message": 2}])).json()
    assert [one.get("error", {}).get("code") for one in broken] == [None, "reserved_field", "out_of_order"]
    await stream.drop()


async def test_a_passing_error_is_no_end_for_a_browser(fleet_of: MakeFleet, enter: MakeClient) -> None:
    [relay] = await fleet_of(1, members_per_room=1)
    await enter(relay, "/rooms/room?peer=bob")
    full = await EventStream.open(relay.port, f"/rooms/room/events?{PLACE}")
    assert (full.status, full.headers["content-type"]) == (200, "text/event-stream")
    name, fields = await full.next()
    assert (name, fields["code"]) == ("error", "room_full")
    assert (await full.next())[0] == "close"
    assert full.retry == 5000
    assert full.last == ""
    await full.drop()


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "code"),
    [
        ("GET", "events?peer=a%20%00", None, 400, "bad_peer"),
        ("GET", "events?peer=a&resume=short", None, 400, "bad_query"),
        ("GET", "events?peer=a&since=yesterday", None, 400, "bad_query"),
        ("GET", "events?peer=a&presence=maybe", None, 400, "bad_query"),
        ("GET", "events?peer=a&info=[]", None, 400, "bad_info"),
        ("GET", "events", None, 400, "bad_query"),
        ("GET", "messages", None, 400, "bad_query"),
        ("GET", "messages?peer=a&wait=-1", None, 400, "bad_query"),
        ("GET", "messages?peer=a&since=1-", None, 400, "bad_query"),
        ("POST", "messages", b"{}", 400, "bad_query"),
        ("POST", f"messages?{PLACE}", b"", 400, "bad_json"),
        ("POST", f"messages?{PLACE}", b"\xff", 400, "bad_json"),
        ("POST", f"messages?{PLACE}", b"[]", 400, "bad_body"),
        ("POST", f"messages?{PLACE}", b"[1", 400, "bad_json"),
        ("POST", f"messages?{PLACE}", b"[" + b"{}," * 100 + b"{}]", 400, "bad_body"),
        ("POST", f"messages?{PLACE}", b"[" * 1000, 400, "bad_json"),
        ("POST", f"messages?{PLACE}", b'"text"', 400, "bad_envelope"),
        ("POST", f"messages?{PLACE}", b'{"from":"eve"}', 400, "reserved_field"),
        ("POST", f"messages?{PLACE}", b'{"to":"nobody"}', 404, "no_such_peer"),
        ("POST", f"messages?{PLACE}", b'{"a":"' + b"x" * 70000 + b'"}', 413, "too_large"),
        ("POST", f"messages?{PLACE}&after={'x' * 65}", b"{}", 400, "bad_query"),
        ("POST", f"messages?{PLACE}", b'{"a":NaN}', 400, "bad_json"),
        ("POST", f"messages?{PLACE}", b'{"a":"\xff"}', 400, "bad_json"),
        ("POST", f"messages?{PLACE}", b"\xef\xbb\xbf{}", 400, "bad_json"),
        ("POST", f"messages?{PLACE}", b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", 400, "bad_json"),
        ("POST", f"messages?{PLACE}", b"message=%7B%22a%22%3A1%7D", 400, "bad_json"),
        ("POST", f"messages?{PLACE}", b'--b\r\nContent-Disposition: form-data; name="message"\r\n\r\n{}\r\n--b--',
         400, "bad_json"),
        ("POST", f"messages?{PLACE}", b"null", 400, "bad_envelope"),
        ("POST", f"messages?{PLACE}", b"[7]", 400, "bad_envelope"),
        ("POST", f"messages?{PLACE}", b"[[{}]]", 400, "bad_envelope"),
        ("POST", f"messages?{PLACE}", b'{"type":"join","room":"other"}', 400, "reserved_field"),
        ("POST", f"messages?{PLACE}", b'{"key":7}', 400, "bad_envelope"),
        ("POST", f"messages?{PLACE}", b'{"to":{}}', 400, "bad_envelope"),
        ("POST", f"messages?{PLACE}", b'{"to":"\\u001b"}', 400, "bad_peer"),
        ("POST", f"messages?{PLACE}", b'{"channel":"' + b"x" * 3000 + b'"}', 400, "bad_envelope"),
        ("DELETE", "messages?peer=a", None, 400, "bad_query"),
        ("DELETE", f"messages?resume={KEY}", None, 400, "bad_query"),
        ("GET", f"messages?peer=a&resume={'x' * 65}", None, 400, "bad_query"),
        ("GET", f"messages?peer={'x' * 256}", None, 400, "bad_peer"),
        ("GET", "messages?peer=a&wait=soon", None, 400, "bad_query"),
        ("GET", f"messages?peer=a&since={'9' * 40}-1", None, 400, "bad_query"),
        ("GET", "messages?peer=%ff", None, 400, "bad_query"),
        ("GET", f"events?peer=a&password={'x' * 2000}", None, 403, "bad_password"),
        ("GET", f"events?peer=a&info={'[' * 100}", None, 400, "bad_info"),
        ("GET", f"events?peer=a&channel={'x' * 3000}", None, 400, "bad_query"),
    ],
)  # fmt: skip
async def test_bad_input_has_an_answer_and_disturbs_nobody(
    relay: Relay, method: str, target: str, body: bytes | None, status: int, code: str
) -> None:
    bobs = f"peer=bob&resume={KEY}"
    stream, _ = await open_stream(relay)
    neighbour, _ = await open_stream(relay, bobs)
    refused = await request(relay, method, f"/rooms/room/{target}", body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
    sent = await post(relay, {"message": 1})
    name, envelope = await neighbour.next()
    assert (name, envelope["id"]) == ("", sent.json()["id"])
    for one, place in ((stream, PLACE), (neighbour, bobs)):
        await one.drop()
        await request(relay, "DELETE", f"/rooms/room/messages?{place}")
    assert "Traceback" not in relay.logged


@pytest.mark.parametrize("room", ["%00", "%ff", "a%2Fb%1b", "x" * 300])
async def test_a_bad_name_of_a_room_is_refused(relay: Relay, room: str) -> None:
    for method, resource in (("GET", "events"), ("GET", "messages"), ("POST", "messages"), ("POST", "leave")):
        refused = await request(relay, method, f"/rooms/{room}/{resource}?{PLACE}", b"{}" if method == "POST" else None)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_room")


@pytest.mark.parametrize("last", ["x" * 1000, "1-", "-1", "9" * 40 + "-1", "end-", "%00"])
async def test_any_id_of_the_last_event_opens_a_stream(relay: Relay, last: str) -> None:
    stream, _ = await open_stream(relay, Last_Event_ID=last)
    await stream.drop()
    await request(relay, "DELETE", f"/rooms/room/messages?{PLACE}")


@pytest.fixture(scope="module")
def relay() -> Any:
    relay = Relay(max_message=65536)
    asyncio.run(relay.ready())
    yield relay
    relay.close()
