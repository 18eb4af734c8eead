"""The driver of SIP user agents, which send text to the room, or to one member, by MESSAGE."""

import contextlib
import json
from typing import Any
from urllib.parse import quote

import jwt
from websockets.exceptions import ConnectionClosed

from tests.fleet import Relay
from tests.gateways.driver import BAD_FRAME, Capabilities, Closed, Event, Heard, NotAdmitted, Opened, Refused
from tests.sip_client import Sip, SipAgent, SipEnded


class SipDriver:
    """A user agent that registers, and asks for the messages of the room; it comes back with the same contact."""

    can = Capabilities(held=True, resume=True, direct=True, survives_bad_frame=True)

    def __init__(self) -> None:
        self.token = ""
        self._agent = SipAgent("")
        self._agent.user = self._agent.host.partition(".")[0]
        self._room = ""
        self._known = False
        self._told = ""

    async def open(self, relay: Relay, room: str) -> Opened:
        agent, more = self._agent, ["X-Relay: messages"]
        if self.token:
            more.append(f"Authorization: Bearer {self.token}")
            agent.user = _subject(self.token) or agent.user
        self._room, self._told = quote(room, safe=""), ""
        await agent.connect(relay, f"/rooms/{self._room}")
        answer = await agent.register(more=tuple(more))
        if answer.status != 200:
            raise NotAdmitted(answer.code)
        resumed, self._known = self._known, True
        return Opened(agent.user, resumed)

    async def send(self, data: Any, *, to: str = "") -> None:
        body = "no JSON" if data is BAD_FRAME else json.dumps({"message": data}, ensure_ascii=False)
        await self._agent.send("MESSAGE", f"sip:{to or self._room}@x", body=body, kind="application/json")

    async def next(self) -> Event:
        while True:
            try:
                found = await self._agent.next()
            except SipEnded as ended:
                # SIP has no message for it but the close frame.
                told, self._told = self._told, ended.reason
                return Refused("token_expired") if told != ended.reason == "token_expired" else Closed()
            if found.status == 0:
                return await self._heard(found)
            if found.code:
                return Refused(found.code)

    async def _heard(self, request: Sip) -> Event:
        assert request.method == "MESSAGE", request
        await self._agent.answer(request, 200)
        # An event of Socket.IO that is no envelope comes with its arguments.
        content = request.data if "message" in request.data else request.data["args"][0]
        return Heard(content["message"], request.sender)

    async def refresh(self, token: str) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        await self._agent.close()

    async def drop(self) -> None:
        # The worker has read the answers before this request. A message whose answer is lost comes again.
        with contextlib.suppress(SipEnded, ConnectionClosed):
            await self._agent.ask("OPTIONS", "sip:localhost")
        await self._agent.drop()


def _subject(token: str) -> str:
    """Return the subject of a token, escaped as in a URI; "" for none, or for text that is no token."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return ""
    return quote(str(claims.get("sub", "")), safe="")
