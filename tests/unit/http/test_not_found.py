"""Paths at which there is nothing."""

import json
from typing import Any

from relay.app import create_app
from relay.config import Settings
from relay.model.errors import Refused
from tests.unit.http.conftest import MakeSite


async def replies(site: Any, **scope: Any) -> list[Any]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    request = {"type": "websocket", "path": "/ws", "raw_path": b"/ws", "query_string": b"", "headers": [], **scope}
    await site(request, receive, send)
    return sent


async def test_a_websocket_to_an_unknown_path_gets_404_with_an_error(site: MakeSite) -> None:
    here = site()
    start, body = await replies(here, extensions={"websocket.http.response": {}})
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 404)
    error = json.loads(body["body"])["error"]
    assert error == {
        "code": "not_found",
        "text": f"{Refused('not_found').text}; a WebSocket client connects to / or /rooms/{{room}}",
    }
    assert here.worker.refused("not_found") == 1


async def test_a_server_that_can_only_refuse_closes_it(site: MakeSite) -> None:
    assert [message["type"] for message in await replies(site())] == ["websocket.close"]


async def test_a_websocket_to_a_path_of_http_alone_gets_404(site: MakeSite) -> None:
    start, _ = await replies(site(), path="/health", extensions={"websocket.http.response": {}})
    assert start["status"] == 404


async def test_options_about_the_server_as_a_whole_are_answered(site: MakeSite) -> None:
    start, _ = await replies(site(), type="http", method="OPTIONS", path="*", raw_path=b"*")
    assert start["status"] == 204


async def test_the_whole_application_answers_so_and_names_a_doubled_slash() -> None:
    app = create_app(Settings())
    async with app.router.lifespan_context(app) as state:

        async def site(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": state}, receive, send)

        for path in ("//rooms/x", "/rooms//x", "/nothing", "/a\nb"):
            start, body = await replies(
                site, path=path, raw_path=path.encode(), extensions={"websocket.http.response": {}}
            )
            text = json.loads(body["body"])["error"]["text"]
            assert start["status"] == 404
            assert text.endswith("; a WebSocket client connects to / or /rooms/{room}")
            assert ("two slashes in a row" in text) == ("//" in path)


async def test_a_request_to_a_path_with_a_doubled_slash_gets_the_reason(site: MakeSite) -> None:
    reply = await site().get_path("//rooms/x")
    assert "two slashes in a row" in reply.json()["error"]["text"]
