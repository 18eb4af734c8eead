"""Carries the events of the room to the client of one connection: SIP messages of members, and their text."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from relay.gateways.sip.connection import SipConnection
from relay.gateways.sip.declaration import CHANNEL
from relay.gateways.sip.fields import BadField, Uri
from relay.gateways.sip.location import SEPARATOR
from relay.gateways.sip.message import NotSip, SipRequest, SipResponse, read_message
from relay.gateways.sip.proxy import Proxy, is_by_contact
from relay.gateways.sip.registrar import Registrar
from relay.gateways.sip.room_messages import write_text
from relay.gateways.sip.transactions import Outlet
from relay.gateways.sip.via import ViaSeal
from relay.model.envelope import MessageId
from relay.model.errors import SLOW, Refused
from relay.model.events import Event, Message
from relay.model.names import escape_peer

MOST_REQUESTS: Final = 64
"""Requests without any response of the client that are remembered."""

EARLY_COST: Final = 512
"""Bytes that an event which waits counts beside its own: its objects."""


class _Carried(msgspec.Struct):
    message: str = ""


_carried: Final = msgspec.json.Decoder(_Carried)


class Deliveries:
    """Delivers each message of the room once the client is bound; `hears`: also those to the whole room.

    At most `limit` bytes of messages wait until then; for more, the client is closed as one that is too slow.
    `dropped` is called for a message in the channel of SIP that no worker has written, and `failed` in the handler of
    an exception that is a fault of the relay.
    """

    def __init__(
        self,
        outlet: Outlet,
        connection: SipConnection,
        registrar: Registrar,
        proxy: Proxy,
        seal: ViaSeal,
        *,
        limit: int,
        dropped: Callable[[], None],
        failed: Callable[[], None],
    ) -> None:
        self.hears = False
        self._outlet = outlet
        self._connection = connection
        self._registrar = registrar
        self._proxy = proxy
        self._seal = seal
        self._limit = limit
        self._dropped = dropped
        self._failed = failed
        self._early: list[Message] | None = None
        self._early_bytes = 0
        # Branch and method of a request that the client has not answered yet → the id of its message.
        self._unanswered: OrderedDict[tuple[str, str], MessageId] = OrderedDict()

    def hold(self) -> None:
        """Keep events from now on: the client enters the room, and it is not known yet which of them it gets."""
        self._early, self._early_bytes = [], 0

    def release(self) -> None:
        """Deliver the events that were kept."""
        early, self._early = self._early, None
        for event in early or ():
            self._deliver(event)

    def forget(self) -> None:
        """Drop the events that were kept: the client has left the room."""
        self._early = None

    def take(self, event: Event) -> None:
        """Take an event of the room."""
        if not isinstance(event, Message):
            return
        if self._early is not None:
            self._early.append(event)
            self._early_bytes += len(event.body) + EARLY_COST
            if self._early_bytes > self._limit:
                self._early = []
                self._connection.close(SLOW)
        else:
            # In the next turn: this runs while the hub delivers, and an answer may have to be published.
            asyncio.get_running_loop().call_soon(self._deliver, event)

    def answered(self, response: SipResponse) -> MessageId | None:
        """Return the id of the request to which this is the client's first response; None for any other response."""
        return self._unanswered.pop((response.via.branch, response.sequence.method), None)

    def _deliver(self, event: Message) -> None:
        binding = self._registrar.binding
        if binding is None or binding.contact is None or self._connection.take is None:
            return
        try:
            if event.channel == CHANNEL and event.to:
                self._deliver_message(event, binding.contact)
            elif event.to or self.hears:
                self._outlet.to_client(write_text(event, binding.contact.text, binding.user, binding.host))
        except (BadField, NotSip, Refused, msgspec.MsgspecError, UnicodeError):
            self._dropped()
        except Exception:
            self._failed()
        self._connection.mark(event.id)

    def _deliver_message(self, event: Message, contact: Uri) -> None:
        message = read_message(_carried.decode(event.envelope).message.encode())
        message.check()
        place = self._seal.place(message)
        if isinstance(message, SipRequest) and place == event.sender and _is_user(message, event.sender):
            if message.method != "ACK":
                self._unanswered[message.via.branch, message.method] = event.id
                if len(self._unanswered) > MOST_REQUESTS:
                    self._unanswered.popitem(last=False)
            self._proxy.deliver_request(message, event.sender, contact)
        elif isinstance(message, SipResponse) and place == self._outlet.peer:
            self._proxy.deliver_response(message, event.sender)
        else:
            self._dropped()


def _is_user(request: SipRequest, peer: str) -> bool:
    """Whether the From of a request has the user of this peer, or is a contact within a call.

    The MAC of a Via does not cover the From: a member may have it from a request of its own to another connection.
    """
    return is_by_contact(request) or escape_peer(request.sender.uri.user) == peer.partition(SEPARATOR)[0]
