"""XML that is costly to read: entities, depth, attributes, elements and references, over WebSocket and BOSH."""

import asyncio
import itertools

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of, frame

_CONNECTIONS = 20
_SIZE = 250_000
_OPEN = '<open xmlns="urn:ietf:params:xml:ns:xmpp-framing" to="localhost" version="1.0"/>'
_LOGIN = (
    _OPEN,
    '<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="ANONYMOUS"/>',
    _OPEN,
    '<iq xmlns="jabber:client" type="set" id="b"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>',
)
_LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
_ATTRIBUTES = " ".join(f"a{n}=''" for n in range(_SIZE // 10))
_PREFIXES = " ".join(f"xmlns:n{n}='u:{n}'" for n in range(_SIZE // 20))
_BOMBS = (
    f'<!DOCTYPE m [<!ENTITY l0 "ha">{_LAUGHS}]><message>&l9;</message>',
    f'<!DOCTYPE m [<!ENTITY l "{"x" * _SIZE}">]><message>{"&l;" * 1000}</message>',
    "<a>" * (_SIZE // 3),
    f"<message>{'<a/>' * (_SIZE // 4)}</message>",
    f"<message {_ATTRIBUTES}/>",
    f"<message>{'&amp;' * (_SIZE // 5)}</message>",
    f"<message {_PREFIXES}/>",
    f"<message><!--{'-' * _SIZE}</message>",
)


async def _over_websocket(target: Target, number: int) -> None:
    for bomb in itertools.islice(itertools.cycle(_BOMBS), number, None):
        headers = "Sec-WebSocket-Protocol: xmpp\r\n"
        reader, writer = await target.websocket("/xmpp-websocket", headers=headers, greeted=False)
        reading = asyncio.create_task(target.read_all(reader))
        try:
            # Half of them are logged in: their frames may be larger.
            first = _LOGIN if number % 4 == 0 else ()
            await target.write(writer, b"".join(map(frame, (*first, bomb))))
            await asyncio.wait({reading}, timeout=1)
        finally:
            reading.cancel()
            writer.transport.abort()


async def _over_bosh(target: Target, number: int) -> None:
    for bomb in itertools.islice(itertools.cycle(_BOMBS), number, None):
        reader, writer = await target.connect()
        body = f'<body rid="1" to="localhost" xmlns="http://jabber.org/protocol/httpbind">{bomb}</body>'.encode()
        head = f"POST /http-bind HTTP/1.1\r\nHost: {target.host}\r\nContent-Type: text/xml\r\nConnection: close\r\n"
        reading = asyncio.create_task(target.read_all(reader))
        try:
            await target.write(writer, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await asyncio.wait({reading}, timeout=1)
        finally:
            reading.cancel()
            writer.transport.abort()


async def run(target: Target) -> None:
    ways = (_over_websocket, _over_bosh)
    await all_of(*(ways[number % 2](target, number) for number in range(_CONNECTIONS)))


ATTACK = Attack(
    name="xml-bombs",
    says="XML with nested entities, with great depth, and with many attributes, elements and references, by XMPP.",
    run=run,
)
