"""Credentials of TURN servers."""

import base64
import hashlib
import hmac
import re

import pytest

from relay.model.names import MAX_ESCAPED, escape_peer
from relay.turn import TurnServers

SECRET = "a-secret-of-the-tests"
URLS = ("turn:t.example", "turns:t.example")


def user(peer: str) -> str:
    """The peer's part of the username in a credential."""
    server = TurnServers(URLS, SECRET, ttl=60, now=lambda: 1000.9).server(peer)
    ends, _, name = server.username.partition(":")
    assert (ends, server.urls) == ("1060", URLS)
    # As the TURN server makes it, by another way.
    mac = hmac.new(SECRET.encode(), server.username.encode(), hashlib.sha1).digest()
    assert base64.b64decode(server.credential) == mac
    return name


def test_the_credential_of_the_draft() -> None:
    """The time and the name are those of coturn's manual; the password is the output of `openssl dgst -sha1 -hmac`."""
    server = TurnServers(("turn:t.example",), "north", ttl=86_400, now=lambda: 1_433_895_918.0 - 86_400).server(
        "ninefingers"
    )
    assert (server.username, server.credential) == ("1433895918:ninefingers", "jy8hTxmOO7UtEKXqSkSlvakPVYA=")


@pytest.mark.parametrize("peer", ["ann", "a:b:c", "7:8", "a@b", "no%20spaces%27or%22quotes%5C", "union", "x" * 255])
def test_a_peer_id_is_in_the_username(peer: str) -> None:
    assert user(peer) == peer


@pytest.mark.parametrize("peer", ["x" * 256, "%F0%9F%98%80" * 170, "Union-of-SELECT-voices"])
def test_a_peer_id_that_a_turn_server_refuses_is_hashed(peer: str) -> None:
    assert len(peer) <= MAX_ESCAPED
    assert re.fullmatch("[0-9a-f]{64}", user(peer))
    assert user(peer) != user(peer + "x")


@pytest.mark.parametrize("text", ["\N{GRINNING FACE}" * 170, "'\"\\ \u2028", "ümläut"])
def test_every_username_is_short_and_has_no_character_that_coturn_refuses(text: str) -> None:
    """coturn refuses white space, quotes and backslashes; a username has fewer than 509 bytes (RFC 8489)."""
    name = f"99999999999:{user(escape_peer(text))}"
    assert len(name) < 509
    assert name.isascii()
    assert not set(name) & set(" \t\r\n'\"\\")


def test_a_secret_is_in_no_repr() -> None:
    servers = TurnServers(URLS, SECRET, ttl=60)
    assert SECRET not in repr(servers) + repr(servers.server("ann"))
