"""Origins in the setting, and those of requests."""

import logging

import pytest

from relay.config import SettingsError, load
from relay.model.errors import NotAllowed, Refused
from relay.origins import MAX_ORIGIN, AllowedOrigins, parse_origin


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://app.example", "https://app.example"),
        ("https://App.Example/", "https://app.example"),
        ("HTTPS://app.example:443", "https://app.example"),
        ("http://app.example:80/", "http://app.example"),
        ("http://app.example:443", "http://app.example:443"),
        ("http://localhost:08080", "http://localhost:8080"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("http://[0:0::1]", "http://[::1]"),
        ("https://m\N{LATIN SMALL LETTER U WITH DIAERESIS}ller.example", "https://xn--mller-kva.example"),
        ("https://*.example.com", "https://*.example.com"),
        ("http://localhost:*", "http://localhost:*"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("file://", "file://"),
        ("null", "null"),
        ("*", "*"),
    ],
)
def test_an_origin_is_written_as_browsers_send_it(text: str, origin: str) -> None:
    assert parse_origin(text) == origin
    assert parse_origin(origin) == origin


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("app.example", "no scheme, such as https://; did you mean https://app.example?"),
        ("*.app.example:8080", r"did you mean https://\*.app.example:8080?"),
        ("a b", "no scheme, such as https://"),
        ("https://app.example/path", "more than an origin; leave '/path' out"),
        ("https://app.example?x", r"leave '\?x' out"),
        ("wss://app.example", "address of a WebSocket; the origin of a page begins with https"),
        ("https://user@app.example", "no host name"),
        ("https://", "no host name"),
        ("https://*", r"no host name; \* alone allows all origins"),
        ("https://a..b", "no host name"),
        ("https://app.example:0", "a port that is not a number, 1 to 65535"),
        ("https://app.example:https", "a port that is not a number"),
        ("https://[::1", "no IPv6 address|no port"),
        ("https://[::x]", "no IPv6 address"),
        ("https://[::1]8080", "no port behind the address"),
        ("https://\N{FULLWIDTH FULL STOP}", "host name"),
        ("https://" + "a" * MAX_ORIGIN, "at most 512 characters"),
    ],
)
def test_a_text_that_is_no_origin_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(NotAllowed, match=reason):
        parse_origin(text)


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("https://A.example/, http://b.example:80", ("https://a.example", "http://b.example")),
        ('["https://a.example", "https://b.example"]', ("https://a.example", "https://b.example")),
        ("*", ("*",)),
    ],
    ids=["list", "JSON", "all"],
)
def test_the_setting_is_read(text: str, origins: tuple[str, ...]) -> None:
    assert load({}, {"RELAY_ALLOWED_ORIGINS": text}).settings.allowed_origins == origins
    assert load({}, {"RELAY_ORIGINS": text}).settings.allowed_origins == origins


@pytest.mark.parametrize("text", ["", " ", ",", "[]", '["https://a.example"', '[""]', "https://a.example b.example"])
def test_a_setting_that_would_shut_out_every_page_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"allowed_origins \(from RELAY_ALLOWED_ORIGINS\)"):
        load({}, {"RELAY_ALLOWED_ORIGINS": text})


@pytest.mark.parametrize(
    ("allowed", "origin", "allows"),
    [
        ("https://app.example", "https://app.example", True),
        ("https://app.example", "http://app.example", False),
        ("https://app.example", "https://app.example:8443", False),
        ("https://app.example", "https://app.example.evil", False),
        ("https://*.example.com", "https://a.example.com", True),
        ("https://*.example.com", "https://a.b.example.com", True),
        ("https://*.example.com", "https://example.com", False),
        ("https://*.example.com", "https://evilexample.com", False),
        ("https://*.example.com", "https://a.example.com.evil", False),
        ("https://*.example.com", "https://evil/.example.com", False),
        ("https://*.example.com", "http://a.example.com", False),
        ("https://*.example.com", "https://" + "a." * 400 + "example.com", False),
        ("https://app-*.example.com", "https://app-7.example.com", True),
        ("https://app-*.example.com", "https://app-7.evil.example.com", False),
        ("http://localhost:*", "http://localhost:3000", True),
        ("http://localhost:*", "http://localhost", True),
        ("http://localhost:*", "http://localhost:3000.evil", False),
        ("null", "null", True),
        ("https://app.example", "null", False),
        ("*", "null", True),
    ],
)
def test_origins_are_compared(allowed: str, origin: str, allows: bool) -> None:
    assert AllowedOrigins([allowed]).allows(origin) is allows


def test_a_refusal_names_the_origin_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    origins = AllowedOrigins(["https://app.example"])
    origins.check(None)
    origins.check("https://app.example")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with pytest.raises(Refused, match=r"^bad_origin: pages of the origin https://other\\x1b may not connect"):
                origins.check("https://other\x1b")
        assert len(caplog.records) == 1
        assert "https://other\\x1b are refused" in caplog.text
        for number in range(1000):
            with pytest.raises(Refused):
                origins.check(f"https://{number}.example")
    assert len(caplog.records) == 20
