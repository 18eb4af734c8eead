"""The one loop that every WebSocket client's connection runs in, whatever its protocol."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from relay.codec import Codec, Frame
from relay.commands import AskPresence, Command, Join, Leave, Ping, Publish, Subscribe, Unsubscribe
from relay.connection import CLOSED_EXTENSION, TRANSPORT_EXTENSION, Connection
from relay.envelope import MessageId
from relay.errors import (
    BAD_REQUEST,
    ERRORS,
    GOODBYE_CODES,
    INTERNAL,
    JOIN_CLOSES,
    TOO_FAST,
    BadFrame,
    CloseReason,
    Refused,
    RelayError,
)
from relay.events import Ack, Answer, Failure, Gone, Listening, Pong, PresenceList, Roster
from relay.gateways.admission import refusal
from relay.hub import Member
from relay.limits import TokenBucket
from relay.names import check_room
from relay.worker import Worker

log = logging.getLogger("relay.session")

_PATIENCE = 100
"""Messages in a row that are refused as too fast before the connection is closed for it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """How a client comes in: its own room, the peer id it wants or was given, and what it asks for there."""

    room: str
    peer: str
    resume: str = ""
    since: MessageId | None = None
    echo: bool = False
    presence: bool = False
    channels: Sequence[str] | None = None


class Session:
    """One connection from handshake to close; `tagged` is the codec for rooms other than the connection's own."""

    def __init__(self, websocket: WebSocket, worker: Worker, codec: Codec, tagged: Codec) -> None:
        self._websocket = websocket
        self._worker = worker
        self._settings = worker.settings
        self._metrics = worker.metrics
        self._codec = codec
        self._tagged = tagged
        self._members: dict[str, Member] = {}
        self._own = ""
        self._peer = ""
        self._bucket = TokenBucket(self._settings.message_rate, self._settings.message_burst, worker.clock)
        self._hasty = 0
        self._publishing: set[asyncio.Task[None]] = set()
        self._connection = Connection(
            send=self._send,
            send_close=self._send_close,
            abort=self._abort,
            limit=self._settings.send_buffer,
            metrics=self._metrics,
        )

    async def serve(self, entry: Callable[[], Entry], subprotocol: str | None) -> None:
        """Run the connection to its end. `entry` reads the request, and raises `Refused` if it cannot."""
        address = self._websocket.client.host if self._websocket.client else ""
        code = refusal(self._worker, self._websocket.headers.get("origin"), address)
        if code:
            await self._deny(code)
            return
        async with AsyncExitStack() as stack:
            stack.callback(self._worker.addresses.release, address)
            await stack.enter_async_context(self._worker.holding(self._connection))
            await self._websocket.accept(subprotocol)
            self._metrics.handshakes.inc()
            writer = asyncio.create_task(self._connection.run_writer())
            goodbye = False
            try:
                if await self._enter(entry):
                    goodbye = await self._receive()
                else:
                    await self._until_closed()
            except Exception:
                log.exception("a session failed; its connection is closed")
                self._connection.close(INTERNAL)
            finally:
                await self._end(writer, goodbye=goodbye)

    # Coming in.

    async def _deny(self, code: str) -> None:
        self._metrics.refused.labels(code).inc()
        status, text = ERRORS[code]
        headers = {"Retry-After": "2"} if status in {429, 503} else {}
        response = JSONResponse({"error": {"code": code, "text": text}}, status, headers)
        if "websocket.http.response" in self._websocket.scope.get("extensions", {}):
            await self._websocket.send_denial_response(response)
        else:
            await self._websocket.close()

    async def _enter(self, entry: Callable[[], Entry]) -> bool:
        try:
            wanted = entry()
            self._own, self._peer = wanted.room, wanted.peer
            await self._join(
                Join(
                    wanted.room,
                    resume=wanted.resume,
                    echo=wanted.echo,
                    presence=wanted.presence,
                    channels=wanted.channels,
                ),
                wanted.since,
                self._codec,
            )
        except RelayError as error:
            self._fail(error, about="join", codec=self._codec)
            self._connection.close(JOIN_CLOSES.get(error.code, BAD_REQUEST))
            return False
        return True

    async def _join(self, command: Join, since: MessageId | None, codec: Codec) -> None:
        member = Member(self._connection, codec, command.room, self._peer, echo=command.echo, presence=command.presence)
        if command.channels is not None:
            member.channels = self._checked_channels(command.channels)
        await self._worker.membership.join(member, offered=command.resume, since=since, key=command.key)
        self._members[command.room] = member

    # What comes in.

    async def _receive(self) -> bool:
        """Serve frames until the client goes; returns whether it said goodbye."""
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return self._closed_by(message.get("code"), message.get(CLOSED_EXTENSION))
            if self._connection.reason is not None:
                continue
            text = message.get("text")
            frame = Frame(message["bytes"], is_text=False) if text is None else Frame(text.encode())
            self._metrics.messages_in.inc()
            self._metrics.bytes_in.inc(len(frame.data))
            try:
                await self._frame(frame)
            except BadFrame as error:
                self._fail(error, about=error.about, key=error.key)

    async def _until_closed(self) -> None:
        while (await self._websocket.receive())["type"] != "websocket.disconnect":
            pass

    def _closed_by(self, code: int | None, relay_closed: str | None) -> bool:
        if self._connection.reason is not None:
            return False
        goodbye = relay_closed is None and code in GOODBYE_CODES
        self._metrics.closed.labels(relay_closed or ("client" if goodbye else "lost")).inc()
        return goodbye

    async def _frame(self, frame: Frame) -> None:
        allowed = self._bucket.take()
        if len(frame.data) > self._settings.max_message:
            raise BadFrame("too_large", f"{len(frame.data)} bytes; at most {self._settings.max_message} are relayed")
        command = self._codec.receive(frame)
        if not allowed:
            self._hasty += 1
            if self._hasty > _PATIENCE:
                self._connection.close(TOO_FAST)
            raise BadFrame("too_fast", about=_name(command), key=command.key)
        self._hasty = 0
        if isinstance(command, Publish):
            await self._publish(command)
        else:
            await self._obey(command)

    async def _obey(self, command: Command) -> None:
        try:
            match command:
                case Join():
                    await self._join_more(command)
                case Leave():
                    await self._leave(command)
                case Subscribe() | Unsubscribe():
                    self._listen(command)
                case AskPresence():
                    await self._list(command)
                case Ping():
                    member = self._member(command.room)
                    here = self._worker.hub.get(member.room)
                    newest = max(member.since, here.last) if here else member.since
                    self._tell(Pong(member.room, newest, command.key))
        except RelayError as error:
            self._fail(error, about=_name(command), key=command.key)

    async def _join_more(self, command: Join) -> None:
        check_room(command.room)
        if command.room in self._members:
            raise Refused("already_joined", room=command.room)
        if len(self._members) >= self._settings.rooms_per_connection:
            raise Refused("too_many_rooms", f"at most {self._settings.rooms_per_connection} rooms", room=command.room)
        try:
            since = MessageId.parse(command.since) if command.since else None
        except ValueError:
            raise Refused("bad_command", "since is an id as the relay gave it: epoch-seq") from None
        await self._join(command, since, self._codec if command.room == self._own else self._tagged)

    async def _leave(self, command: Leave) -> None:
        member = self._member(command.room)
        del self._members[member.room]
        await self._worker.membership.leave(member, hold=False)
        self._tell(Gone(member.room, command.key))

    async def _list(self, command: AskPresence) -> None:
        room = check_room(command.room) if command.room else self._own
        roster = await self._worker.roster(room)
        # Who is in a room is told by name to those who are in it.
        known = roster if room in self._members else Roster(roster.count, (), roster.id)
        self._tell(PresenceList(room, known, command.key))

    def _listen(self, command: Subscribe | Unsubscribe) -> None:
        member = self._member(command.room)
        if isinstance(command, Subscribe):
            member.channels = self._checked_channels([*(member.channels or ()), *command.channels])
        elif command.channels is None:
            member.channels = None
        else:
            member.channels = (member.channels or set()) - set(command.channels)
        channels = None if member.channels is None else sorted(member.channels)
        self._tell(Listening(member.room, channels, command.key))

    def _checked_channels(self, channels: Sequence[str]) -> set[str]:
        most = self._settings.channels_per_room
        if len(set(channels)) > most:
            raise Refused("too_many_channels", f"at most {most} channels in a room")
        return set(channels)

    def _member(self, room: str) -> Member:
        member = self._members.get(room or self._own)
        if member is None:
            raise Refused("not_joined", room=room or self._own)
        return member

    # Publishing: many at a time, in the order they came.

    async def _publish(self, command: Publish) -> None:
        if len(self._publishing) >= self._settings.publish_window:
            await asyncio.wait(self._publishing, return_when=asyncio.FIRST_COMPLETED)
        try:
            member = self._member(command.room)
        except Refused as error:
            self._fail(error, about="envelope", key=command.key)
            return
        task = asyncio.create_task(self._publish_now(member, command))
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def _publish_now(self, member: Member, command: Publish) -> None:
        try:
            receipt = await self._worker.membership.publish(member, command)
        except RelayError as error:
            self._fail(error, about="envelope", key=command.key, codec=member.codec, room=member.room)
            return
        if command.key:
            # In order with what this member hears: an id that it is told means that it was told all before.
            ack = Ack(member.room, receipt.id, command.key)
            self._worker.hub.when_passed(member.room, receipt.id, lambda: member.tell(ack))

    # What goes out.

    def _tell(self, answer: Answer) -> None:
        codec = self._codec if answer.room == self._own else self._tagged
        self._connection.write(codec.encode(answer))

    def _fail(
        self, error: RelayError, *, about: str = "", key: str = "", codec: Codec | None = None, room: str = ""
    ) -> None:
        self._metrics.refused.labels(error.code).inc()
        failure = Failure(error.code, error.text, about, key, room, dict(error.detail))
        self._connection.write((codec or self._codec).encode(failure))

    async def _send(self, frame: Frame) -> None:
        try:
            if frame.is_text:
                await self._websocket.send_text(frame.text)
            else:
                await self._websocket.send_bytes(frame.data)
        except WebSocketDisconnect as error:
            raise ConnectionResetError from error

    async def _send_close(self, reason: CloseReason) -> None:
        try:
            await self._websocket.close(reason.code, reason.name)
        except WebSocketDisconnect as error:
            raise ConnectionResetError from error

    def _abort(self) -> None:
        transport = self._websocket.scope.get("extensions", {}).get(TRANSPORT_EXTENSION)
        if transport is not None:
            transport["abort"]()

    async def _end(self, writer: asyncio.Task[None], *, goodbye: bool) -> None:
        if self._publishing:
            await asyncio.wait(self._publishing)
        leaving = [self._worker.membership.leave(member, hold=not goodbye) for member in self._members.values()]
        await asyncio.gather(*leaving)
        if self._connection.reason is None:
            writer.cancel()
        await asyncio.wait([writer])
        self._connection.gone()


def _name(command: Command) -> str:
    """What an error calls this command."""
    names = {Publish: "envelope", AskPresence: "presence"}
    return names.get(type(command), type(command).__name__.lower())
