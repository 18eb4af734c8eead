"""The session of a page that may speak the dialect of channels; its first frame decides."""

from typing import Final

import msgspec

from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.joined_rooms import JoinedRooms
from relay.gateways.base.observed_room import ObservedRoom
from relay.gateways.base.wrapped_connection import SilentConnection
from relay.gateways.native.open_channel import (
    ChannelCodec,
    CheckPresence,
    DataCodec,
    OpenChannel,
    PublishData,
    opens_channel,
)
from relay.gateways.native.session import NativeSession
from relay.model.codec import Frame
from relay.model.commands import AskPresence, Command, Join, Publish
from relay.model.errors import Refused
from relay.rooms.admissions import Ticket
from relay.rooms.connection import Connection
from relay.rooms.worker import Worker

_CODEC: Final = ChannelCodec()
_DATA: Final = DataCodec()
_encode = msgspec.json.Encoder().encode


class _ChannelRooms(JoinedRooms):
    """The rooms of the channels that a page has opened."""

    __slots__ = ()


class ChannelSession(NativeSession):
    """Serves a native client that may be a page of the dialect: its first frame decides whether it opens channels.

    With that frame, a page leaves the room of its address, as a subscriber to topics does. From then on, it is sent
    data, answers about presence, and errors. Any other client is served as by `NativeSession`.
    """

    __slots__ = ("_decided",)

    def __init__(
        self,
        connection: Connection,
        worker: Worker,
        codecs: CodecPair[Frame],
        ticket: Ticket,
        *,
        follows: bool = True,
    ) -> None:
        super().__init__(connection, worker, codecs, ticket, follows=follows)
        self._decided = False

    @property
    def opens_channels(self) -> bool:
        """Whether the first frame was one of the dialect."""
        return self._codec is _CODEC

    def received(self, incoming: Frame) -> None:
        """Decide by the first frame, and serve it."""
        # Not by another class for the object: in the compiled build, each of its calls to itself would be a slow one.
        if not self._decided:
            self._decided = True
            if opens_channel(incoming):
                self._codec = _CODEC
        super().received(incoming)

    def _execute(self, command: Command) -> None:
        match command:
            case OpenChannel():
                self._run_exclusive(self._open(command), command)
            case PublishData():
                envelope, channel = command.envelope, command.channel
                self._publish(Publish(envelope, channel=channel, room=self._room_of(channel)))
            case CheckPresence():
                self._run_exclusive(self._check_presence(command), command)
            case _:
                super()._execute(command)

    async def _open(self, command: OpenChannel) -> None:
        """Join the room of a channel. The page comes back as a new member, so its membership need not be held."""
        self._enter_channels()
        join = Join(self._room_of(command.channel), peer=self.peer_id(), can_resume=False)
        try:
            await self._join(join, _DATA)
        except Refused as error:
            if error.code != "already_joined":
                raise

    async def _check_presence(self, command: CheckPresence) -> None:
        """Answer whether anybody has opened a channel."""
        self._enter_channels()
        room = self._room_of(command.channel)
        self._allowed(AskPresence(room))
        roster = await self._worker.roster(room, 0)
        self._connection.write(Frame(_encode({"isChannelPresent": roster.count > 0})))

    def _enter_channels(self) -> None:
        """Leave the room of the address, with the first command of the page; raises `Refused` (`observing`)."""
        address = self._rooms
        if isinstance(address, _ChannelRooms):
            return
        if isinstance(address, ObservedRoom):
            address.member("")  # an observer stays one
        codecs: CodecPair[Frame] = CodecPair(_DATA, _DATA)
        rooms = _ChannelRooms(SilentConnection(self._connection), self._worker, codecs, self.ticket.address)
        rooms.own_room, rooms.grants = address.own_room, address.grants
        rooms.begin(address.peer)
        address.leave_all(hold=False)
        self._rooms = rooms
