import json
from urllib.parse import quote

import pytest

from relay.model.errors import KICKED, Refused
from tests.unit.gateways.signalrclassic.site import call, site


@pytest.mark.parametrize(
    ("base", "room"), [("/signalr", "default"), ("/signalr/hubs", "default"), ("/rooms/a%20b/signalr", "a%20b")]
)
async def test_later_requests_go_to_the_path_that_was_asked(base: str, room: str) -> None:
    async with site() as here:
        fields = await here.json("GET", f"{base}/negotiate?clientProtocol=1.5")
        assert (fields["Url"], fields["ProtocolVersion"], len(fields["ConnectionId"])) == (base, "1.5", 36)
        target = f"{base}/connect?transport=longPolling&connectionToken={fields['ConnectionToken']}"
        assert (await here.json("POST", target))["S"] == 1
        assert [member.peer for member in (await here.worker.roster(room)).members] == [fields["ConnectionId"]]


async def test_a_room_in_the_query_is_that_of_the_path() -> None:
    async with site() as here:
        fields = await here.json("GET", "/signalr/negotiate?room=demo")
        target = f"connect?transport=longPolling&connectionToken={fields['ConnectionToken']}"
        assert (await here.json("POST", f"/signalr/{target}&room=demo"))["S"] == 1
        assert (await here.worker.roster("demo")).count == 1
        # The token is for this room alone.
        answer = await here.json("POST", f"/signalr/{target}")
        assert answer["error"]["code"] == "bad_connection_token"
        answer = await here.json("POST", f"/rooms/other/signalr/{target}&room=demo")
        assert answer["error"]["code"] == "bad_query"


async def test_the_script_is_served_with_the_path_of_the_room() -> None:
    async with site() as here:
        for path in ("hubs", "js"):
            answer = await here.ask("GET", path)
            assert answer.headers["content-type"] == "application/javascript"
            assert b'"/rooms/room/signalr"' in answer.body


async def test_start_and_ping() -> None:
    async with site() as here:
        page = await here.page()
        assert await page.ask("start", "GET") == {"Response": "started"}
        assert await here.json("GET", "ping") == {"Response": "pong"}
        assert (await here.json("GET", "start"))["error"]["code"] == "bad_connection_token"


async def test_a_call_is_answered_in_its_response() -> None:
    async with site() as here:
        page = await here.page()
        cursor = (await page.ask("connect"))["C"]
        assert await page.ask("send", data=call('{"message":"+ é"}', 4)) == {"I": "4"}
        # The caller is among those that hear it.
        [heard] = (await page.ask("poll", messageId=cursor))["M"]
        assert heard == {"H": "webRtcHub3", "M": "onMessageReceived", "A": ['{"message":"+ é"}']}
        answer = await page.ask("send", data=call("x", 5, M="nope"))
        assert answer == {"I": "5", "E": "'nope' method could not be resolved."}
        assert (await page.ask("send", data="{"))["error"]["code"] == "bad_json"
        assert (await page.ask("send"))["error"]["code"] == "bad_json"


async def test_a_call_that_is_too_large_gets_an_error_and_the_next_one_is_served() -> None:
    async with site(max_message=20_000, send_buffer=40_000) as here:
        page = await here.page()
        await page.ask("connect")
        answer = await page.ask("send", data=call(json.dumps({"message": "x" * 20_000}), 1))
        assert (answer["I"], answer["D"]["code"]) == ("1", "too_large")
        assert await page.ask("send", data=call(json.dumps({"message": "x" * 17_000}), 2)) == {"I": "2"}
        answer = await here.ask("POST", page.target("send"), {"data": "x" * 100_000})
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (413, "too_large")


async def test_a_call_of_a_place_that_is_not_taken_is_refused() -> None:
    async with site() as here:
        page = await here.page()
        answer = await page.ask("send", data=call("{}", 1))
        assert (answer["I"], answer["D"]["code"]) == ("1", "not_joined")


async def test_calls_that_are_refused_count_for_the_rate_of_http_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as here:
        page = await here.page()
        admitted: list[str] = []

        async def admit(address: str) -> None:
            if len(admitted) == 2:
                raise Refused("too_many_requests")
            admitted.append(address)

        monkeypatch.setattr(here.worker.requests, "admit", admit)
        for number in range(2):
            answer = await page.ask("send", data=call("{}", number))
            assert answer["D"]["code"] == "not_joined"
        answer = await here.ask("POST", page.target("send"), {"data": call("{}", 3)})
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (429, "too_many_requests")


@pytest.mark.parametrize("transport", ["longPolling", "serverSentEvents"])
async def test_a_goodbye_ends_the_place_of_any_transport(transport: str) -> None:
    async with site() as here:
        page = await here.page(transport)
        if transport == "longPolling":
            await page.ask("connect")
        else:
            request, task = here.start("GET", page.target("connect"))
            await request.response.until(b'"S":1')
        answer = await here.ask("POST", page.target("abort"))
        assert (answer.status, answer.body) == (200, b"")
        assert (await here.worker.roster("room")).count == 0
        if transport != "longPolling":
            await task
        # Once more: there is nothing to end.
        assert (await here.ask("POST", page.target("abort"))).status == 200


@pytest.mark.parametrize("action", ["connect", "reconnect", "poll"])
@pytest.mark.parametrize("transport", ["longPolling", "serverSentEvents"])
async def test_a_request_that_arrives_after_the_goodbye_does_not_join(transport: str, action: str) -> None:
    async with site() as here:
        page = await here.page(transport)
        request, task = here.start("POST", page.target("connect"))
        await request.response.until(b'"S":1')
        cursor = json.loads(request.response.body.rpartition(b"data: ")[2])["C"]
        await here.ask("POST", page.target("abort"))
        await task
        answer = await page.ask(action, messageId=cursor)
        assert answer["error"]["code"] == "not_joined"
        assert (await here.worker.roster("room")).count == 0
        # Another connection of the same page is a new place.
        assert (await (await here.page()).ask("connect"))["S"] == 1


async def test_a_goodbye_is_forwarded_to_the_owner_of_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as here:
        page = await here.page()

        async def forward(*_: object, limit: int) -> bool:
            return True

        monkeypatch.setattr("relay.gateways.base.http.HttpExchange.forward", forward)
        assert (await here.ask("POST", page.target("abort"))).status == 0
        assert (await page.ask("reconnect"))["error"]["code"] == "not_joined"


async def test_a_stream_has_the_missed_events_and_then_the_live_ones() -> None:
    async with site() as here:
        page = await here.page("serverSentEvents")
        request, task = here.start("GET", page.target("connect"))
        await request.response.until(b'"S":1')
        head = request.response.body
        assert head.startswith(b"data: initialized\n\ndata: {")
        cursor = json.loads(head.partition(b"\n\ndata: ")[2].strip())["C"]
        request.drop()
        await task
        for text in ("one", "two"):
            await here.worker.publish_from_server("room", json.dumps({"message": text}).encode())
        request, task = here.start("GET", page.target("reconnect", messageId=cursor))
        await request.response.until(b"two")
        assert request.response.body.count(b"one") == 1
        assert b'"S":1' not in request.response.body
        [session] = [here.state.streams.get(one) for one in list(here.state.streams._sessions)]
        assert session is not None
        session.polling.close(KICKED)
        await task
        assert b'{"E":"kicked' in request.response.body


async def test_the_messages_that_the_history_does_not_have_are_named_as_lost() -> None:
    async with site(history_size=1) as here:
        page = await here.page()
        cursor = (await page.ask("connect"))["C"]
        (await page.session()).lost()
        for number in range(3):
            await here.worker.publish_from_server("room", b'{"message":%d}' % number)
        answer = await page.ask("reconnect", messageId=cursor)
        assert answer["M"] == [{"H": "webRtcHub3", "M": "onMessagesLost", "A": [{"reason": "trimmed"}]}]


async def test_jsonp() -> None:
    async with site() as here:
        answer = await here.ask("GET", "negotiate?callback=jQuery1_2")
        assert answer.headers["content-type"] == "text/javascript; charset=UTF-8"
        assert answer.body.startswith(b'jQuery1_2({"Url":')
        assert answer.body.endswith(b"});")
        page = await here.page()
        assert (await here.ask("GET", page.target("connect", callback="cb"))).body.startswith(b'cb({"C":')
        target = page.target("send", callback="cb", data=call("{}", 1))
        assert (await here.ask("GET", target)).body == b'cb({"I":"1"});'
        refused = await here.ask("GET", "negotiate?callback=alert(1)")
        assert (refused.status, json.loads(refused.body)["error"]["code"]) == (400, "bad_callback")
    async with site(allowed_origins=["https://a.example"]) as here:
        assert json.loads((await here.ask("GET", "ping?callback=cb")).body)["error"]["code"] == "jsonp_forbidden"


async def test_jsonp_has_no_characters_that_scripts_of_older_browsers_may_not_have() -> None:
    async with site() as here:
        page = await here.page()
        await page.ask("connect")
        await here.worker.publish_from_server("room", '{"message":"a\u2028b\u2029c"}'.encode())
        body = (await here.ask("GET", page.target("poll", callback="cb"))).body
        assert json.loads(body.removeprefix(b"cb(").removesuffix(b");"))["M"][0]["A"][0].count("\u2028") == 1
        assert b"\\u2028b\\u2029c" in body


async def test_pages_of_other_origins_may_send_credentials() -> None:
    async with site(allowed_origins=["https://a.example"]) as here:
        answer = await here.ask("GET", "ping", origin="https://a.example")
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["x-content-type-options"] == "nosniff"
        refused = await here.ask("GET", "ping", origin="https://b.example")
        assert (refused.status, "access-control-allow-origin" in refused.headers) == (403, False)


REFUSED = {
    "negotiate?connectionData=" + quote('[{"name":"nope"}]'): "no_such_hub",
    "negotiate?connectionData=x": "bad_query",
    "/rooms//signalr/negotiate": "bad_room",
    "connect?transport=longPolling&connectionToken=x": "bad_connection_token",
    "poll": "bad_connection_token",
    "send": "bad_connection_token",
    "abort": "bad_connection_token",
}


@pytest.mark.parametrize("target", REFUSED)
async def test_a_bad_request_has_an_error_in_the_format_of_the_relay(target: str) -> None:
    async with site() as here:
        answer = await here.ask("GET", target)
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (400, REFUSED[target])


@pytest.mark.parametrize("transport", ["foreverFrame", "", "webSockets"])
async def test_other_transports_are_refused(transport: str) -> None:
    async with site() as here:
        page = await here.page(transport)
        assert (await page.ask("connect", "GET"))["error"]["code"] == "unknown_transport"
        page = await here.page("serverSentEvents")
        assert (await page.ask("poll"))["error"]["code"] == "unknown_transport"
        assert (await page.ask("connect", "PUT"))["error"]["code"] == "bad_method"
        # Without a gateway of the other protocol, its first request is refused here.
        assert (await page.ask("negotiate"))["error"]["code"] == "bad_method"


async def test_a_poll_with_a_bad_cursor_or_form_is_refused_and_the_next_one_served() -> None:
    async with site() as here:
        page = await here.page()
        cursor = (await page.ask("connect"))["C"]
        assert (await page.ask("poll", messageId="d-1,2"))["error"]["code"] == "bad_query"
        assert (await page.ask("poll", messageId="x" * 9000))["error"]["code"] == "too_large"
        assert await page.ask("reconnect", messageId=cursor, groupsToken="any") == {"C": cursor, "M": []}


async def test_many_sets_of_hubs_are_not_kept() -> None:
    hubs = [f"hub{number}.say:heard" for number in range(7)]
    async with site(extensions={"signalr_classic_hubs": hubs}) as here:
        for number in range(70):
            names = [f'{{"name":"hub{bit}"}}' for bit in range(7) if number >> bit & 1]
            page = await here.page(data=f"[{','.join(names)}]")
            assert (await page.ask("connect"))["S"] == 1


async def test_the_requests_of_a_place_are_forwarded_to_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as here:
        page = await here.page()
        asked = []

        async def forward(*_: object, limit: int) -> bool:
            asked.append(limit)
            return len(asked) > 2

        monkeypatch.setattr("relay.gateways.base.http.HttpExchange.forward", forward)
        cursor = (await page.ask("connect"))["C"]
        (await page.session()).lost()
        assert (await page.ask("poll", messageId=cursor))["C"] == cursor
        (await page.session()).lost()
        assert (await here.ask("POST", page.target("poll"), {"messageId": cursor})).status == 0
        assert asked == [8192] * 3
