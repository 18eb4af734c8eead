"""Writes the relay's events for SimpleWebRTC."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw, Struct

from relay.gateways.socketio.apps.application import Acknowledgement, OutgoingPacket, reply_to
from relay.gateways.socketio.apps.control import control_event
from relay.gateways.socketio.apps.signalmaster.requests import CHANNEL, SEND
from relay.gateways.socketio.apps.signalmaster.resources import Resources, read_resources
from relay.gateways.socketio.encoders import OutgoingEvent
from relay.model import events
from relay.model.ice import IceOffer, IceServer
from relay.model.names import unescape

_KNOWN: Final[Mapping[str, str]] = {"room_full": "full", "room_exists": "taken"}
"""The two errors that pages of SignalMaster know, by the relay's codes; a page shows any other text as it is."""

_UNREAD: Final = "bad_event"
"""The code of an event that cannot be read. Its callback is never called, as by SignalMaster."""

_json = msgspec.json.Encoder()


class PageEvent(NamedTuple):
    """An event for a page, with its one argument."""

    name: str
    value: object


class _Carried(Struct):
    """The part of an envelope that is an event `message` of SimpleWebRTC."""

    message: dict[str, Raw]


_carried = msgspec.json.Decoder(_Carried)


def write(event: events.Event) -> Sequence[OutgoingPacket]:
    """Write an event of the relay; there are no packets for most of them."""
    writer = _WRITERS.get(type(event))
    return writer(event) if writer is not None else ()


def callback_error(code: str) -> str:
    """Return the first argument of a callback for an error."""
    return _KNOWN.get(code, code)


def error_event(code: str, text: str) -> PageEvent:
    """Return the event for an error that no callback tells the page."""
    return PageEvent("error", {"code": code, "text": text})


def remove(peer: str, kind: str = "") -> PageEvent:
    """Return the event by which a page ends its calls with a peer, or only those of this kind."""
    fields = {"id": unescape(peer)}
    return PageEvent("remove", fields | {"type": kind} if kind else fields)


def servers(offer: IceOffer | None) -> Sequence[PageEvent]:
    """Return the STUN and TURN servers of a client; nothing if it has none, so that the page keeps its own.

    The first event replaces the servers of the page, and the second adds to them.
    """
    if offer is None:
        return ()
    stun = [{"urls": one.urls} for one in offer.servers if not one.username]
    turn = [_turn(one) for one in offer.servers if one.username]
    return (PageEvent("stunservers", stun), PageEvent("turnservers", turn))


def _turn(server: IceServer) -> dict[str, object]:
    urls = [server.urls] if isinstance(server.urls, str) else server.urls
    return {"username": server.username, "credential": server.credential, "urls": urls}


def _message(message: events.Message) -> Sequence[OutgoingPacket]:
    """Write a message of SimpleWebRTC as one, and any other envelope as the event `relay`.

    The library takes a `message` from an unknown sender for a call. So no other envelope may become one.
    """
    if message.channel == CHANNEL:
        try:
            fields: dict[str, object] = {**_carried.decode(message.envelope).message}
        except msgspec.ValidationError:
            pass
        else:
            if len(message.to) == 1:
                fields["to"] = unescape(message.to[0])
            return (_packet("message", fields | {"from": unescape(message.sender)}),)
    return (OutgoingEvent(b'"%b"' % SEND.encode(), [message.body + b"}"]),)


def _presence(change: events.PresenceChange) -> Sequence[OutgoingPacket]:
    """Write the leaves. Nobody is told of a newcomer, which calls the others."""
    return [_packet(*remove(peer)) for peer in change.left]


def callable_members(welcome: events.Welcome) -> Mapping[str, Resources]:
    """Return the members that a newcomer can call; one that is held has lost its calls with its connection."""
    members = welcome.roster.members if welcome.roster is not None else ()
    found = ((one.peer, read_resources(one.info)) for one in members if not one.held and one.peer != welcome.peer)
    return {peer: resources for peer, resources in found if resources is not None}


def _failure(failure: events.Failure) -> Sequence[OutgoingPacket]:
    """Call the callback with the error, or emit the event `error` if there is no callback."""
    asked = reply_to(failure.key)
    if asked is not None and asked.number and failure.code != _UNREAD:
        return (Acknowledgement(asked.number, [callback_error(failure.code)]),)
    return (_packet(*error_event(failure.code, failure.text)),)


def _servers(renewed: events.IceRenewed) -> Sequence[OutgoingPacket]:
    return [_packet(*event) for event in servers(renewed.ice)]


def _token_expiring(expiring: events.TokenExpiring) -> Sequence[OutgoingPacket]:
    return (_packet("relay:token-expiring", {"in": round(expiring.seconds, 2)}),)


def _notice(event: events.RoomNotice) -> Sequence[OutgoingPacket]:
    return (control_event(event),)


def _packet(name: str, value: object) -> OutgoingEvent:
    return OutgoingEvent(b'"%b"' % name.encode(), [_json.encode(value)])


_WRITERS: Final[Mapping[type[events.Event], Callable[[Any], Sequence[OutgoingPacket]]]] = {
    events.Message: _message,
    events.PresenceChange: _presence,
    events.IceRenewed: _servers,
    events.Failure: _failure,
    events.TokenExpiring: _token_expiring,
    **dict.fromkeys((events.RulesChanged, events.Kicked, events.RoomClosed, events.Moved), _notice),
}
