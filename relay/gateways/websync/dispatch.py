"""Carries out the messages of one request, in their order, and makes the reply to each."""

from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec import Raw, UnsetType

from relay.gateways.base.http_place import HttpPlace
from relay.gateways.base.poster import Poster
from relay.gateways.websync import channels
from relay.gateways.websync.bridge import to_envelope, to_notification
from relay.gateways.websync.channels import SUBSCRIBERS, is_ordinary, may_be_heard
from relay.gateways.websync.client_ids import peer_id, resume_key
from relay.gateways.websync.connection import client_text
from relay.gateways.websync.declaration import NAME
from relay.gateways.websync.errors import WebSyncRefused, error_text
from relay.gateways.websync.messages import MAX_TAG, BadMessage, ClientMessage
from relay.gateways.websync.replies import HANDSHAKE_AGAIN, Reply, failure, success
from relay.gateways.websync.session import WebSyncSession
from relay.gateways.websync.subscribers import ChannelSubscriber
from relay.gateways.websync.subscriptions import ClientState
from relay.model.commands import Detect, Identity
from relay.model.errors import Refused, RelayError
from relay.rooms.worker import Worker

OF_SESSIONS: Final = frozenset(
    {channels.BIND, channels.UNBIND, channels.SUBSCRIBE, channels.UNSUBSCRIBE, channels.DISCONNECT}
)
"""The channels of messages that only the worker with the client's session can carry out, beside those of services."""

PRESENCE: Final = "/service/presence"

_NULL: Final = Raw(b"null")
_texts: Final = msgspec.json.Decoder(str)


class _Asked(msgspec.Struct):
    channel: str


_asked: Final = msgspec.json.Decoder(_Asked | str)


class Dispatch:
    """The messages of one request of a client: it has a place, and a session if that is on this worker.

    A publication needs no session, as the session id proves the place: so a client whose worker is gone loses none.
    `address` is the one that the request counts for. `client` is the id of the client, as it writes it. `leave` ends
    the membership of one without a session here. `shared` is as in `bridge`.
    """

    def __init__(
        self,
        worker: Worker,
        address: str,
        place: HttpPlace,
        client: str,
        session: WebSyncSession | None,
        poster: Poster,
        leave: Callable[[], Awaitable[None]],
        shared: str,
    ) -> None:
        self._worker = worker
        self._address = address
        self._place = place
        self._client = client
        self._session = session
        self._poster = poster
        self._leave = leave
        self._shared = shared
        self._replies: dict[int, Reply] = {}
        # Messages that change the subscriptions, since the last other one: they are one change for the others.
        self._draft: ClientState | None = None
        self._drafted: list[int] = []
        self._left = False
        # Subscribers that the replies may list yet: a request that names many channels gets no more than one does.
        self._listable = worker.settings.presence_list_limit
        self._messages: Sequence[ClientMessage | BadMessage] = ()
        self._others: Sequence[tuple[str, ChannelSubscriber]] | None = None
        self.failed = False
        """Whether a message was refused."""

    async def run(self, messages: Sequence[ClientMessage | BadMessage]) -> Sequence[Reply]:
        """Carry the messages out; returns their replies, in order."""
        self._messages = messages
        for number, message in enumerate(messages):
            try:
                if isinstance(message, BadMessage):
                    raise message.error
                self._check(message)
                await self._serve(number, message)
            except RelayError as error:
                self._fail(number, error)
        await self._commit()
        return [self._replies[number] for number in range(len(messages))]

    def _check(self, message: ClientMessage) -> None:
        if not message.client_id:
            raise WebSyncRefused("no_client_id")
        if not message.session_id:
            raise WebSyncRefused("no_session_id")
        if message.client_id != self._client or resume_key(message.session_id) != self._place.resume:
            raise Refused("unknown_session")

    async def _serve(self, number: int, message: ClientMessage) -> None:
        channel = message.channel
        if channel in OF_SESSIONS and channel != channels.DISCONNECT:
            await self._poster.turn(0)
            self._change(number, message)
            return
        await self._commit()
        fields: dict[str, Any] = {}
        if channel == channels.DISCONNECT:
            await self._disconnect()
        elif channel == channels.NOTIFY:
            await self._notify(message)
        elif channel.startswith(channels.SERVICE):
            fields["data"] = await self._service(message)
        elif channel.startswith(channels.META):
            raise Refused("bad_command", f"there is no message {channel}, or not among others")
        else:
            await self._publish(message)
            if not isinstance(message.data, UnsetType):
                fields["data"] = message.data
        self._replies[number] = success(message, self._client, **fields)

    async def _disconnect(self) -> None:
        if self._left:
            return
        await self._worker.requests.admit(self._address)
        if self._session is None:
            await self._leave()
        else:
            self._session.leave()
        self._left = True

    def _own_session(self) -> WebSyncSession:
        if self._session is None:
            raise Refused("unknown_session")
        return self._session

    # Subscriptions and records.

    def _change(self, number: int, message: ClientMessage) -> None:
        session = self._own_session()
        draft = (self._draft or session.subscriptions).draft()
        match message.channel:
            case channels.BIND:
                draft.bind(message.records)
            case channels.UNBIND:
                draft.unbind(record.key for record in message.records)
            case channels.SUBSCRIBE:
                for name in message.channels:
                    if not may_be_heard(name):
                        raise _bad_channel(name)
                draft.subscribe(message.channels, _tag(message), self._worker.settings.channels_per_room)
            case channels.UNSUBSCRIBE:
                draft.unsubscribe(message.channels, _tag(message))
        draft.info()
        self._draft = draft
        self._drafted.append(number)

    async def _commit(self) -> None:
        """Carry out the changes of subscriptions and records so far, which succeed or fail together."""
        draft, drafted, self._draft, self._drafted = self._draft, self._drafted, None, []
        if draft is None or self._session is None:
            return
        try:
            await self._session.change(draft)
        except RelayError as error:
            for number in drafted:
                self._fail(number, error)
            return
        self._others = None
        for number in drafted:
            message = self._messages[number]
            if isinstance(message, ClientMessage):
                self._replies[number] = self._changed(message, self._session)

    def _changed(self, message: ClientMessage, session: WebSyncSession) -> Reply:
        fields: dict[str, Any] = {}
        extensions: dict[str, Any] = {} if message.tag is None else {"fm.tag": message.tag}
        if message.binding is not None:
            fields["binding"] = message.binding
        if message.subscription is not None:
            fields["subscription"] = message.subscription
        if message.channel == channels.SUBSCRIBE:
            if session.unseen is not None and any(name.startswith(SUBSCRIBERS) for name in message.channels):
                # The rest of a join is to succeed, so that the page hears the others.
                fields["error"] = error_text(session.unseen, message.channel)
            extensions["fm.subscribers"] = self._subscribers(message, session)
        return success(message, self._client, **fields, **({"ext": extensions} if extensions else {}))

    def _subscribers(self, message: ClientMessage, session: WebSyncSession) -> dict[str, list[Raw]]:
        """Return the others on each ordinary channel of a subscription."""
        listed: dict[str, list[Raw]] = {name: [] for name in message.channels if not name.startswith(SUBSCRIBERS)}
        # Read once for all channels and messages of a change: to do so for each takes seconds in a large room.
        if self._others is None:
            self._others = list(session.roster.all()) if listed else None
        for peer, one in self._others or ():
            for channel in one.channels:
                if channel in listed and self._listable:
                    self._listable -= 1
                    listed[channel].append(Raw(client_text(peer, one)))
        return listed

    # Publishing.

    async def _publish(self, message: ClientMessage) -> None:
        if not is_ordinary(message.channel):
            raise _bad_channel(message.channel)
        await self._post(message, to_envelope(message.channel, _data(message), self._shared))

    async def _notify(self, message: ClientMessage) -> None:
        receiver = peer_id(message.text("fm.notify"))
        await self._post(message, to_notification(_data(message), receiver))

    async def _post(self, message: ClientMessage, envelope: bytes) -> None:
        # A browser sends a request again whose connection is lost. Ids begin anew with each page, and so with each
        # session id.
        mark = blake2b(f"{self._place.resume} {message.id}".encode(), digest_size=16).hexdigest()
        await self._poster.publish(envelope, identity=None if message.id is None else Identity(mark))

    async def _service(self, message: ClientMessage) -> Any:
        self._own_session()
        if message.channel != PRESENCE:
            raise WebSyncRefused("unknown_service")
        try:
            asked = _asked.decode(_data(message))
        except msgspec.MsgspecError:
            raise Refused("bad_command", 'data is the name of a channel or room, or {"channel": NAME}') from None
        name = asked if isinstance(asked, str) else asked.channel
        await self._poster.turn(len(name))
        command = self._poster.allowed(Detect(name))
        rooms = command.rooms if isinstance(command, Detect) else False
        return {"present": await self._worker.detect(name, self._place.room, rooms=rooms)}

    def _fail(self, number: int, error: RelayError) -> None:
        self.failed = True
        self._worker.metrics.of(NAME).refused(error.code)
        gone = error.code in ("unknown_session", "not_joined")
        known = Refused("unknown_session") if gone else error
        advice = HANDSHAKE_AGAIN if gone else None
        self._replies[number] = failure(self._messages[number], known, advice=advice)


def _bad_channel(name: str) -> WebSyncRefused:
    return WebSyncRefused("bad_channel", f"{name!r} is no channel: /NAME, and not below /meta, /service or /fm")


def _tag(message: ClientMessage) -> str:
    tag = message.tag or ""
    if len(tag) > MAX_TAG:
        raise Refused("bad_command", f"fm.tag has at most {MAX_TAG} characters")
    return tag


def _data(message: ClientMessage) -> bytes:
    return b"null" if isinstance(message.data, UnsetType) else bytes(message.data)
