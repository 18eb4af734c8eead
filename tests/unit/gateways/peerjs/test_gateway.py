"""The requests of PeerJS clients, without a server."""

import json
from typing import Any
from urllib.parse import quote

import httpx2 as httpx
import pytest

from relay.app import create_app
from relay.config import Settings
from relay.gateways.peerjs.gateway import looks_like_jwt, resume_key
from relay.model.errors import ERRORS
from tests.tokens import SECRET, token


async def ask(path: str, method: str = "GET", **settings: Any) -> httpx.Response:
    app = create_app(Settings(**settings))
    async with app.router.lifespan_context(app) as kept:
        assert kept is not None

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(kept)}, receive, send)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://relay") as client:
            return await client.request(method, path, headers={"Origin": "https://page.example"})


@pytest.mark.parametrize("path", ["/peerjs/id?ts=1", "/a key/id", "/peerjs/peerjs/id", "/rooms/r/peerjs/id?version=1"])
async def test_an_id_is_a_uuid(path: str) -> None:
    answer = await ask(path)
    assert (answer.status_code, answer.headers["content-type"], len(answer.text)) == (200, "text/html", 36)


@pytest.mark.parametrize("path", ["/peerjs/peers", "/key/peers", "/rooms/r/peerjs/peers"])
async def test_peers_are_listed_where_the_setting_says_so(path: str) -> None:
    answer = await ask(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "discovery_off")
    answer = await ask(path, extensions={"peerjs_discovery": "on"})
    assert (answer.status_code, answer.json()) == (200, [])


@pytest.mark.parametrize("path", ["/publish/id", "/health/peers", "/subjects/id", "/.well-known/id"])
async def test_paths_of_the_relay_are_no_keys(path: str) -> None:
    assert "access-control-allow-origin" in (answer := await ask(path)).headers
    assert answer.status_code >= 400


@pytest.mark.parametrize("path", ["/peerjs", "/peerjs/"])
async def test_the_root_document(path: str) -> None:
    answer = await ask(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert list(answer.json()) == ["name", "description", "website"]
    assert (answer.json()["name"], answer.json()["website"]) == ("PeerJS Server", "https://peerjs.com/")


@pytest.mark.parametrize("place", ["/peerjs", "/peerjs/peerjs", "/rooms/r/peerjs"])
async def test_posts_of_old_clients_have_an_answer_that_they_may_read(place: str) -> None:
    for action in ("id", "offer", "candidate", "answer", "leave"):
        answer = await ask(f"{place}/ann/token/{action}?i=0", "POST")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        assert answer.headers["access-control-allow-origin"] == "*"


REFUSED = {
    ("POST", "/peerjs/id"): "not_found",
    ("POST", "/peerjs"): "not_found",
    ("DELETE", "/rooms/r/peerjs/peers"): "not_found",
    ("GET", "/rooms/%00/peerjs/peers"): "bad_room",
    ("GET", f"/{'x' * 300}/peers"): "bad_room",
    ("GET", "/rooms/%ff/peerjs/peers"): "bad_room",
    ("GET", "/%00/peers"): "bad_room",
}


@pytest.mark.parametrize(("method", "path"), REFUSED)
async def test_other_requests_have_an_error_in_the_format_of_the_relay(method: str, path: str) -> None:
    answer = await ask(path, method, extensions={"peerjs_discovery": "on"})
    error = answer.json()["error"]
    assert (error["code"], answer.status_code) == (REFUSED[method, path], ERRORS[error["code"]][0])
    assert error["text"]
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_the_token_gives_the_id() -> None:
    settings: dict[str, Any] = {"auth": "required", "auth_secret": SECRET, "url_tokens": "on"}
    given = token(sub="Ann é", rooms=[{"room": "r", "can": ["join"]}])
    assert (await ask(f"/rooms/r/{given}/id", **settings)).text == "Ann é"
    for key in ("peerjs", "nonsense", token(ttl=-60)):
        answer = await ask(f"/rooms/r/{key}/id", **settings)
        assert answer.status_code == 401
        assert key == "peerjs" or key not in answer.text
    # A list needs the right to see the members.
    listed = settings | {"extensions": {"peerjs_discovery": "on"}}
    assert (await ask(f"/rooms/r/{given}/peers", **listed)).status_code == 403
    seeing = token(rooms=[{"room": "r", "can": ["join", "presence"]}])
    assert json.loads((await ask(f"/rooms/r/{quote(seeing)}/peers", **listed)).text) == []


def test_each_place_has_a_resume_key_of_its_own() -> None:
    keys = {resume_key(room, peer, secret) for room in "ab" for peer in "ab" for secret in ("x" * 8, "y" * 4000)}
    assert len(keys) == 8
    assert all(len(key) == 32 for key in keys)


def test_keys_that_look_like_tokens() -> None:
    assert looks_like_jwt(token())
    assert not any(map(looks_like_jwt, ("peerjs", "a.b.c", "eyJust a room", "")))
