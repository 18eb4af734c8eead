"""The client protocol of each system as templates for the load generator (load/load.c)."""

from dataclasses import dataclass, field

__all__ = ["CENTRIFUGE", "NCHAN", "RELAY", "RELAY_ECHO", "SOCKETIO", "Y_WEBRTC", "Y_WEBRTC_ECHO", "Dialect", "plain"]

ENVELOPE = '{"sender":"c{client}","channel":"bench","message":"{mark}{pad}"}'


@dataclass(frozen=True, slots=True)
class Dialect:
    """The frames with which a client joins a room and publishes there.

    `script` runs after the upgrade: ("send", text) or ("await", part of a text). `reply` answers a text that arrives.
    With `echo` the sender hears itself as well, so a message in a room of M makes M deliveries and not M - 1.
    """

    path: str
    publish: str = ENVELOPE
    script: tuple[tuple[str, str], ...] = ()
    reply: str = ""
    echo: bool = field(default=False, kw_only=True)

    def arguments(self) -> list[str]:
        """The load generator's options for this dialect."""
        options = ["--path", self.path, "--publish", self.publish]
        for verb, text in self.script:
            options += [f"--{verb}", text]
        if self.reply:
            options += ["--reply", self.reply]
        return options + ["--echo"] * self.echo


def plain(path: str, *, echo: bool = False) -> Dialect:
    """A WebSocket whose address contains the room and whose frames are the messages."""
    return Dialect(path, echo=echo)


RELAY = Dialect("/rooms/bench{room}", script=(("await", '"welcome"'),))

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
