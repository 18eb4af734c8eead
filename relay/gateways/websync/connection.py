"""The messages to one client about its room: deliveries on its channels, and the changes of their subscribers."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec

from relay.gateways.base.wrapped_connection import WrappedConnection
from relay.gateways.websync.channels import NOTIFY, SUBSCRIBERS
from relay.gateways.websync.client_ids import client_id
from relay.gateways.websync.codec import DeliveryFrame, MembersFrame, now, timestamp
from relay.gateways.websync.subscribers import ChannelSubscriber, OtherMembers, SubscriberChange
from relay.gateways.websync.subscriptions import ClientState
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.events import Welcome
from relay.rooms.connection import Connection

_encode: Final = msgspec.json.Encoder().encode


class SentFrame(Frame):
    """An item of the answer to a connect; once the client has it, it has everything up to `id`."""

    __slots__ = ("id",)

    def __init__(self, data: bytes, message_id: MessageId) -> None:
        super().__init__(data)
        self.id = message_id


def client_text(peer: str, subscriber: ChannelSubscriber) -> bytes:
    """Write a client as messages describe it: its id and its records."""
    return b'{"clientId":%b,"boundRecords":%b}' % (_encode(client_id(peer)), subscriber.records)


class DeliveryConnection(WrappedConnection):
    """Passes on the messages that a client has subscribed to, with their senders; `roster` has all other records."""

    __slots__ = ("_clock", "_own", "roster", "subscriptions")

    def __init__(self, inner: Connection, shared: str, clock: Callable[[], datetime] = now) -> None:
        super().__init__(inner)
        self.subscriptions = ClientState()
        self.roster = OtherMembers(shared)
        self._clock = clock
        self._own = ""

    def write(self, frame: Frame) -> None:
        """Write the part of an event that is for this client."""
        if isinstance(frame, DeliveryFrame):
            if frame.channel == NOTIFY or self.subscriptions.hears(frame.channel):
                sender = client_text(frame.sender, self._subscriber(frame.sender))
                self._inner.write(SentFrame(b"%b%b}}" % (frame.data, sender), frame.id))
        elif isinstance(frame, MembersFrame):
            event = frame.event
            if isinstance(event, Welcome):
                self._own = event.peer
                self.subscriptions.restore(self.roster.begin(event), resumed=event.resumed)
                return
            at = event.id if not hasattr(event, "roster") else event.roster.id
            for change in self.roster.apply(event):
                self._tell(change, at)

    def _tell(self, change: SubscriberChange, at: MessageId) -> None:
        channel = SUBSCRIBERS + change.channel
        if self.subscriptions.hears(channel, told=True):
            kind = b"subscribe" if change.subscribes else b"unsubscribe"
            client = client_text(change.peer, ChannelSubscriber((), change.records))
            data = b'{"client":%b,"type":"%b"}' % (client, kind)
            text = b'{"channel":%b,"data":%b,"timestamp":"%b"}' % (_encode(channel), data, timestamp(self._clock()))
            self._inner.write(SentFrame(text, at))

    def _subscriber(self, peer: str) -> ChannelSubscriber:
        if peer == self._own:
            return ChannelSubscriber((), self.subscriptions.shown_records())
        return self.roster.subscriber(peer)
