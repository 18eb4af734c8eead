"""Reads the requests of SignalR clients: their query, and the forms in their bodies."""

import re
from collections.abc import Mapping
from typing import Annotated, Final
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta, Struct
from starlette.types import Scope

from relay.gateways.base.credentials import read_password, read_token
from relay.gateways.base.http_place import HttpPlace
from relay.gateways.base.join_request import JoinRequest
from relay.gateways.base.query import parse_since
from relay.gateways.base.websocket import arrival
from relay.gateways.signalrclassic.declaration import TOKENS
from relay.gateways.signalrclassic.hubs import ClassicHub, ClassicHubs
from relay.gateways.signalrclassic.tokens import ConnectionTokens
from relay.http_request import read_query
from relay.model.envelope import MessageId
from relay.model.errors import Refused
from relay.model.names import escape_peer, escape_room
from relay.model.rules import MAX_PASSWORD
from relay.paths import room_in
from relay.rooms.worker import Worker

MAX_HUBS: Final = 64
MAX_FIELDS: Final = 16

_VERSION: Final = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})", re.ASCII)
_OLDEST, _NEWEST = (1, 2), (2, 0)
"""Versions of the protocol: clients of 2.0 and 2.1 take the answer 2.0, and any other only its own version."""


class _NamedHub(Struct):
    name: Annotated[str, Meta(max_length=256)] = ""


_named_hubs: Final = msgspec.json.Decoder(Annotated[list[_NamedHub], Meta(max_length=MAX_HUBS)] | None)


class ClassicRequest:
    """One request; every method raises `Refused` for a value that is not allowed.

    The last parameter of a name counts. Those of the page (`$.connection.hub.qs`) are among them: `room`, `peer`,
    `token` and `password`.
    """

    def __init__(self, scope: Scope, default_room: str) -> None:
        self._scope = scope
        self._default_room = default_room
        self.query: Mapping[str, str] = dict(read_query(scope))
        self.worker: Worker = scope["state"]["worker"]
        self.tokens = ConnectionTokens(self.worker.fleet_key, self.worker.session_ids)

    @property
    def room(self) -> str:
        """The escaped name of the room: that of the path, else of the query, else the default room."""
        named = self.query.get("room", "")
        if "room" not in self._scope["path_params"]:
            return escape_room(named) if named else self._default_room
        room = room_in(self._scope)
        if named and escape_room(named) != room:
            raise Refused("bad_query", f"the path names the room {room}, and the parameter room another; leave it out")
        return room

    @property
    def peer(self) -> str:
        """The escaped peer id that the page asks for, "" for any: it gets no place that another connection has."""
        asked = self.query.get("peer", "")
        return escape_peer(asked) if asked else ""

    @property
    def token(self) -> str:
        """The client's own token, "" for none."""
        return read_token(self._scope, TOKENS)

    @property
    def version(self) -> tuple[int, int]:
        """The version of the protocol for the answer to `/negotiate`."""
        found = _VERSION.fullmatch(self.query.get("clientProtocol", ""))
        asked = (int(found[1]), int(found[2])) if found else _OLDEST
        return max(_OLDEST, min(asked, _NEWEST))

    def place(self) -> HttpPlace:
        """Return the place that the connection token proves."""
        return self.tokens.read(self.query.get("connectionToken", ""), self.room)

    def hubs(self, known: ClassicHubs) -> tuple[ClassicHub, ...]:
        """Return the hubs for which the page has functions."""
        text = self.query.get("connectionData", "")
        try:
            found = _named_hubs.decode(text.encode()) if text else None
        except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
            raise Refused("bad_query", "connectionData is a list of objects with a name") from None
        return known.named(hub.name for hub in found or ())

    def since(self, form: Mapping[str, str] | None = None) -> MessageId | None:
        """Return the cursor of the client, which polls have in a form; None if it has none yet."""
        return parse_since((form or {}).get("messageId", "") or self.query.get("messageId", ""))

    def join_request(self, place: HttpPlace, since: MessageId | None) -> JoinRequest:
        """Return the request of a client that takes its place, or comes back and has all up to an id."""
        password: str = self.query.get("password", "")
        if len(password) > MAX_PASSWORD:
            raise Refused("bad_password", f"a password has at most {MAX_PASSWORD} characters")
        return JoinRequest(
            room=place.room,
            peer=place.peer,
            resume=place.resume,
            since=since,
            # `Clients.All` has the caller among them.
            echo=True,
            presence=False,
            arrived=arrival(self._scope),
            token=self.token,
            password=password or read_password(self._scope),
            own_key=True,
        )


def read_form(body: bytes) -> Mapping[str, str]:
    """Return the fields of a URL-encoded form; raises `Refused` (`bad_body`)."""
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS))
    except ValueError:
        raise Refused("bad_body", f"the form is not UTF-8, or has more than {MAX_FIELDS} fields") from None
