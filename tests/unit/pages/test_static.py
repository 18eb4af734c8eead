"""Static files: compression, and revalidation by ETag."""

import gzip

import pytest
from starlette.requests import Request
from starlette.responses import Response

from relay.pages.static import StaticFile, read

CONTENT = b"some text, some text, some text"
FILE = StaticFile(CONTENT, "text/plain", {"Cache-Control": "no-cache"})


async def get(file: StaticFile = FILE, **headers: str) -> Response:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return await file.get(Request({"type": "http", "headers": named}))


async def test_a_client_without_gzip_gets_the_plain_file() -> None:
    answer = await get()
    assert answer.body == CONTENT
    assert "content-encoding" not in answer.headers
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [("gzip", True), ("br, GZIP;q=0.5", True), ("gzip;q=0", False), ("gzip; q=0.000", False), ("br", False)],
)
async def test_gzip_is_used_if_the_client_accepts_it(accepted: str, compressed: bool) -> None:
    answer = await get(accept_encoding=accepted)
    assert (answer.headers.get("content-encoding") == "gzip") == compressed
    assert (gzip.decompress(answer.body) if compressed else answer.body) == CONTENT
    assert "accept-encoding" in answer.headers["vary"].lower()


async def test_a_known_tag_is_answered_with_304() -> None:
    tag = (await get()).headers["etag"]
    for tags in (tag, f'"other", W/{tag}', "*"):
        answer = await get(if_none_match=tags)
        assert (answer.status_code, answer.body) == (304, b"")
    assert (await get(if_none_match='"other"')).status_code == 200


async def test_the_tag_depends_on_the_content_and_the_encoding() -> None:
    plain, packed = (await get()).headers["etag"], (await get(accept_encoding="gzip")).headers["etag"]
    other = (await get(StaticFile(b"other", "text/plain", {}))).headers["etag"]
    assert len({plain, packed, other}) == 3


def test_files_of_the_package_are_read_as_text() -> None:
    assert "export" in read("client/relay.js")
