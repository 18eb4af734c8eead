"""The session of a native client, which may also subscribe to topics, as the npm package y-webrtc does."""

import asyncio
from typing import Final

import msgspec
from msgspec import Raw, Struct
from mypy_extensions import mypyc_attr

from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.session import WebSocketSession
from relay.gateways.native.codec import NativeCodec
from relay.gateways.native.topics import (
    CHANNEL,
    PublishTopic,
    SubscribeTopics,
    UnsubscribeTopics,
    room_of,
    topic_of,
)
from relay.model import events
from relay.model.codec import Frame
from relay.model.commands import Command, Join, Leave, Move, Ping, Publish
from relay.model.errors import BAD_REQUEST, JOIN_CLOSES, Refused, RelayError
from relay.rooms.admissions import Ticket
from relay.rooms.connection import Connection
from relay.rooms.worker import Worker


class _Publication(Struct):
    message: Raw = Raw(b"null")


_publication = msgspec.json.Decoder(_Publication)
_encoder: Final = msgspec.json.Encoder()


class TopicCodec(NativeCodec):
    """The codec of topics below the room `app`, "" for the default room: messages are publications.

    Everything else is as in any other room that a native client has joined; the package ignores it.
    """

    def __init__(self, app: str) -> None:
        super().__init__(tagged=True)
        self._app = app
        self.key = f"topic+{app}"

    def encode(self, event: events.Event) -> Frame:
        """Write a message as a publication, with its data byte for byte."""
        if not isinstance(event, events.Message):
            return super().encode(event)
        topic = _encoder.encode(topic_of(event.room, self._app))
        data = bytes(_publication.decode(event.envelope).message)
        return Frame(b'{"type":"publish","topic":%b,"data":%b}' % (topic, data))


@mypyc_attr(allow_interpreted_subclasses=True)
class NativeSession(WebSocketSession):
    """Serves a native client.

    With its first `SubscribeTopics`, the client leaves the room of its address, so that thousands of pages do not
    gather there. With `follows`, the session moves to another room when its member is sent there; a client that speaks
    the protocol's subprotocol decides itself.
    """

    __slots__ = ()

    def __init__(
        self,
        connection: Connection,
        worker: Worker,
        codecs: CodecPair[Frame],
        ticket: Ticket,
        *,
        follows: bool = True,
    ) -> None:
        super().__init__(connection, worker, codecs, ticket)
        self._rooms.mover = self if follows else None

    def move(self, room: str) -> None:
        """Move to a room as by the client's own command, once the hub has delivered the present event."""
        asyncio.get_running_loop().call_soon(self.execute, Move(room))

    def _execute(self, command: Command) -> None:
        match command:
            case SubscribeTopics():
                self._run_exclusive(self._subscribe(command), command)
            case UnsubscribeTopics():
                self._unsubscribe(command)
            case PublishTopic():
                room = self._room_of(command.topic)
                self._publish(Publish(command.envelope, channel=CHANNEL, key=command.key, room=room))
            case Ping(""):
                self._ping(command)
            case _:
                super()._execute(command)

    async def _subscribe(self, command: SubscribeTopics) -> None:
        """Join the rooms of the topics; each that is refused gets an error of its own.

        If Redis is away, the connection is closed: the package subscribes again only when it connects again.
        """
        self._leave_address(command)
        codec = TopicCodec(self._app)
        for topic in command.topics:
            try:
                await self._join(self._join_of(self._room_of(topic), command.key), codec)
            except Refused as error:
                if error.code != "already_joined":
                    self._send_error(error, about=command.about, key=command.key)
            except RelayError as error:
                self._send_error(error, about=command.about, key=command.key)
                self._connection.close(JOIN_CLOSES.get(error.code, BAD_REQUEST))
                return

    def _leave_address(self, command: SubscribeTopics) -> None:
        """Leave the room of the client's address, unless the client is there as a subscriber: it may be a topic's."""
        try:
            member = self._rooms.member("")
        except Refused as error:
            if error.code != "not_joined":
                raise
        else:
            if not isinstance(member.codec, TopicCodec):
                self._rooms.leave(Leave(key=command.key))

    def _join_of(self, room: str, key: str) -> Join:
        # The package comes back as a new member: its membership need not be held.
        return Join(room, channels=[CHANNEL], key=key, peer=self.peer_id(), can_resume=False)

    def _unsubscribe(self, command: UnsubscribeTopics) -> None:
        for topic in command.topics:
            try:
                self._leave(Leave(self._room_of(topic), command.key))
            except Refused as error:
                self._send_error(error, about=command.about, key=command.key)

    def _leave(self, command: Leave) -> None:
        """Leave a room, if the client is in it."""
        try:
            self._rooms.leave(command)
        except Refused as error:
            if error.code != "not_joined":
                raise

    def _ping(self, command: Ping) -> None:
        """Answer, without an id if the client has left the room of its address.

        The package pings without a topic, and takes the connection for lost if there is no answer.
        """
        try:
            self._rooms.ping(command)
        except Refused as error:
            if error.code != "not_joined":
                raise
            self._connection.write(self._codec.encode(events.Pong(self._rooms.own_room, None, command.key)))

    @property
    def _app(self) -> str:
        own = self._rooms.own_room
        return "" if own == self._worker.settings.default_room else own

    def _room_of(self, topic: str) -> str:
        return room_of(topic, self._app)
