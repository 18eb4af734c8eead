"""SIP user agents of one worker, without sockets."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

from relay.gateways.base.credentials import read_token
from relay.gateways.base.join_request import CodecPair, JoinRequest
from relay.gateways.sip.codec import SipCodec
from relay.gateways.sip.connection import SipConnection
from relay.gateways.sip.declaration import TOKENS
from relay.gateways.sip.login import Logins
from relay.gateways.sip.session import ClientPlace, SipSession
from relay.gateways.sip.transactions import Timers
from relay.model.codec import Batch, Frame
from relay.model.errors import CloseReason
from relay.rooms.connection import Transfer
from relay.rooms.worker import Worker
from tests.sip_client import Sip, SipAgent, SipEnded
from tests.unit.gateways.base.fakes import Client

CODECS = CodecPair(SipCodec(), SipCodec())


class QueueConnection:
    """Keeps the frames that were written to it."""

    lost = False

    def __init__(self) -> None:
        self.frames: asyncio.Queue[str | None] = asyncio.Queue()
        self.reason: CloseReason | None = None

    def write(self, frame: Frame) -> None:
        if self.reason is None:
            self.frames.put_nowait(frame.text)

    def write_batch(self, batch: Batch) -> None:
        for frame in batch.frames:
            self.write(frame)

    def close(self, reason: CloseReason) -> None:
        if self.reason is None:
            self.reason = reason
            self.frames.put_nowait(None)

    def pause_reading(self, *, paused: bool) -> None:
        pass

    def transfer(self) -> Transfer | None:
        return None


class LocalAgent(SipAgent):
    """An agent with the session of the gateway."""

    def __init__(
        self,
        worker: Worker,
        logins: Logins,
        user: str,
        *,
        contact: str = "",
        registration: str = "",
        timers: Timers | None = None,
    ) -> None:
        super().__init__(user, contact=contact, registration=registration)
        self.worker = worker
        self.connection = QueueConnection()
        scope = {"state": {"worker": worker}, "headers": [], "query_string": b""}
        place = ClientPlace("calls", frozenset({"localhost"}), lambda token: read_token(scope, TOKENS, token))
        self.session = SipSession(
            SipConnection(self.connection),
            worker,
            CODECS,
            worker.admissions.admit("here", "sip"),
            place=place,
            logins=logins,
            timers=timers or Timers(),
        )

    async def begin(self) -> Self:
        await self.session.begin_unregistered()
        return self

    async def raw(self, data: str | bytes) -> None:
        frame = Frame(data.encode()) if isinstance(data, str) else Frame(data, is_text=False)
        self.session.received(frame)
        await asyncio.sleep(0)

    async def read_raw(self) -> str:
        async with asyncio.timeout(5):
            text = await self.connection.frames.get()
        if text is None:
            assert self.connection.reason is not None
            raise SipEnded(self.connection.reason.code, self.connection.reason.name)
        return text

    async def _read(self) -> Sip:
        return Sip(await self.read_raw())

    def lose(self, code: int = 1006) -> None:
        self.session.disconnected(code, None)


class Native(Client):
    """A native client in the room."""

    async def enter(self, peer: str) -> "Native":
        await self.session.enter(lambda: JoinRequest("calls", peer))
        return self


Enter = Callable[..., Awaitable[LocalAgent]]
"""Makes an agent that has registered: `enter("alice")`; with `register=False`, one that has not."""
