"""`GET /.lp`: the requests of clients that poll."""

import re
from collections.abc import Mapping
from typing import Final

from relay.config import Settings
from relay.gateways.base.admission import admit
from relay.gateways.base.credentials import read_token
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.http import HttpBody, HttpExchange
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.jsonp import check_callback
from relay.gateways.firebase.addresses import check_version, places_of, read_host
from relay.gateways.firebase.codec import FirebaseCodec
from relay.gateways.firebase.declaration import NAME, TOKENS
from relay.gateways.firebase.http_session import FirebasePollSession, polling_rules
from relay.gateways.firebase.last_sessions import end_last_session
from relay.gateways.firebase.scripts import CLOSE, FAREWELL
from relay.gateways.firebase.segments import read_segments
from relay.gateways.firebase.settings import FirebaseSettings
from relay.gateways.firebase.state import state_of
from relay.http_request import counted_client, read_query
from relay.model.codec import Frame
from relay.model.errors import Refused
from relay.rooms.worker import Worker

_CALLBACK: Final = re.compile(r"\d{1,10}", re.ASCII)


class LongPollEndpoint(GatewayEndpoint):
    """The ASGI application of polls.

    A client takes any response but a script as the end of its connection, and connects anew.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, NAME)
        self._settings = settings
        self._rules = polling_rules(settings.of(FirebaseSettings).firebase_inactivity)
        codec = FirebaseCodec()
        self._codecs: CodecPair[Frame] = CodecPair(codec, codec)

    async def serve_request(self, exchange: HttpExchange) -> None:
        """Serve a request: the first one of a connection, a poll, the frame that says goodbye, or the goodbye."""
        query = dict(read_query(exchange.scope))
        if exchange.method == "POST":
            await self._say_goodbye(exchange, query)
        elif exchange.method != "GET":
            raise Refused("bad_method")
        elif "dframe" in query:
            worker: Worker = exchange.scope["state"]["worker"]
            await worker.requests.admit(counted_client(exchange.scope))
            await exchange.respond(FAREWELL)
        elif "start" in query:
            await self._begin(exchange, query)
        else:
            await self._poll(exchange, query)

    def refusal(self, error: Refused, *, handshake: bool) -> HttpBody:
        """Write an error; a client of a connection that has ended is told so in a script."""
        return CLOSE if error.code == "unknown_session" else super().refusal(error, handshake=handshake)

    async def _begin(self, exchange: HttpExchange, query: Mapping[str, str]) -> None:
        scope = exchange.scope
        check_version(query)
        callback = query.get("cb", "")
        if not _CALLBACK.fullmatch(callback):
            raise Refused("bad_query", "cb is the number of the page's functions")
        check_callback(scope, f"pLPCommand{callback}")
        host, token = read_host(scope), read_token(scope, TOKENS)
        places = places_of(self._settings, query, host)
        with admit(scope, NAME) as ticket:
            session = FirebasePollSession(state_of(scope).http, self._codecs, ticket, places, self._rules)
        ticket.metrics.handshakes += 1
        await end_last_session(scope, query)
        await session.start(host, token, session.id, query.get("ls", ""))
        await session.begin_polling(exchange, callback)

    async def _poll(self, exchange: HttpExchange, query: Mapping[str, str]) -> None:
        session = await state_of(exchange.scope).http.find(exchange, query.get("id", ""), polls=False, limit=0)
        if session is None:
            return
        if not isinstance(session, FirebasePollSession):
            raise Refused("transport_mismatch")
        await session.serve_poll(exchange, read_segments(query))

    async def _say_goodbye(self, exchange: HttpExchange, query: Mapping[str, str]) -> None:
        if "disconn" not in query:
            raise Refused("bad_query", "only a goodbye is posted: disconn")
        worker: Worker = exchange.scope["state"]["worker"]
        await worker.requests.admit(counted_client(exchange.scope))
        session_id, state = query.get("id", ""), state_of(exchange.scope)
        session = state.sockets.get(session_id) or await state.http.find(exchange, session_id, polls=False, limit=0)
        if session is not None:
            left = session.leave()
            if left is not None:
                await left
            await exchange.respond(HttpBody(b"", status=204))
