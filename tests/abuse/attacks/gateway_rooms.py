"""New rooms through the gateways with a wire of their own: each of these clients enters one room after the other."""

import asyncio
import itertools

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of, frame

_FRAMING = 'xmlns="urn:ietf:params:xml:ns:xmpp-framing" to="localhost" version="1.0"'
_LOGIN = (
    f"<open {_FRAMING}/>",
    '<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="ANONYMOUS"/>',
    f"<open {_FRAMING}/>",
    '<iq xmlns="jabber:client" type="set" id="b"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>',
)
_ENTER = (
    '<presence xmlns="jabber:client" to="{room}@conference.localhost/me"><x xmlns="http://jabber.org/protocol/muc"/>'
    "</presence>"
)
_REGISTER = (
    "REGISTER sip:localhost SIP/2.0\r\nVia: SIP/2.0/WS x.invalid;branch=z9hG4bK{room}\r\nMax-Forwards: 70\r\n"
    "From: <sip:{room}@localhost>;tag=1\r\nTo: <sip:{room}@localhost>\r\nCall-ID: {room}\r\nCSeq: 1 REGISTER\r\n"
    "Contact: <sip:{room}@x.invalid;transport=ws>;expires=600\r\nContent-Length: 0\r\n\r\n"
)
_HUB = ('{"protocol":"json","version":1}\x1e',)
_PUT = '{{"t":"d","d":{{"r":1,"a":"p","b":{{"p":"/{room}/x","d":1}}}}}}'
_CLIENTS = (
    ("/xmpp-websocket", "xmpp", _LOGIN, _ENTER),
    ("/rooms/sip-{room}", "sip", (), _REGISTER),
    ("/signalr", "", _HUB, '{{"type":1,"target":"JoinRoom","arguments":["{room}"]}}\x1e'),
    ("/.ws?v=5", "", (), _PUT),
)
"""Path, subprotocol, the first frames of a connection, and the frame that enters a room."""
_CONNECTIONS, _ROOMS = 20, 50


async def _enter_rooms(target: Target, number: int) -> None:
    path, subprotocol, first, enter = _CLIENTS[number % len(_CLIENTS)]
    headers = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
    names = (f"gate-{number}-{count}" for count in itertools.count())
    while True:
        reader, writer = await target.websocket(path.format(room=next(names)), headers=headers, greeted=False)
        reading = asyncio.create_task(target.read_all(reader))
        try:
            await target.write(writer, b"".join(map(frame, first)))
            for name in itertools.islice(names, _ROOMS):
                if not reading.done():
                    await target.write(writer, frame(enter.format(room=name)))
            # Until the relay has read them: a connection has no more rooms than `rooms-per-connection`.
            await asyncio.wait({reading}, timeout=0.5)
        finally:
            reading.cancel()
            writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_enter_rooms(target, number) for number in range(_CONNECTIONS)))


ATTACK = Attack(
    name="gateway-rooms",
    says="New rooms by XMPP, SIP, SignalR and Firebase, without a pause and without a goodbye.",
    run=run,
)
