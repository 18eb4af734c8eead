"""The opening handshake: accepted by the fast check or by the library, or refused."""

import pytest

from relay.wire.handshake import BadHandshake, accepting, read_key, read_usual, websocket_scope
from tests.unit.serving import UPGRADE

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
GOOD = {
    b"host": b"relay",
    b"connection": b"Upgrade",
    b"upgrade": b"websocket",
    b"sec-websocket-version": b"13",
    b"sec-websocket-key": KEY,
}
HTTP = {"root_path": "", "scheme": "http", "server": ("h", 1), "client": ("c", 2), "state": {}}


def headers(**changes: bytes | None) -> list[tuple[bytes, bytes]]:
    changed = GOOD | {name.replace("_", "-").encode(): value for name, value in changes.items()}
    return [(name, value) for name, value in changed.items() if value is not None]


def test_the_answer_to_a_key_is_that_of_the_rfc() -> None:
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n" in accepting(KEY, [])  # RFC 6455, 1.3


@pytest.mark.parametrize(
    "asked",
    [
        headers(),
        headers(connection=b"upgrade", upgrade=b"WebSocket"),
        headers(connection=b"keep-alive, Upgrade"),
        headers(cookie=b"x" * 60_000),
        headers(connection=b"close, upgrade", cookie=b"x" * 60_000, sec_websocket_protocol=b"y" * 60_000),
        [*headers(), (b"x", b"1"), (b"x", b"2")],
        [*headers(connection=b"close, upgrade"), *[(b"x%d" % number, b"") for number in range(1000)]],
    ],
    ids=["plain", "cases", "a list", "large", "large, a list", "a header twice", "many headers"],
)
def test_good_requests_are_accepted(asked: list[tuple[bytes, bytes]]) -> None:
    assert read_key(b"GET", asked) == KEY


@pytest.mark.parametrize(
    ("method", "asked", "status"),
    [
        (b"POST", headers(), b"405"),
        (b"GET", headers(sec_websocket_version=b"8"), b"400"),
        (b"GET", headers(sec_websocket_version=None), b"400"),
        (b"GET", headers(sec_websocket_key=None), b"400"),
        (b"GET", headers(sec_websocket_key=b"short"), b"400"),
        (b"GET", headers(sec_websocket_key=b"!" * 24), b"400"),
        (b"GET", headers(upgrade=b"h2c"), b"426"),
        (b"GET", [*headers(), (b"sec-websocket-key", KEY)], b"400"),
        (b"GET", headers(connection=b"upgrade," * 2000), b"431"),
        (b"GET", [*headers(), *[(b"host", b"x")] * 100], b"431"),
    ],
)
def test_bad_requests_are_refused_with_the_right_status(
    method: bytes, asked: list[tuple[bytes, bytes]], status: bytes
) -> None:
    with pytest.raises(BadHandshake) as refused:
        read_key(method, asked)
    assert refused.value.answer.startswith(b"HTTP/1.1 " + status), refused.value.answer


def test_a_head_that_the_library_cannot_read_is_a_bad_request() -> None:
    with pytest.raises(BadHandshake) as refused:
        read_key(b"GET", headers(connection=b"close, upgrade\x00"))
    assert refused.value.answer.startswith(b"HTTP/1.1 400 ")


def test_the_scope_is_that_of_the_asgi_specification() -> None:
    asked = [*headers(), (b"sec-websocket-protocol", b"relay.v1, resume.k"), (b"sec-websocket-protocol", b"other")]
    scope = websocket_scope(HTTP | {"headers": asked, "scheme": "https"}, b"/rooms/%41%20b?x=%20", {"some": {}})
    assert scope["subprotocols"] == ["relay.v1", "resume.k", "other"]
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/rooms/A b", b"/rooms/%41%20b", b"x=%20")
    assert (scope["type"], scope["scheme"], scope["extensions"]) == ("websocket", "wss", {"some": {}})
    assert websocket_scope(HTTP | {"headers": headers()}, b"/", {})["subprotocols"] == []


def test_a_usual_request_is_read_without_a_parser() -> None:
    found = read_usual(UPGRADE % (b"/rooms/a%20b?x=1", b"X-Some:\ta thing\r\nEmpty:  \r\n"))
    assert found is not None
    address, read = found
    assert address == b"/rooms/a%20b?x=1"
    assert read[-2:] == [(b"x-some", b"a thing"), (b"empty", b"")]
    assert dict(read)[b"sec-websocket-key"] == KEY
    assert read_usual((UPGRADE % (b"/", b"")).replace(b"Connection: ", b"Connection: keep-alive, ")) is not None


GOOD_REQUEST = UPGRADE % (b"/", b"")


@pytest.mark.parametrize(
    "request_bytes",
    [
        GOOD_REQUEST[:-1],
        GOOD_REQUEST + b"x",
        GOOD_REQUEST + GOOD_REQUEST,
        GOOD_REQUEST.replace(b"GET", b"POST"),
        GOOD_REQUEST.replace(b"1.1", b"1.0"),
        GOOD_REQUEST.replace(b"Host", b"Hose"),
        GOOD_REQUEST.replace(b"websocket", b"h2c"),
        GOOD_REQUEST.replace(b"Connection: Upgrade", b"Connection: keep-alive"),
        GOOD_REQUEST.replace(b"\r\n", b"\n"),
        GOOD_REQUEST.replace(b"Host: relay", b"Host: relay "),
        UPGRADE % (b"/a b", b""),
        UPGRADE % (b"/#a", b""),
        UPGRADE % (b"/\xc3\xa9", b""),
        UPGRADE % (b"/", b"Host: b\r\n"),
        UPGRADE % (b"/", b"X: a\r\n b\r\n"),
        UPGRADE % (b"/", b"X : a\r\n"),
        UPGRADE % (b"/", b"X: \xff\r\n"),
        UPGRADE % (b"/", b"Content-Length: 1\r\n"),
        UPGRADE % (b"/", b"Transfer-Encoding: chunked\r\n"),
        UPGRADE % (b"/", b"Expect: 100-continue\r\n"),
        UPGRADE % (b"/", b"X: " + b"a" * 8192 + b"\r\n"),
    ],
)
def test_any_other_request_is_left_to_the_parser(request_bytes: bytes) -> None:
    assert read_usual(request_bytes) is None
