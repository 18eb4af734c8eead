"""All errors have the same format, for every cause."""

from dataclasses import replace

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.websockets import WebSocket

from relay.http.responses import exception_handlers
from relay.model.errors import ERRORS, OutcomeUnknown, Refused, Unavailable
from relay.rooms.health import Check
from tests.unit.http.conftest import READY, FakeWorker, MakeSite, error_of


async def test_unknown_path(site: MakeSite) -> None:
    here = site()
    assert error_of(await here.get("/nothing")) == (404, "not_found")
    assert here.worker.refused("not_found") == 1


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/health", "GET, HEAD"),
        ("PATCH", "/rooms/a", "DELETE, GET, HEAD, POST, PUT"),
        ("PUT", "/rooms", "GET, HEAD, POST"),
        ("BREW", "/metrics", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_gets_the_allowed_ones(site: MakeSite, method: str, path: str, allowed: str) -> None:
    answer = await site().request(method, path)
    assert error_of(answer) == (405, "bad_method")
    assert sorted(answer.headers["allow"].split(", ")) == allowed.split(", ")


@pytest.mark.parametrize(
    ("path", "allowed"), [("/", "GET, HEAD"), ("/health", "GET, HEAD"), ("/rooms/a", "DELETE, GET, HEAD, POST, PUT")]
)
async def test_options_are_answered(site: MakeSite, path: str, allowed: str) -> None:
    answer = await site().request("OPTIONS", path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert sorted(answer.headers["allow"].split(", ")) == sorted([*allowed.split(", "), "OPTIONS"])


async def test_options_of_a_path_at_which_there_is_nothing(site: MakeSite) -> None:
    assert error_of(await site().request("OPTIONS", "/nothing")) == (404, "not_found")


@pytest.mark.parametrize("path", ["/", "/health", "/health/live", "/metrics", "/rooms/a", "/openapi.json"])
async def test_head(site: MakeSite, path: str) -> None:
    assert (await site().request("HEAD", path)).status_code == 200


async def test_an_exception_is_not_shown_to_the_client(site: MakeSite) -> None:
    here = site(worker=FakeWorker(failure=ZeroDivisionError("secret")))
    answer = await here.get("/rooms/a")
    assert error_of(answer) == (500, "internal")
    assert "secret" not in answer.text
    assert here.worker.refused("internal") == 1


async def test_unavailable_has_retry_after(site: MakeSite) -> None:
    answer = await site(worker=FakeWorker(failure=Unavailable())).get("/rooms/a")
    assert error_of(answer) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0


async def test_outcome_unknown(site: MakeSite) -> None:
    assert error_of(await site(worker=FakeWorker(failure=OutcomeUnknown())).get("/rooms/a")) == (504, "outcome_unknown")


async def test_detail_is_in_the_answer(site: MakeSite) -> None:
    failure = Refused("no_such_peer", peers=["x"])
    answer = await site(worker=FakeWorker(failure=failure)).get("/rooms/a")
    assert error_of(answer) == (404, "no_such_peer")
    assert answer.json()["error"]["peers"] == ["x"]


@pytest.mark.parametrize("code", ERRORS)
async def test_every_code_is_answered_with_its_status(site: MakeSite, code: str) -> None:
    here = site(worker=FakeWorker(failure=Refused(code)))
    assert error_of(await here.get("/rooms/a")) == (ERRORS[code][0], code)
    assert here.worker.refused(code) == 1


async def test_a_client_that_disconnects_is_no_failure() -> None:
    request = Request({"type": "http"})
    answer = await exception_handlers[ClientDisconnect](request, ClientDisconnect())  # type: ignore[arg-type,misc]
    assert answer.status_code == 400


@pytest.mark.parametrize("error", [Refused("bad_room"), HTTPException(404)])
async def test_errors_of_websockets_are_raised_again(error: Exception) -> None:
    websocket = WebSocket({"type": "websocket"}, None, None)  # type: ignore[arg-type]
    handler = next(exception_handlers[kind] for kind in type(error).__mro__ if kind in exception_handlers)
    with pytest.raises(type(error)):
        await handler(websocket, error)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    "words",
    [
        "OOM command not allowed when used memory > 'maxmemory'.",
        "READONLY You can't write against a read only replica.",
        "NOAUTH Authentication required.",
        "LOADING Redis is loading the dataset in memory",
        "Error 111 connecting to db.internal:6379. Connection refused.",
    ],
)
async def test_the_words_of_redis_are_for_operators(site: MakeSite, words: str) -> None:
    checks = {"redis": Check(ok=False, text=f"refuses: {words}")}
    here = site(
        worker=FakeWorker(replace(READY, ready=False, checks=checks), failure=Unavailable().because(words)),
        admin_token="x" * 16,
    )
    stranger = {"client": "203.0.113.9", "host": "relay.example"}
    answers = [
        await here.get("/rooms/a", **stranger),
        await here.get("/rooms", headers={"Authorization": "Bearer " + "x" * 16}, **stranger),
        await here.get("/health", **stranger),
    ]
    assert [answer.status_code for answer in answers] == [503, 503, 503]
    for answer in answers:
        assert words not in answer.text
        assert words.partition(" ")[0] not in answer.text
        assert "6379" not in answer.text
        assert "w1" not in answer.text
    assert words in (await here.get("/health")).json()["checks"]["redis"]["text"]
