"""Subscriptions to sharded Redis channels at one node, which end when their slot goes elsewhere."""

from asyncio import Future
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import hiredis

from relay.backend.redis.cluster.redirects import read_redirect
from relay.backend.redis.cluster.slots import slot_of_key
from relay.backend.redis.connection import RedisConnection, pack
from relay.backend.redis.subscriber import Arrival, Subscriber


class Subscription(NamedTuple):
    """A subscription on its way from one node to another.

    If it `was_confirmed`, payloads may be missed on the way. `waiting` is the confirmation for which somebody waits.
    """

    was_confirmed: bool = False
    waiting: "Future[None] | None" = None


class ShardSubscriber(Subscriber):
    """A subscriber at one node of a cluster; `on_moved` is called with a slot that is not, or no more, at this node."""

    MESSAGE = b"smessage"

    def __init__(self, *arguments: Any, on_moved: Callable[[int], None], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._on_moved = on_moved

    def give_up(self, channels: Iterable[str]) -> Mapping[str, Subscription]:
        """End subscriptions that are to go on at another node."""
        given = dict[str, Subscription]()
        for channel in channels:
            name = channel.encode()
            self._channels.pop(channel, None)
            # The lines have one confirmation of each channel, for all who wait for it; an earlier one is done.
            waiting = [one for one in self._confirming.pop(name, ()) if not one.done()]
            given[channel] = Subscription(name in self._confirmed, waiting[0] if waiting else None)
            self._confirmed.discard(name)
        # The other node has a deadline of its own for each confirmation, and this one may close before.
        names = {channel.encode() for channel in given}
        self._deadlines = deque(one for one in self._deadlines if one[1] not in names)
        # Also if the node has lost the slots: then it answers with errors, which change nothing.
        if self._connection is not None:
            self._send_unsubscribe(self._connection, list(given))
        return given

    def go_on(self, given: Mapping[str, Subscription]) -> None:
        """Take over subscriptions of another node; of those that were confirmed, the confirmation here shows a gap."""
        for channel, one in given.items():
            name = channel.encode()
            self._channels[channel] = None
            if one.was_confirmed:
                self._confirmed.add(name)
            if one.waiting is not None and not one.waiting.done():
                self._await_confirmation(name, one.waiting)
        self._send_subscribe(list(given))

    def _send_subscribe(self, channels: Sequence[str]) -> None:
        # One at a time: the channels of one command must be of one slot.
        if self._connection is not None:
            for channel in channels:
                self._connection.send(pack("SSUBSCRIBE", channel))

    def _send_unsubscribe(self, connection: RedisConnection, channels: Sequence[str]) -> None:
        for channel in channels:
            connection.send(pack("SUNSUBSCRIBE", channel))

    def _note(self, reply: Any, arrivals: list[Arrival]) -> None:
        match reply:
            case [b"ssubscribe", channel, _]:
                self._confirm(channel, arrivals)
            case [b"sunsubscribe", bytes() as channel, _]:
                # Asked for by this worker, or sent by a node that has lost the slot.
                if channel.decode() in self._channels:
                    self._on_moved(slot_of_key(channel.decode()))
            case hiredis.ReplyError() if (redirect := read_redirect(reply)) and redirect.kind == "moved":
                self._on_moved(int(str(reply).split(" ")[1]))
            case _:
                super()._note(reply, arrivals)
