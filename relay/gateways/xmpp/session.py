"""The session of a client of XMPP: it routes stanzas to rooms, to occupants and to the relay itself."""

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, Final

from relay.gateways.base.costs import JOIN_COST, extra_cost
from relay.gateways.base.room_control import control
from relay.gateways.base.session import WebSocketSession
from relay.gateways.xmpp import stanzas
from relay.gateways.xmpp.codec import Received
from relay.gateways.xmpp.envelopes import iq_of, message_of
from relay.gateways.xmpp.errors import BadStanza, XmppRefused
from relay.gateways.xmpp.jids import CONFERENCE, Jid, peer_of, room_of
from relay.gateways.xmpp.managed_session import ManagedXmppStream
from relay.gateways.xmpp.namespaces import DISCO_ITEMS, MUC, PING
from relay.gateways.xmpp.occupancies import join_of
from relay.gateways.xmpp.reading import Document, Element
from relay.gateways.xmpp.requests import (
    MOST_ITEMS,
    answer_of_room,
    answer_of_server,
    control_of,
    is_for_service,
    payload,
)
from relay.identity.grants import Right
from relay.model.commands import AskPresence, Publish
from relay.model.errors import Refused, RelayError
from relay.model.publication import Receipt

MAX_ID: Final = 255
"""Characters of the id of a stanza, which is kept while an answer is awaited."""

_TO_ONE: Final = frozenset({"", "normal", "chat", "headline"})


class XmppSession(ManagedXmppStream):
    """Serves the stanzas of one client."""

    __slots__ = ()

    def _route(self, command: Received) -> Coroutine[Any, Any, None] | None:
        document = command.document
        stanza = document.root
        if not command.is_stanza:
            raise BadStanza("bad_stanza", "after the bind, there are stanzas", condition="unsupported-stanza-type")
        if len(stanza.get("id")) > MAX_ID:
            raise XmppRefused("bad_stanza", f"the id of a stanza has at most {MAX_ID} characters")
        to = Jid.parse(stanza.get("to")) if stanza.get("to") else None
        if to is not None and to.domain not in {self._domain, CONFERENCE + self._domain}:
            raise XmppRefused("unknown_domain")
        match stanza.name:
            case "iq":
                return self._iq(document, to)
            case "presence":
                return self._presence(stanza, to)
            case _:
                self._message(document, to)
        return None

    def _is_room(self, to: Jid | None) -> bool:
        return to is not None and to.domain == CONFERENCE + self._domain and bool(to.local)

    # Presence.

    def _presence(self, stanza: Element, to: Jid | None) -> Coroutine[Any, Any, None] | None:
        kind = stanza.get("type")
        if to is None or not self._is_room(to):
            # To all contacts, of which there are none; but rooms are left by it.
            return self._leave_all() if kind == "unavailable" and to is None else None
        room = room_of(to.local)
        if kind == "unavailable":
            return self._occupancies.leave(room, stanza.get("id"))
        if kind:
            return None
        if not to.resource:
            raise XmppRefused("bad_jid", "the address names a nick: ROOM@conference.DOMAIN/NICK")
        peer = peer_of(to.resource)
        if stanza.child("x", MUC) is None and self._occupancies.of(room).peer != peer:
            # A change of the nick is a join; one with an `x` has been counted as such.
            self._spend(JOIN_COST)
        return self._occupancies.enter(room, peer, stanza, join_of(room, peer, stanza))

    async def _leave_all(self) -> None:
        for room in [*self._occupancies.rooms]:
            await self._occupancies.leave(room, "")

    # Messages.

    def _message(self, document: Document, to: Jid | None) -> None:
        kind = document.root.get("type")
        if kind == "error":
            return
        if to is None or not self._is_room(to):
            raise XmppRefused("not_served", "messages go to rooms and their occupants")
        room = room_of(to.local)
        self._occupancies.of(room)
        if not to.resource and kind == "groupchat":
            self._send_to_room(document, message_of(document, room))
        elif to.resource and kind in _TO_ONE:
            self._send_to_room(document, message_of(document, room, peer_of(to.resource)))
        else:
            raise XmppRefused("bad_stanza", "a message to all has the type groupchat, and one to an occupant has not")

    def _send_to_room(self, document: Document, publish: Publish) -> None:
        """Publish a stanza; an error about it comes back as one about the stanza."""
        if self._guard is not None:
            self._guard.check(publish, "")
        command = Received(document)
        self._publish_by(self._rooms.member(publish.room), publish, partial(self._sent, command.about, command.key))

    def _sent(self, about: str, key: str, outcome: Receipt | RelayError) -> None:
        if isinstance(outcome, RelayError) and not self._ended:
            self._send_error(outcome, about=about, key=key)

    # IQs.

    def _iq(self, document: Document, to: Jid | None) -> Coroutine[Any, Any, None] | None:
        stanza, kind = document.root, document.root.get("type")
        if kind in {"result", "error"}:
            if to is not None and self._is_room(to) and to.resource and stanza.get("id"):
                self._forward(document, room_of(to.local), peer_of(to.resource))
            return None
        asked = payload(stanza)
        if to is None or is_for_service(to, self._domain):
            self._answer(stanza, answer_of_server(asked, kind, to))
            return None
        room = room_of(to.local)
        if not to.resource:
            return self._ask_room(stanza, asked, room)
        occupancy = self._occupancies.of(room)
        if peer_of(to.resource) == occupancy.peer and asked.namespace == PING:
            # XEP-0410: a client asks whether it is in the room still.
            self._answer(stanza, "")
            return None
        self._occupancies.ask(room, peer_of(to.resource), stanza.get("id"))
        self._forward(document, room, peer_of(to.resource))
        return None

    def _forward(self, document: Document, room: str, peer: str) -> None:
        self._send_to_room(document, iq_of(document, room, peer))

    async def _ask_room(self, stanza: Element, asked: Element, room: str) -> None:
        kind = stanza.get("type")
        occupants: Sequence[str] = ()
        if not self._sees(room):
            raise Refused("not_granted", room=room)
        if asked.namespace == DISCO_ITEMS and self._sees_names(room):
            # The length of the list is not known before.
            self._spend(extra_cost(AskPresence(limit=MOST_ITEMS)))
            roster = await self._worker.roster(room, MOST_ITEMS)
            occupants = [one.peer for one in roster.members]
        answer = answer_of_room(asked, kind, self._encoder.room(room), occupants)
        if answer is None:
            command = control_of(asked, room, peer_of)
            if command is not None:
                self._spend(extra_cost(command))
                await control(command, self._rooms, self._worker, self._guard, self.ticket.address)
            answer = ""
        self._answer(stanza, answer)

    def _sees(self, room: str) -> bool:
        return self._guard is None or self._guard.allows(Right.PRESENCE, room) or self._rooms.is_in(room)

    def _sees_names(self, room: str) -> bool:
        """Whether the client may read the names of the occupants: it is one of them, or has a token for that."""
        if self._rooms.is_in(room):
            return True
        guard = self._guard
        return guard is not None and not guard.grants.anonymous and guard.allows(Right.PRESENCE, room)

    def _spend(self, messages: float) -> None:
        (self._pace or self._make_pace()).spend(messages)

    def _answer(self, stanza: Element, content: str) -> None:
        self.send(stanzas.result(stanza.get("id"), stanza.get("to"), content))


class XmppSocketSession(XmppSession, WebSocketSession):
    """The session of a client that has a WebSocket to itself."""

    __slots__ = ()

    def disconnected(self, code: int, relay_closed: str | None) -> "asyncio.Future[None] | None":
        """End the session; a page that is left or loaded anew closes its socket, and may resume its stream."""
        return super().disconnected(1006 if self._shown.resumable and relay_closed is None else code, relay_closed)
