"""The address that pages show: from the setting `public-url`, or from a request's Host header if that is plausible."""

import pytest
from starlette.requests import Request

from relay.config import Settings
from relay.pages.address import address_of, websocket_of


def request(*hosts: str, scheme: str = "http") -> Request:
    headers = [(b"host", host.encode("latin-1")) for host in hosts]
    return Request({"type": "http", "scheme": scheme, "server": ("h", 1), "path": "/", "headers": headers})


@pytest.mark.parametrize(
    "host",
    [
        "relay.example",
        "RELAY.example:8443",
        "127.0.0.1:1",
        "[::1]:8888",
        "localhost",
        "a.b.",
        "xn--bcher-kva.example",
        "1",
    ],
)
def test_a_host_and_port_are_the_address(host: str) -> None:
    assert address_of(request(host), Settings()) == f"http://{host}"
    assert address_of(request(host, scheme="https"), Settings()) == f"https://{host}"


@pytest.mark.parametrize(
    "hosts",
    [
        (),
        ("",),
        ("a b",),
        ('x"><script>',),
        ("user@h",),
        ("h/path",),
        ("h:port",),
        ("[::1",),
        ("a", "b"),
        ("a..b",),
        (".a",),
        ("-a",),
        ("a-",),
        ("a.-b",),
        ("a_b",),
        ("a;b",),
        ("a,b",),
        ("a:0",),
        ("a:65536",),
        ("a:",),
        ("[1]",),
        ("[::1]x",),
        ("[:::]",),
        ("x" * 64,),
        (".".join(["x" * 60] * 5),),
        ("\xe9.example",),
        ("a\n",),
        ("*",),
        ("'self'",),
    ],
)
def test_anything_else_is_replaced_by_localhost(hosts: tuple[str, ...]) -> None:
    assert address_of(request(*hosts), Settings(port=1234)) == "http://localhost:1234"


def test_the_setting_public_url_wins() -> None:
    assert (
        address_of(request("h"), Settings(public_url="https://signal.example/relay/")) == "https://signal.example/relay"
    )


def test_the_websocket_address_has_the_scheme_of_websockets() -> None:
    assert websocket_of("http://h:1") == "ws://h:1"
    assert websocket_of("https://h/relay") == "wss://h/relay"
