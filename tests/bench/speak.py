"""The client protocol of each system as templates for the load generator (load/load.c)."""

from dataclasses import dataclass, field, replace

__all__ = [
    "CENTRIFUGE",
    "HTTP",
    "NCHAN",
    "PEERJS",
    "RELAY",
    "RELAY_ACK",
    "RELAY_ECHO",
    "RTCMULTICONNECTION",
    "SIGNALR",
    "SIGNALR_INVOKE",
    "SOCKETIO",
    "Y_WEBRTC",
    "Y_WEBRTC_ECHO",
    "Dialect",
    "plain",
]

ENVELOPE = '{"sender":"c{client}","channel":"bench","message":"{mark}{pad}"}'


@dataclass(frozen=True, slots=True)
class Dialect:
    """The frames with which a client joins a room and publishes there.

    `script` runs after the upgrade: ("send", text) or ("await", part of a text). `reply` answers a text that arrives.
    With `echo` the sender hears itself as well, so a message in a room of M makes M deliveries and not M - 1. With
    `post`, the client hears over an event stream, and posts its messages to this path. With `in_turn`, a client
    connects when the one before it has joined: the first member of a room opens it (`{verb}`), and the others join.
    """

    path: str
    publish: str = ENVELOPE
    script: tuple[tuple[str, str], ...] = ()
    reply: str = ""
    post: str = ""
    echo: bool = field(default=False, kw_only=True)
    in_turn: bool = field(default=False, kw_only=True)

    def heard(self, members: int) -> int:
        """The number of deliveries with which a message has reached everybody else in a room, its echo included."""
        return members if self.echo else members - 1

    def arguments(self) -> list[str]:
        """The load generator's options for this dialect."""
        options = ["--path", self.path, "--publish", self.publish]
        for verb, text in self.script:
            options += [f"--{verb}", text]
        if self.reply:
            options += ["--reply", self.reply]
        if self.post:
            options += ["--post", self.post]
        return options + ["--echo"] * self.echo


def plain(path: str, *, echo: bool = False) -> Dialect:
    """A WebSocket whose address contains the room and whose frames are the messages."""
    return Dialect(path, echo=echo)


RELAY = Dialect("/rooms/bench{room}", script=(("await", '"welcome"'),))

# A message with a key is acknowledged, and the relay remembers the key.
RELAY_ACK = replace(RELAY, publish=ENVELOPE[:-1] + ',"key":"{stamp}"}')

RELAY_ECHO = Dialect("/rooms/bench{room}?echo=1", script=RELAY.script, echo=True)

NCHAN = Dialect("/rooms/bench{room}", echo=True)

SOCKETIO = Dialect(
    "/socket.io/?EIO=4&transport=websocket&room=bench{room}",
    publish='42["message",' + ENVELOPE + "]",
    script=(("await", '"pingInterval"'), ("send", "40"), ("await", '{"sid"')),
    reply="2=3",
)

Y_WEBRTC = Dialect(
    "/",
    publish='{"type":"publish","topic":"bench{room}","data":' + ENVELOPE + "}",
    script=(
        ("send", '{"type":"subscribe","topics":["bench{room}"]}'),
        # Nothing confirms a subscription. Both servers read the commands of a client in turn.
        ("send", '{"type":"ping"}'),
        ("await", '"pong"'),
    ),
)

Y_WEBRTC_ECHO = Dialect(Y_WEBRTC.path, Y_WEBRTC.publish, Y_WEBRTC.script, echo=True)

# Every message is for the other one of two peers; all peers are in one list of ids.
PEERJS = Dialect(
    "/peerjs?key=peerjs&id=c{client}&token=token-of-c{client}&version=1.5.5",
    publish='{"type":"CANDIDATE","payload":{"candidate":"{mark}{pad}","type":"data","connectionId":"dc_{room}"},'
    '"dst":"c{next}"}',
    script=(("await", '"OPEN"'),),
)

# As a page's `openOrJoin`; afterwards every message is for the other one of two members.
RTCMULTICONNECTION = Dialect(
    "/socket.io/?EIO=4&transport=websocket&userid=c{client}&sessionid=bench{room}&msgEvent=RTCMultiConnection-Message"
    "&socketCustomEvent=RTCMultiConnection-Custom-Message&autoCloseEntireSession=false&maxParticipantsAllowed=1000"
    "&extra=%7B%7D",
    publish='42["RTCMultiConnection-Message",{"remoteUserId":"c{next}","message":{"candidate":"{mark}{pad}",'
    '"sdpMid":"0","sdpMLineIndex":0},"sender":"c{client}"}]',
    script=(
        ("await", '"pingInterval"'),
        ("send", "40"),
        ("await", '{"sid"'),
        ("send", '420["check-presence","bench{room}"]'),
        ("await", "430["),
        (
            "send",
            '421["{verb}-room",{"sessionid":"bench{room}","session":{"data":true},"mediaConstraints":{},'
            '"sdpConstraints":{},"streams":[],"extra":{},"identifier":"","password":""}]',
        ),
        ("await", "431[true"),
        (
            "send",
            '42["RTCMultiConnection-Message",{"remoteUserId":"bench{room}","message":{"newParticipationRequest":true,'
            '"isOneWay":false,"isDataOnly":true},"sender":"c{client}"}]',
        ),
    ),
    reply="2=3",
    in_turn=True,
)

HTTP_PLACE = "peer=c{client}&resume=key-of-the-client-c{client}"
HTTP = Dialect(
    "/rooms/bench{room}/events?" + HTTP_PLACE,
    script=(("await", "event: welcome"),),
    post="/rooms/bench{room}/messages?" + HTTP_PLACE,
)

_SIGNALR_CALL = '{"arguments":[' + ENVELOPE + "]%s" + ',"target":"Send","type":1}\x1e'

# As @microsoft/signalr without negotiation. `send` makes a call without an id, which has no answer.
SIGNALR = Dialect(
    "/rooms/bench{room}/signalr?presence=0",
    publish=_SIGNALR_CALL % "",
    script=(("send", '{"protocol":"json","version":1}\x1e'), ("await", "{}\x1e")),
)

# `invoke` makes a call with an id, which is answered when the message has been delivered.
SIGNALR_INVOKE = replace(SIGNALR, publish=_SIGNALR_CALL % ',"invocationId":"0"')


CENTRIFUGE = Dialect(
    "/connection/websocket",
    publish='{"id":3,"publish":{"channel":"bench{room}","data":' + ENVELOPE + "}}",
    script=(
        ("send", '{"id":1,"connect":{}}'),
        ("await", '"connect"'),
        ("send", '{"id":2,"subscribe":{"channel":"bench{room}"}}'),
        ("await", '"id":2'),
    ),
    reply="{}={}",
    echo=True,
)
