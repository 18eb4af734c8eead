"""The folder of the setting `static`: types, redirects, ranges, and paths that lead nowhere."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2 as httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from relay.pages.folder import StaticFolder, check_folder, content_type, file_path, hidden_entries
from tests.unit.rooms.buffering import make_buffers

RESERVED = {"rooms", "socket.io", "Home"}
PREFIXES = ("/socket.io", "/{key}/id")

Get = Callable[..., Any]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    for name, text in {
        "index.html": "<h1>front</h1>",
        "main.js": "start()",
        "a b/ü.txt": "text",
        "games/index.html": "games",
        "games/data.bin": "0123456789",
        "empty/.keep": "",
        ".env": "secret",
        ".git/config": "secret",
        "games/.hidden": "secret",
        "rooms/a": "shadowed",
        "Home/GetData": "shadowed",
        "x/id/y": "shadowed",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("secret")
    (tmp_path / "site-2").mkdir()
    (tmp_path / "site-2" / "secret.txt").write_text("secret")
    (folder / "inside.html").symlink_to("index.html")
    (folder / "leads-out.txt").symlink_to(tmp_path / "outside" / "secret.txt")
    (folder / "leads-out").symlink_to(tmp_path / "outside")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture
def get(site: Path) -> Get:
    folder = StaticFolder(str(site), reserved=RESERVED, prefixes=PREFIXES)

    async def page(request: Request) -> Response:
        return PlainTextResponse("the page of the relay")

    app = Starlette(routes=[Route("/", folder.front(page))])
    app.router.redirect_slashes = False
    app.router.default = folder.ahead_of(PlainTextResponse("nothing", 404))

    worker = SimpleNamespace(admissions=SimpleNamespace(buffers=make_buffers()))

    async def on_worker(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": {"worker": worker}}, receive, send)

    async def get(path: str, method: str = "GET", **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        transport = httpx.ASGITransport(on_worker)
        async with httpx.AsyncClient(transport=transport, base_url="http://relay:8888") as client:
            return await client.request(method, path, headers=named)

    return get


@pytest.mark.parametrize(
    ("path", "text", "kind"),
    [
        ("/", "<h1>front</h1>", "text/html; charset=utf-8"),
        ("/index.html", "<h1>front</h1>", "text/html; charset=utf-8"),
        ("/main.js", "start()", "text/javascript; charset=utf-8"),
        ("/main.js?v=2", "start()", "text/javascript; charset=utf-8"),
        ("/a%20b/%C3%BC.txt", "text", "text/plain; charset=utf-8"),
        ("/games/", "games", "text/html; charset=utf-8"),
        ("/inside.html", "<h1>front</h1>", "text/html; charset=utf-8"),
        ("/games/data.bin", "0123456789", "application/octet-stream"),
    ],
)
async def test_a_file_is_served_with_its_type(get: Get, path: str, text: str, kind: str) -> None:
    answer = await get(path)
    assert (answer.status_code, answer.text, answer.headers["content-type"]) == (200, text, kind)
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    head = await get(path, "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == answer.headers["content-length"]


@pytest.mark.parametrize(
    "path",
    [
        "/missing",
        "/missing/",
        "/main.js/",
        "/main.js/more",
        "/empty",
        "/empty/",
        # Nothing hidden.
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/games/.hidden",
        "/games/%2ehidden",
        # Nothing outside.
        "/%2e%2e/outside/secret.txt",
        "/games/%2e%2e/%2e%2e/outside/secret.txt",
        "/..%2foutside%2fsecret.txt",
        "/..%5coutside%5csecret.txt",
        "/games%2f..%2f..%2foutside%2fsecret.txt",
        "/%2e%2e/site-2/secret.txt",
        "/leads-out.txt",
        "/leads-out/secret.txt",
        # No other spelling of a file.
        "/games%2fdata.bin",
        "/games%5cdata.bin",
        "/games//data.bin",
        "/games/%2e/data.bin",
        "/main.js%00",
        "/main.js%00.html",
        "/main.js%0a",
        "/%ff",
        "/%",
        "/loop",
        "/pipe",
        # Paths of the relay.
        "/rooms/a",
        "/Home/GetData",
        "/%48ome/GetData",
        "/x/id/y",
        # Bounds.
        "/" + "x" * 300,
        "/" + "x/" * 100,
        "/" + "x" * 5000,
    ],
)
async def test_nothing_else_is_served(get: Get, path: str) -> None:
    answer = await get(path)
    assert (answer.status_code, answer.text) == (404, "nothing")


@pytest.mark.parametrize(
    "raw", ["/../outside/secret.txt", "/games/../../outside/secret.txt", "//main.js", "main.js", ""]
)
def test_a_path_that_clients_should_have_resolved_names_no_file(raw: str) -> None:
    assert file_path(raw) is None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_only_get_and_head_are_for_files(get: Get, method: str) -> None:
    assert (await get("/main.js", method)).status_code == 404


async def test_a_file_that_cannot_be_read_is_not_there(get: Get, monkeypatch: pytest.MonkeyPatch, site: Path) -> None:
    opened = os.open

    def refuse(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path) == str(site / "main.js"):
            raise PermissionError
        return opened(path, *arguments, **options)

    monkeypatch.setattr("os.open", refuse)
    assert (await get("/main.js")).status_code == 404


async def test_a_folder_without_an_index_leaves_the_page_of_the_relay(get: Get, site: Path) -> None:
    (site / "index.html").unlink()
    assert (await get("/")).text == "the page of the relay"
    (site / "index.html").write_text("back")
    assert (await get("/")).text == "back"


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/games", "./games/"),
        ("/games?room=a%20b&x='%22", "./games/?room=a%20b&x='%22"),
        ("/%67ames?http://evil.example/", "./games/?http://evil.example/"),
    ],
)
async def test_a_folder_is_redirected_to_its_slash_and_to_no_host(get: Get, path: str, location: str) -> None:
    answer = await get(path, host="evil.example")
    assert (answer.status_code, answer.headers["location"], answer.content) == (307, location, b"")


async def test_a_browser_that_has_the_file_gets_304(get: Get, site: Path) -> None:
    first = await get("/main.js")
    tag, date = first.headers["etag"], first.headers["last-modified"]
    for known in ({"if_none_match": tag}, {"if_none_match": f'"x", W/{tag}'}, {"if_modified_since": date}):
        answer = await get("/main.js", **known)
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    assert (await get("/main.js", if_none_match='"x"')).status_code == 200
    (site / "main.js").write_text("another version")
    assert (await get("/main.js", if_none_match=tag)).text == "another version"


@pytest.mark.parametrize(
    ("asked", "status", "text"),
    [
        ("bytes=2-4", 206, "234"),
        ("bytes=8-", 206, "89"),
        ("bytes=-3", 206, "789"),
        ("bytes=5-99", 206, "56789"),
        ("bytes=10-", 416, ""),
        # A header that is wrong is none.
        ("bytes=4-2", 200, "0123456789"),
        ("bytes", 200, "0123456789"),
        ("lines=1-2", 200, "0123456789"),
        (f"bytes={'9' * 5000}-", 200, "0123456789"),
        (f"bytes={','.join(['0-0'] * 200)}", 200, "0123456789"),
    ],
)
async def test_a_range_is_served(get: Get, asked: str, status: int, text: str) -> None:
    answer = await get("/games/data.bin", range=asked)
    assert (answer.status_code, answer.text) == (status, text)


async def test_several_ranges_are_served_and_those_that_overlap_only_once(get: Get) -> None:
    answer = await get("/games/data.bin", range="bytes=0-3,2-5,8-8")
    assert answer.status_code == 206
    assert answer.text.count("Content-Range: ") == 2
    assert "\r\n\r\n012345\r\n" in answer.text


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", "text/html"),
        ("a.css", "text/css"),
        ("a.mjs", "text/javascript"),
        ("a.json", "application/json"),
        ("a.svg", "image/svg+xml"),
        ("a.wasm", "application/wasm"),
        ("a.woff2", "font/woff2"),
        ("a.webp", "image/webp"),
        ("a.mp4", "video/mp4"),
        ("A.PNG", "image/png"),
        ("a.js.gz", "application/gzip"),
        ("a.js.xz", "application/octet-stream"),
        ("a.unknown", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ],
)
def test_the_type_depends_on_the_name_alone(name: str, kind: str) -> None:
    assert content_type(f"/site/{name}") == kind


def test_the_operator_is_told_what_is_wrong_with_the_folder(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_folder("") == []
    assert check_folder(str(site)) == []
    missing, file = str(site / "missing"), str(site / "index.html")
    assert check_folder(missing) == [
        f"static: the folder {missing!r} cannot be used: No such file or directory; make it, or name another one "
        "(--static or RELAY_STATIC)"
    ]
    assert check_folder(file) == [f"static: {file!r} is a file; name the folder that it is in"]
    monkeypatch.chdir(site)
    assert check_folder("games") == []
    assert str(site / "nowhere") in check_folder("nowhere")[0]
    monkeypatch.setattr("os.access", lambda *_: False)
    [problem] = check_folder(str(site))
    assert "cannot be read" in problem


def test_the_entries_that_are_not_served_are_found(site: Path) -> None:
    assert hidden_entries(str(site), RESERVED) == ["Home", "rooms"]
    assert hidden_entries(str(site / "games"), RESERVED) == []
