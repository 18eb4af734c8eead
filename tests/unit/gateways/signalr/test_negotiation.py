import json
from typing import Any

from relay.gateways.signalr.places import COOKIE
from tests.tokens import SECRET, token
from tests.unit.gateways.signalr.site import site


async def test_versions() -> None:
    async with site() as one:
        found = await one.negotiate("negotiateVersion=1")
        assert found["negotiateVersion"] == 1
        assert found["connectionId"] != found["connectionToken"]
        assert [each["transport"] for each in found["availableTransports"]] == [
            "WebSockets", "ServerSentEvents", "LongPolling",
        ]  # fmt: skip
        assert "useStatefulReconnect" not in found
        assert (await one.negotiate("negotiateVersion=7"))["negotiateVersion"] == 1
        oldest = await one.negotiate("")
        assert oldest["negotiateVersion"] == 0
        assert "connectionToken" not in oldest
        assert one.state.tokens.read(oldest["connectionId"], one.worker.fleet_time()).is_fresh


async def test_the_cookie_is_set_once() -> None:
    async with site() as one:
        response = await one.ask("POST", "/negotiate")
        cookie = response.headers["set-cookie"].partition(";")[0]
        assert cookie.startswith(f"{COOKIE}=")
        assert "set-cookie" not in (await one.ask("POST", "/negotiate", cookie=cookie)).headers
        foreign = await one.ask("POST", "/negotiate", origin="https://page.example", host="relay.example")
        assert foreign.status == 200
        assert "set-cookie" not in foreign.headers


async def test_the_peer_id() -> None:
    async with site() as one:
        assert (await one.negotiate("negotiateVersion=1&peer=a%20b"))["connectionId"] == "a%20b"
        assert len((await one.negotiate())["connectionId"]) == 24


async def test_errors_that_stay_are_the_answer_and_others_have_their_status() -> None:
    async with site(auth="required", auth_secret=SECRET) as one:
        response = await one.ask("POST", "/negotiate")
        assert (response.status, json.loads(response.body)["error"]["code"]) == (401, "token_required")
        bearer = {"authorization": f"Bearer {token(sub='ann')}"}
        assert (await one.negotiate(**bearer))["connectionId"] == "ann"
        refused: Any = await one.negotiate("peer=ben", **bearer)
        assert refused["error"].startswith("wrong_peer: ")
        for query in ("negotiateVersion=x", "resume=short&peer=ann", "peer=%00"):
            assert (await one.negotiate(query, **bearer))["error"].partition(":")[0] in {"bad_query", "bad_peer"}
        assert (await one.ask("POST", "/negotiate", b"x" * 2000)).status == 413


async def test_only_post_is_served_here() -> None:
    async with site() as one:
        assert (await one.ask("OPTIONS", "/negotiate", origin="https://page.example")).status == 204
        # ASP.NET SignalR negotiates by GET, at the same path.
        assert (await one.ask("GET", "/negotiate")).status == 405
