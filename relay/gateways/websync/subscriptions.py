"""The channels that one client has subscribed to, and the records that it has bound."""

from collections.abc import Iterable, Mapping
from copy import copy
from typing import Final, Self

import msgspec
from msgspec import Raw

from relay.gateways.websync.channels import is_ordinary
from relay.gateways.websync.messages import Record
from relay.gateways.websync.subscribers import restored, write_info
from relay.model.errors import Refused
from relay.model.member_info import read_info

_encode: Final = msgspec.json.Encoder().encode
_NULL: Final = Raw(b"null")


class ClientState:
    """The state of one client, from its handshake on; a change is made in a `draft` first.

    A client that comes back subscribes again, perhaps by one request after the other. Until it is `settled`, it is sent
    everything on the channels that it had, which are in its member info. If the room is so large that this is not
    listed, it is sent the messages of all channels, and keeps those for which it has no subscription yet.
    """

    __slots__ = ("_channels", "_records", "_restored")

    def __init__(self) -> None:
        # Channel → the tags of its subscriptions, mostly one; a set takes four times the memory.
        self._channels: Mapping[str, tuple[str, ...]] = {}
        self._records: Mapping[str, Raw] = {}
        self._restored: frozenset[str] | None = frozenset()

    def draft(self) -> Self:
        """Return a copy, for changes that may fail."""
        return copy(self)

    def restore(self, info: bytes, *, resumed: bool) -> None:
        """Go on with the channels of a client that comes back, whose own info this is (b"" if it is not known)."""
        if resumed:
            channels, records = restored(info)
            self._restored = frozenset(channels) if info else None
            self._records = records

    def hears(self, channel: str, *, told: bool = False) -> bool:
        """Return whether the client is sent the messages of a channel; `told`: changes of subscribers come on it."""
        if channel in self._channels:
            return True
        return not told and (self._restored is None or channel in self._restored)

    def subscribe(self, channels: Iterable[str], tag: str, most: int) -> None:
        """Add subscriptions; raises `Refused` (`too_many_channels`) if they are more than `most` then."""
        changed = dict(self._channels)
        for channel in channels:
            tags = changed.get(channel, ())
            changed[channel] = tags if tag in tags else (*tags, tag)
        if sum(map(len, changed.values())) > most:
            raise Refused("too_many_channels", f"a client has at most {most} subscriptions")
        self._channels = changed
        if self._restored:
            self._restored -= changed.keys()

    @property
    def settles(self) -> bool:
        """Whether the client has subscribed again, and has channels from before for which it has not."""
        return bool(self._channels) and self._restored != frozenset()

    def settled(self) -> Self:
        """Return a copy with the channels alone for which the client has subscribed."""
        found = self.draft()
        found._restored = frozenset()
        return found

    def unsubscribe(self, channels: Iterable[str], tag: str) -> None:
        """Remove subscriptions; those that there are not count as removed."""
        changed = dict(self._channels)
        for channel in channels:
            left = tuple(one for one in changed.pop(channel, ()) if one != tag)
            if left:
                changed[channel] = left
        self._channels = changed
        if self._restored:
            self._restored -= {*channels}

    def bind(self, records: Iterable[Record]) -> None:
        """Bind records, each in the place of the one of its key; a private one is kept from others, and not stored."""
        bound = dict(self._records)
        for one in records:
            bound.pop(one.key, None)
            if not one.private:
                # A `Raw` refers to the whole request, unless it is copied.
                bound[one.key] = _NULL if isinstance(one.value, msgspec.UnsetType) else one.value.copy()
        self._records = bound

    def unbind(self, keys: Iterable[str]) -> None:
        """Remove records; those that there are not count as removed."""
        removed = {*keys}
        self._records = {key: value for key, value in self._records.items() if key not in removed}

    def shown_records(self) -> bytes:
        """Return the records as a JSON object."""
        return _encode(self._records) if self._records else b"{}"

    def info(self) -> bytes:
        """Return the client's member info; raises `Refused` (`bad_info`) if it is too large."""
        ordinary = {channel: None for channel in self._channels if is_ordinary(channel)}
        before = dict.fromkeys(self._restored or ())
        try:
            return read_info(write_info(ordinary | before, self._records))
        except Refused:
            if not (before and self._channels):
                raise
        # There is no room for the channels from before beside those that it has now.
        return read_info(write_info(ordinary, self._records))
