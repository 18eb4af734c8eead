"""The codecs of hub connections: invocations become commands, and events the calls of client methods.

A message is written once for all members of a room with the same protocol.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from relay.gateways.base.event_fields import event_fields
from relay.gateways.base.join_request import CodecPair
from relay.gateways.signalr.errors import InvocationRefused
from relay.gateways.signalr.messages import INVOCATION, STREAM_INVOCATION, HubMessage
from relay.gateways.signalr.methods import HubMethods
from relay.gateways.signalr.protocols import ACCEPTED, PROTOCOLS, HubProtocol
from relay.gateways.signalr.settings import SignalRSettings
from relay.model import events
from relay.model.codec import NOTHING, Codec, Frame
from relay.model.commands import Command, GatewayCommand
from relay.model.envelope import MessageId
from relay.model.errors import BadFrame

_json: Final = msgspec.json.Encoder().encode
_OF_ANSWERS: Final = frozenset({"type", "key", "resume", "iceServers"})
"""Fields that the result of an invocation does not have."""


class RoomEventFrame(Frame):
    """An event of the client's own room; a client that has it has the room's events up to `id`."""

    __slots__ = ("id",)

    def __init__(self, data: bytes, message_id: MessageId, *, is_text: bool) -> None:
        # As `Frame` does, in one call less.
        self.data = data
        self.is_text = is_text
        self._text = self._wire = None
        self.id = message_id


class Ignored(GatewayCommand):
    """A message that changes nothing: a ping, an item of a stream that was refused."""

    __slots__ = ()

    about = "message"


IGNORED: Final = Ignored()


class _Call(Struct):
    event: str = ""
    args: list[Raw] | None = None


_call = msgspec.json.Decoder(_Call)


class SignalRCodec:
    """The `Codec` of one protocol; frames of a `tagged` one name their room, which is not the client's own.

    A welcome of one that `greets` is the answer to a handshake.
    """

    def __init__(self, protocol: HubProtocol, methods: HubMethods, target: str, *, tagged: bool, greets: bool) -> None:
        self._protocol = protocol
        self._methods = methods
        self._target = target
        self._tagged = tagged
        self._greets = greets
        self.key = f"signalr {protocol.name}{' room' if tagged else ''}"

    def decode(self, incoming: Frame) -> Command:
        """Read a message."""
        if not isinstance(incoming, HubMessage):
            raise BadFrame("bad_packet")
        if incoming.kind == INVOCATION:
            return self._methods.command(incoming)
        if incoming.kind == STREAM_INVOCATION:
            raise InvocationRefused("streams_unsupported", about="stream", key=incoming.invocation)
        return IGNORED

    def encode(self, event: events.Event) -> Frame:
        """Write an event."""
        if isinstance(event, events.Message):
            return self._frame(self._message(event), event.id)
        if isinstance(event, events.PresenceChange):
            return self._frame(self._presence(event), event.id)
        data = self._other(event)
        return self._frame(data) if data else NOTHING

    def _frame(self, data: bytes, position: MessageId | None = None) -> Frame:
        is_text = self._protocol.is_text
        if position is None or self._tagged:
            return Frame(data, is_text=is_text)
        return RoomEventFrame(data, position, is_text=is_text)

    def _message(self, message: events.Message) -> bytes:
        targets = self._methods.targets
        if targets and b'"event"' in message.body:
            call = self._called(message.envelope)
            if call is not None and call.event in targets and call.args is not None:
                return self._protocol.invocation(call.event, [bytes(one) for one in call.args])
        # The body is the envelope up to its closing brace, with `from` and `id`.
        room = b',"room":"%b"}' % message.room.encode("ascii") if self._tagged else b"}"
        return self._protocol.invocation(self._target, [message.body + room])

    @staticmethod
    def _called(envelope: bytes) -> _Call | None:
        try:
            return _call.decode(envelope)
        except msgspec.MsgspecError:
            return None

    def _presence(self, change: events.PresenceChange) -> bytes:
        room = _json(change.room)

        def call(target: str, peer: str) -> bytes:
            info = change.info.get(peer)
            told = [info or b"null"] if info is not None else []
            return self._protocol.invocation(target, [_json(peer), room, *told])

        calls = [call("joined", peer) for peer in change.joined]
        calls += [call("left", peer) for peer in change.left]
        calls += [call("changed", peer) for peer in change.changed]
        return b"".join(calls)

    def _other(self, event: events.ServerEvent) -> bytes:
        match event:
            case events.Ack():
                return self._answer(event.key, b'{"id":"%b"}' % event.id.encode())
            case events.Failure():
                return self._failure(event)
            case events.Welcome():
                return self._welcome(event)
            case events.PresenceList() | events.CurrentRules() | events.Done() | events.Refreshed():
                return self._answer(event.key, _json(_result(event))) or self._call_of(event)
            case events.LeftRoom() | events.InfoChanged() | events.Subscriptions():
                return self._answer(event.key, None)
            case events.IceRenewed():
                return self._protocol.invocation("iceServers", [_json(event.ice.servers)])
            case events.TokenExpiring():
                return self._protocol.invocation("tokenExpiring", [_json(round(event.seconds, 2))])
            case events.RulesChanged() | events.Kicked() | events.RoomClosed() | events.Moved():
                return self._protocol.invocation("roomEvent", [_json(event_fields(event, tagged=True))])
            case _:
                return b""

    def _answer(self, key: str, result: bytes | None) -> bytes:
        """Write the answer to an invocation; b"" if it wants none."""
        return self._protocol.completion(key, result) if key else b""

    def _call_of(self, event: events.ServerEvent) -> bytes:
        """Write the event that no invocation asked for."""
        if isinstance(event, events.PresenceList):
            return self._protocol.invocation("presence", [_json(_result(event))])
        if isinstance(event, events.Refreshed):
            return self._protocol.invocation("refreshed", [_json(_result(event))])
        return b""

    def _failure(self, failure: events.Failure) -> bytes:
        if failure.key:
            return self._protocol.completion(failure.key, error=error_text(failure.code, failure.text))
        fields = {"code": failure.code, "text": failure.text, **failure.detail}
        return self._protocol.invocation("error", [_json(fields | ({"room": failure.room} if self._tagged else {}))])

    def _welcome(self, welcome: events.Welcome) -> bytes:
        if welcome.key or self._tagged:
            return self._answer(welcome.key, _json(_result(welcome)))
        # Nothing may come before the answer to the handshake.
        data = ACCEPTED if self._greets else b""
        if welcome.ice is not None:
            data += self._protocol.invocation("iceServers", [_json(welcome.ice.servers)])
        if welcome.recovered is False:
            fields = {"code": "messages_lost", "text": "messages were missed while the connection was lost"}
            data += self._protocol.invocation("error", [_json(fields | {"reason": welcome.reason})])
        return data


def error_text(code: str, text: str) -> str:
    """Return an error as the one text that the protocol has for it."""
    return f"{code}: {text}"


def _result(event: events.ServerEvent) -> dict[str, Any]:
    fields = event_fields(event, tagged=True)
    return {name: value for name, value in fields.items() if name not in _OF_ANSWERS}


@dataclass(frozen=True, slots=True)
class HubCodecs(CodecPair[Frame]):
    """The codecs of a client until its handshake is answered; `later` is the one of its own room from then on."""

    later: Codec[Frame]


def codecs_of(settings: SignalRSettings) -> Mapping[str, HubCodecs]:
    """Make the codecs of each protocol, by its name."""
    methods = HubMethods(settings)

    def codec(protocol: HubProtocol, *, tagged: bool = False, greets: bool = False) -> SignalRCodec:
        return SignalRCodec(protocol, methods, settings.signalr_target, tagged=tagged, greets=greets)

    return {
        protocol.name: HubCodecs(codec(protocol, greets=True), codec(protocol, tagged=True), codec(protocol))
        for protocol in PROTOCOLS
    }
