"""How a client enters a room by its handshake, comes back to the place that it had, or leaves it from any worker."""

import uuid
from typing import Final

from msgspec import structs
from starlette.types import Scope

from relay.gateways.base.admission import admit
from relay.gateways.base.credentials import read_token
from relay.gateways.base.http_place import HttpPlace, PlaceQuery
from relay.gateways.base.join_request import CodecPair, JoinRequest, ResumeClaim
from relay.gateways.base.leaving import leave
from relay.gateways.websync.client_ids import client_id, peer_id, resume_key, session_id
from relay.gateways.websync.declaration import NAME, TOKENS
from relay.gateways.websync.errors import WebSyncRefused
from relay.gateways.websync.messages import ClientMessage
from relay.gateways.websync.replies import LONG_POLLING
from relay.gateways.websync.session import WebSyncSession, ended
from relay.gateways.websync.state import state_of
from relay.gateways.websync.subscribers import write_info
from relay.http_request import counted_client
from relay.model.codec import Frame
from relay.model.commands import Tracking
from relay.model.errors import Refused
from relay.rooms.worker import Worker
from relay.session_ids import BadSessionId

_LOST: Final = frozenset({"not_joined", "peer_taken", "superseded", "wrong_peer"})
"""Error codes for a client that cannot have its earlier place: it gets a new one."""

_NO_STATE: Final = write_info({}, {})
"""The info with which a client enters: others see that it speaks WebSync, and is on no channel yet."""


class Entrance:
    """The entrance of the client of one request; `shared` is the channel that WebSync pages share with others."""

    def __init__(self, scope: Scope, query: PlaceQuery, codecs: CodecPair[Frame], shared: str) -> None:
        self._scope = scope
        self._query = query
        self._codecs = codecs
        self._shared = shared
        self._token = query.token
        self._worker: Worker = scope["state"]["worker"]
        self._state = state_of(scope)

    async def enter(self, handshake: ClientMessage) -> tuple[str, str]:
        """Begin a session, in the place of an earlier one if there is one; returns the client and session ids.

        Raises `Refused`.
        """
        types = handshake.supported_connection_types
        if types is not None and LONG_POLLING not in types:
            raise WebSyncRefused("no_common_connection_type")
        self._token = read_token(self._scope, TOKENS, handshake.text("token"))
        session = await self._come_back(handshake) or await self._begin(await self._any_peer())
        return client_id(session.place.peer), session_id(session.place.resume)

    async def leave(self, place: HttpPlace) -> None:
        """Leave with the place of a client whose worker is gone; raises `Refused`."""
        await leave(self._worker, place, counted_client(self._scope), arrived=self._query.arrived)

    async def _come_back(self, handshake: ClientMessage) -> WebSyncSession | None:
        """Begin a session in the client's earlier place; None if it has none, or cannot have it. Raises `Refused`."""
        before = self._earlier_place(handshake)
        if before is None:
            return None
        self._end(before)
        try:
            return await self._begin(before.peer, before)
        except Refused as error:
            if error.code not in _LOST:
                raise
            # A place that has ended is free for its client again.
            return await self._begin(before.peer) if error.code == "not_joined" else None

    def _earlier_place(self, handshake: ClientMessage) -> HttpPlace | None:
        """Return the place that the client had, as it says; only a session id of this fleet counts."""
        try:
            key = resume_key(handshake.text("fm.lsid"))
            self._worker.session_ids.owner(key)
            return HttpPlace(self._query.place.room, peer_id(handshake.text("fm.lcid")), key)
        except (BadSessionId, Refused):
            return None

    def _end(self, place: HttpPlace) -> None:
        """End the earlier session, if it is here: its place is held from now on. Raises `Refused` after an end."""
        session = self._state.sessions.get(place.name)
        if session is not None:
            session.lost()
        reason = self._state.ends.take(place.name)
        if reason is not None:
            raise ended(reason)

    async def _any_peer(self) -> str:
        grants = await self._worker.identify(self._token, counted_client(self._scope))
        asked = self._query.place.peer
        return asked or self._new_peer() if grants is None else grants.peer(asked, self._new_peer)

    def _new_peer(self) -> str:
        return str(uuid.UUID(bytes=self._worker.random.secret(16), version=4))

    async def _begin(self, peer: str, before: HttpPlace | None = None) -> WebSyncSession:
        place = HttpPlace(self._query.place.room, peer, self._worker.session_ids.issue())
        request = self._request(place, before)
        state = self._state
        with admit(self._scope, NAME) as ticket:
            session = WebSyncSession(state.sessions, self._codecs, ticket, place, self._shared, state.ends)
        ticket.metrics.handshakes += 1
        await session.enter(lambda: request)
        session.check_joined()
        return session

    def _request(self, place: HttpPlace, before: HttpPlace | None) -> JoinRequest:
        """Return the request for a place; a client that had one resumes it, and has another key from then on."""
        request = structs.replace(
            self._query.join_request(None),
            peer=place.peer,
            resume=place.resume,
            own_key=True,
            info=_NO_STATE,
            # Every client hears its own publications; pages drop them themselves.
            echo=True,
            presence=True,
            tracking=Tracking.ACKNOWLEDGED,
            token=self._token,
        )
        if before is None:
            return request
        claim = ResumeClaim(before.room, before.peer, before.resume, None)
        return structs.replace(request, next_key=place.resume, claim=claim, resume_only=True, info=b"")
