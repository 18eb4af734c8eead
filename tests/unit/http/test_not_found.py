"""Paths at which there is nothing."""

import json
from typing import Any

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
        "text": "there is nothing at this path; a WebSocket client connects to / or /rooms/{room}",
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
