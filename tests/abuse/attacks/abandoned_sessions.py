"""Sessions of all protocols over HTTP, each in a room of its own, begun one after the other and never polled."""

import asyncio
import itertools
import json
from urllib.parse import quote

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of

_HANDSHAKE = '[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"],"id":"1"}]'
_BOSH = (
    "<body xmlns='http://jabber.org/protocol/httpbind' rid='1' to='localhost' wait='60' hold='1' ver='1.6'"
    " xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh'/>"
)
_FORM = "application/x-www-form-urlencoded"
_HUBS = quote(json.dumps([{"name": "webrtchub3"}]))
_BEGINNINGS = (
    ("GET", "/socket.io/?EIO=4&transport=polling&room={room}", "text/plain", ""),
    ("GET", "/socket.io/1/?room={room}", "text/plain", ""),
    ("POST", "/rooms/{room}/connect", "text/plain", "relay.v1"),
    ("GET", "/rooms/{room}/messages?peer=&presence=1", "text/plain", ""),
    ("GET", "/rooms/{room}/events?peer=", "text/plain", ""),
    ("POST", "/rooms/{room}/Home/GetData", _FORM, "message=undefined"),
    ("POST", "/rooms/{room}/signalr/negotiate?negotiateVersion=1", "text/plain", ""),
    ("GET", "/rooms/{room}/signalr/negotiate?clientProtocol=2.1&connectionData=" + _HUBS, "text/plain", ""),
    ("POST", "/rooms/{room}/websync.ashx", "application/json", _HANDSHAKE),
    ("POST", "/http-bind", "text/xml", _BOSH),
    ("GET", "/.lp?start=t&ser=1&cb=1&v=5&ns={room}", "text/plain", ""),
)
"""Method, target, type and body of the first request of a session in each protocol."""
_CONNECTIONS = 20


async def _begin_sessions(target: Target, number: int) -> None:
    for count, (method, path, kind, body) in zip(itertools.count(number), itertools.cycle(_BEGINNINGS), strict=False):
        reader, writer = await target.connect()
        head = (
            f"{method} {path.format(room=f'left-{number}-{count}')} HTTP/1.1\r\nHost: {target.host}:{target.port}\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            await target.write(writer, (head + body).encode())
            async with asyncio.timeout(0.2):
                await reader.readuntil(b"\r\n\r\n")
        except (TimeoutError, EOFError, ConnectionError):
            pass  # the answer to a poll, and that of a relay that refuses
        finally:
            writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_begin_sessions(target, number) for number in range(_CONNECTIONS)))


ATTACK = Attack(
    name="abandoned-sessions",
    says="Sessions of each protocol over HTTP, each in a new room, begun without a pause and never polled.",
    run=run,
)
