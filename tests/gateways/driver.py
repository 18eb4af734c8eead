"""The interface by which the behaviour table drives a client of any gateway, and the events that it reads."""

from dataclasses import dataclass
from typing import Any, Final, Protocol

from tests.fleet import Json, Relay

BAD_FRAME: Final = object()
"""Sent in place of data: the driver sends bytes that no client of its protocol sends."""

INFO: Final = {"name": "é ☃", "muted": False}
"""The member info with which a driver enters whose protocol has it."""


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """The differences between protocols. Every test of the table asserts both cases: that it can, and that it cannot.

    `held`: the relay holds the membership of a lost client. `resume`: the client gets it back, with all that it missed.
    `direct`: the client sends to one member. `presence`: it gets joins and leaves. `info`: the member info with which
    it enters; None where its protocol has none. `survives_bad_frame`: a frame that cannot be read gets an error, and
    does not end the connection. `channel`: the only channel whose messages such a client gets; "" if it gets all.
    `refusal_named`: a client that may not enter gets the code of the error. `url_token`: its token can only be in the
    query. `refresh`: it can send a newer token over the connection.
    """

    held: bool = False
    resume: bool = False
    direct: bool = False
    presence: bool = False
    info: Json | None = None
    survives_bad_frame: bool = False
    channel: str = ""
    refusal_named: bool = True
    url_token: bool = False
    refresh: bool = False


class NotAdmitted(Exception):
    """The relay does not let the client into the room; `code` is "" where the protocol has no place for it."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Opened:
    """A client is in the room; `peer` is "" where its protocol does not say its peer id."""

    peer: str
    resumed: bool


@dataclass(frozen=True)
class Heard:
    """A message; `sender` is "" where the protocol does not name it."""

    data: Any
    sender: str = ""


@dataclass(frozen=True)
class Refused:
    """An error of the relay."""

    code: str


@dataclass(frozen=True)
class Arrived:
    """Another member has joined."""

    peer: str


@dataclass(frozen=True)
class Departed:
    """Another member has left."""

    peer: str


@dataclass(frozen=True)
class Closed:
    """The relay has closed the connection, or it was lost."""


Event = Heard | Refused | Arrived | Departed | Closed


class ClientDriver(Protocol):
    """One client of one protocol, which speaks the wire by itself."""

    can: Capabilities
    token: str
    """Where the protocol carries one, each connection that is opened has this token; "" for none."""

    async def open(self, relay: Relay, room: str) -> Opened:
        """Connect, and enter a room. After `drop` or `Closed`: come back as this protocol's clients do.

        Raises `NotAdmitted` if the relay refuses the client.
        """
        ...

    async def send(self, data: Any, *, to: str = "") -> None:
        """Send JSON data to the room; with `to`, to one member, as far as the protocol can say so."""
        ...

    async def refresh(self, token: str) -> None:
        """Send a newer token over the connection, where `can.refresh`."""
        ...

    async def next(self) -> Event:
        """Return the next event, within ten seconds."""
        ...

    async def close(self) -> None:
        """Leave, and close the connection, as a page does that is closed."""
        ...

    async def drop(self) -> None:
        """Lose the connection without a goodbye."""
        ...
