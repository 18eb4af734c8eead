"""The subscribers of WebSync channels: read from the member infos of a room, and the changes that pages are told.

A WebSync client has its ordinary channels, and the records that it has bound, in its member info:
`{"websync": {"channels": […], "records": {…}}}`. So each worker knows them, in step with the room's order. A member of
another protocol counts as a subscriber of the shared channel, whose user is named like the peer.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw, Struct

from relay.gateways.websync.channels import is_ordinary
from relay.model.events import PresenceChange, PresenceList, Roster, Welcome
from relay.model.names import unescape

_NO_RECORDS: Final = b"{}"


class ChannelSubscriber(NamedTuple):
    """A member as a subscriber: its ordinary channels, and its records as a JSON object."""

    channels: tuple[str, ...] = ()
    records: bytes = _NO_RECORDS


class SubscriberChange(NamedTuple):
    """A client has begun (`subscribes`) or ceased to be a subscriber of a channel, with these records."""

    peer: str
    channel: str
    records: bytes
    subscribes: bool


class _State(Struct):
    channels: list[str] = []
    records: dict[str, Raw] = {}


class _Info(Struct):
    websync: _State | None = None
    name: Any = None


_infos: Final = msgspec.json.Decoder(_Info)
_encode: Final = msgspec.json.Encoder().encode


def write_info(channels: Mapping[str, object], records: Mapping[str, Raw]) -> bytes:
    """Return the member info of a client with these channels and records; not checked for its size."""
    return _encode({"websync": {"channels": [*channels], "records": records}})


def read_subscriber(peer: str, info: bytes, shared: str) -> ChannelSubscriber:
    """Return a member with this info as a subscriber; `shared` is the channel that all members are on."""
    known = _read(info)
    if known.websync is not None:
        channels = tuple(dict.fromkeys(filter(is_ordinary, known.websync.channels)))
        return ChannelSubscriber(channels, _encode(known.websync.records))
    user = unescape(peer)
    name = known.name if isinstance(known.name, str) and known.name else user
    records = {f"fm.chat.userId{shared}": user, f"fm.chat.userNickname{shared}": name}
    return ChannelSubscriber((shared,), _encode(records))


def restored(info: bytes) -> tuple[list[str], dict[str, Raw]]:
    """Return the channels and records in the own info of a client that comes back."""
    state = _read(info).websync or _State()
    return [name for name in state.channels if is_ordinary(name)], state.records


def _read(info: bytes) -> _Info:
    try:
        return _infos.decode(info) if info else _Info()
    except msgspec.MsgspecError:
        # Another client's own `websync`.
        return _Info()


class OtherMembers:
    """The other members of a client's room, with their infos; `shared` is the channel that all members are on."""

    __slots__ = ("_infos", "_own", "_shared")

    def __init__(self, shared: str) -> None:
        self._shared = shared
        self._own = ""
        # The infos are shared by all clients of the worker: each is the object in its event.
        self._infos: dict[str, bytes] = {}

    def subscriber(self, peer: str) -> ChannelSubscriber:
        """Return a member as a subscriber; one that is not known has no channels and no records."""
        info = self._infos.get(peer)
        return ChannelSubscriber() if info is None else read_subscriber(peer, info, self._shared)

    def all(self) -> Iterator[tuple[str, ChannelSubscriber]]:
        """Return all others as subscribers, by their peer ids."""
        for peer in self._infos:
            yield peer, self.subscriber(peer)

    def begin(self, welcome: Welcome) -> bytes:
        """Begin with the members at the client's own entry; returns its own info, b"" if it is not listed."""
        self._own = welcome.peer
        members = welcome.roster.members if welcome.roster is not None else ()
        infos = {one.peer: one.info for one in members}
        own = infos.pop(self._own, b"")
        self._infos = infos
        return own

    def apply(self, event: PresenceChange | PresenceList) -> Iterator[SubscriberChange]:
        """Apply an event of the room, and return the changes of subscribers that it means."""
        if isinstance(event, PresenceList):
            yield from self._replace(event.roster)
            return
        for peer in event.left:
            yield from self._set(peer, None)
        for peer in event.joined:
            yield from self._set(peer, event.info.get(peer, b""))
        for peer in event.changed:
            yield from self._set(peer, event.info.get(peer, b""))

    def _replace(self, roster: Roster) -> Iterator[SubscriberChange]:
        infos = {one.peer: one.info for one in roster.members}
        # Those that a list leaves out are in a large room still.
        if len(infos) >= roster.count:
            for peer in [peer for peer in self._infos if peer not in infos]:
                yield from self._set(peer, None)
        for peer, info in infos.items():
            yield from self._set(peer, info)

    def _set(self, peer: str, info: bytes | None) -> Iterator[SubscriberChange]:
        if peer == self._own:
            return
        before = self.subscriber(peer)
        if info is None:
            self._infos.pop(peer, None)
        else:
            self._infos[peer] = info
        after = self.subscriber(peer)
        for channel in before.channels:
            if channel not in after.channels:
                yield SubscriberChange(peer, channel, before.records, subscribes=False)
        for channel in after.channels:
            if channel not in before.channels:
                yield SubscriberChange(peer, channel, after.records, subscribes=True)
