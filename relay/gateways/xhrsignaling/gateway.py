"""`POST /Home/GetData` and `POST /Home/PostData`, in the default room and below `/rooms/NAME`.

A page asks again only after a response with status 200. So a poll gets one for all that may pass.
"""

import asyncio
from typing import Final

from msgspec import structs

from relay.config import Settings
from relay.gateways.base.admission import admit
from relay.gateways.base.cookies import is_same_origin
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.http import JSON, Headers, HttpBody, HttpExchange
from relay.gateways.base.http_place import HttpPlace, PlaceQuery, any_peer, forward_to_owner
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.passing import passes
from relay.gateways.base.polling_rules import PollAnswer
from relay.gateways.base.poster import Poster
from relay.gateways.xhrsignaling.codec import NO_ROW, RowCodec
from relay.gateways.xhrsignaling.declaration import NAME, TOKENS
from relay.gateways.xhrsignaling.form import MAX_FRAME, read_message
from relay.gateways.xhrsignaling.places import FoundPlace, cookie_of, place_in_cookie
from relay.gateways.xhrsignaling.session import HOLD, PlaceSession
from relay.gateways.xhrsignaling.state import XhrState, state_of
from relay.http_request import counted_client, header
from relay.model.codec import Frame
from relay.model.commands import Tracking
from relay.model.errors import Refused
from relay.rooms.worker import Worker

_CODEC: Final = RowCodec()
_CODECS: Final[CodecPair[Frame]] = CodecPair(_CODEC, _CODEC)


class HomeRequest:
    """One request, its worker, and the place that it belongs to."""

    def __init__(self, exchange: HttpExchange, default_room: str) -> None:
        self.exchange = exchange
        scope = exchange.scope
        self.worker: Worker = scope["state"]["worker"]
        self.address = counted_client(scope)
        self.query = PlaceQuery(scope, TOKENS, "" if "room" in scope["path_params"] else default_room)
        self._state: XhrState = state_of(scope)

    async def place(self) -> FoundPlace:
        """Find the place of the request, or make one; raises `Refused`."""
        query, scope = self.query, self.exchange.scope
        room = query.place.room
        if query.names_peer or query.place.resume:
            return FoundPlace(query.proven_place())
        token, shared = query.token, self._state.shared
        own = place_in_cookie(scope, self.worker, room)
        if own is not None:
            shared.forget(scope, token, own)
            return FoundPlace(own)
        alone = is_same_origin(scope)
        place = shared.get(scope, room, token, cookies=alone)
        if place is None:
            peer = await any_peer(self.worker, token, self.address)
            place = HttpPlace(room, peer, self.worker.session_ids.issue())
            shared.keep(scope, token, place)
        return FoundPlace(place, cookie_of(place, scope)) if alone else FoundPlace(place, shared=True)

    def session(self, place: HttpPlace) -> PlaceSession | None:
        """Return the session of a place, if it is on this worker."""
        session = self._state.sessions.get(place.name)
        return session if isinstance(session, PlaceSession) else None

    def last_answer(self, place: HttpPlace) -> HttpBody | None:
        """Return the end of a session that no poll has seen; None if there is none."""
        return self._state.sessions.take_last_answer(place.name)

    async def begin(self, found: FoundPlace) -> PlaceSession:
        """Join the room with the place, or wait for another request that does; raises `Refused`."""
        session = self.session(found.place)
        if session is None:
            session = await self._enter(found)
        elif session.entering is not None:
            await asyncio.shield(session.entering)
        session.check_joined()
        return session

    async def _enter(self, found: FoundPlace) -> PlaceSession:
        place = found.place
        request = structs.replace(
            self.query.join_request(None),
            peer=place.peer,
            resume=place.resume,
            own_key=True,
            # All pages of the place hear the messages of each of them; each drops its own.
            echo=True,
            presence=False,
            can_resume=not found.shared,
            tracking=Tracking.NONE if found.shared else Tracking.ACKNOWLEDGED,
        )
        with admit(self.exchange.scope, NAME) as ticket:
            session = PlaceSession(self._state.sessions, _CODECS, ticket, place.name)
        ticket.metrics.handshakes += 1
        await session.enter(lambda: request)
        return session

    async def poster(self, place: HttpPlace) -> Poster:
        """Make the poster of a place; raises `Refused`."""
        return await Poster.of(self.worker, place, self.query.token, self.address, self._state.rates)

    async def answer(self, session: PlaceSession, poll: "asyncio.Future[PollAnswer]", found: FoundPlace) -> None:
        """Respond to a poll, once there is a message."""
        await session.answer(self.exchange, poll, _cookies(found))

    async def respond(self, body: HttpBody, found: FoundPlace) -> None:
        """Send the response, with the cookie of a new place."""
        await self.exchange.respond(body, headers=_cookies(found))


class PollEndpoint(GatewayEndpoint):
    """The ASGI application of polls."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, NAME, methods=("POST",))
        self._default_room = settings.default_room

    async def serve_request(self, exchange: HttpExchange) -> None:
        """Answer with the next message; the first poll of a place is answered at once."""
        _check_method(exchange)
        # Pages send a form, with `undefined` as the message; there is nothing to read in it.
        if await exchange.read_body(MAX_FRAME) is None:
            return
        request = HomeRequest(exchange, self._default_room)
        found = await request.place()
        session, hold = request.session(found.place), HOLD
        if session is None:
            last = request.last_answer(found.place)
            if last is not None:
                await request.respond(last, found)
                return
            if await forward_to_owner(exchange, found.place, limit=MAX_FRAME):
                return
            session, hold = await request.begin(found), 0.0
        poll = session.open_poll(hold)
        rest = request.answer(session, poll, found)
        await (rest if poll.done() else exchange.hold(rest))

    def refusal(self, error: Refused, *, handshake: bool) -> HttpBody:
        """Write that there is no message, if the error may pass; any other one with its status."""
        return HttpBody(NO_ROW, JSON) if passes(error) else super().refusal(error, handshake=handshake)


class PostEndpoint(GatewayEndpoint):
    """The ASGI application of posts."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, NAME, methods=("POST",))
        self._default_room = settings.default_room
        self._limit = settings.max_message + MAX_FRAME

    async def serve_request(self, exchange: HttpExchange) -> None:
        """Publish the envelope in the form."""
        _check_method(exchange)
        body = await exchange.read_body(self._limit)
        if body is None:
            return
        envelope = read_message(header(exchange.scope, b"content-type") or "", body)
        request = HomeRequest(exchange, self._default_room)
        metrics = request.worker.metrics.of(NAME)
        metrics.messages_in += 1
        metrics.bytes_in += len(body)
        found = await request.place()
        if found.cookie:
            await request.begin(found)
        if await self._publish(request, found, envelope):
            await request.respond(HttpBody(b"true", JSON), found)

    async def _publish(self, request: HomeRequest, found: FoundPlace, envelope: bytes) -> bool:
        """Publish; returns False if another worker has responded, which the polls of the place go to."""
        place = found.place
        poster = await request.poster(place)
        try:
            await poster.publish(envelope)
        except Refused as error:
            if error.code != "not_joined":
                raise
            if await forward_to_owner(request.exchange, place, limit=self._limit):
                return False
            await request.begin(found)
            await poster.publish(envelope)
        return True


def _cookies(found: FoundPlace) -> Headers:
    return [(b"set-cookie", found.cookie)] if found.cookie else []


def _check_method(exchange: HttpExchange) -> None:
    if exchange.method != "POST":
        raise Refused("bad_method")
