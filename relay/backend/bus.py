"""The interface between the rooms of a worker and the bus, which carries events from worker to worker."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from relay.backend.settings import HistorySettings
from relay.model.envelope import MessageId
from relay.model.errors import Refused, RelayError
from relay.model.events import Delivery, Loss, MemberChanged, Message, Replay, RoomEvent
from relay.model.publication import Publication, Receipt

Sink = Callable[[Sequence[Delivery]], None]
"""Takes the events that arrived together, in order; must neither block nor raise."""


Published = Callable[[Receipt | RelayError], None]
"""Takes the outcome of a publication."""

_NAMED_PEERS = 10
"""Absent peers that the text of an error names; its detail has all of them."""


@dataclass(frozen=True, slots=True)
class BusHealth:
    """The state of a bus.

    `heard` is how many seconds ago the bus last received its own probe through its own subscription (None: never),
    `reachable` whether commands reach Redis, `problem` names the fault ("" if there is none). `replicas` is the state
    of Redis's replicas in words, "" if there is nothing to say, and `replicated` whether they suffice. `deaf` are the
    shards of a cluster over which the worker does not hear itself, or which refuse its commands, each with the reason;
    a bus may be ready all the same. It is None without a cluster.
    """

    ready: bool
    reachable: bool
    heard: float | None
    problem: str = ""
    replicas: str = ""
    replicated: bool = True
    deaf: Sequence[str] | None = None


class Bus(Protocol):
    """Carries publications to every worker that subscribed to their room, to all in the same order.

    `async with` opens and closes the bus; while it is open, it delivers to the sink it was made with. A worker receives
    its own publications in the same way as those of others. If events may have been lost, the sink gets a `Gap`
    that names the rooms, before the first event that follows.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def publish(self, publication: Publication, done: Published) -> None:
        """Give the publication its id and send it, in one step; `done` is called once, perhaps before this returns.

        Publications are sent in the order of the calls. `done` gets the receipt, or an error: `Refused` (with code
        `no_such_peer`, and the absent peers in `detail["peers"]`, or with code `out_of_order`), `Replaced`,
        `NotMember`, `Unavailable`, all of which mean that nothing was sent; or `OutcomeUnknown`.
        """
        ...

    async def subscribe(self, rooms: Iterable[str]) -> None:
        """Return once every event published from now on in these rooms will reach the sink; raises `Unavailable`."""
        ...

    async def unsubscribe(self, rooms: Iterable[str]) -> None:
        """End the delivery of events in these rooms."""
        ...

    async def replay(self, room: str, after: MessageId) -> Replay:
        """Return the events that followed an id of a room, or why they cannot be replayed.

        `after` must be an id that the room has had: a room whose own id is older has lost its state, and begins a new
        epoch. Raises `Unavailable` or `OutcomeUnknown`.
        """
        ...

    def health(self) -> BusHealth:
        """Return the current state of the bus."""
        ...

    def check(self, room: str) -> None:
        """Raise `Unavailable` if the part of Redis that has the room has been away for longer than a failover takes.

        For requests of clients that would wait in vain. Costs next to nothing, and sends nothing.
        """
        ...


@dataclass(frozen=True, slots=True)
class Stretches:
    """Where a room's order certainly has no message: from the first to the last sequence number of each stretch.

    Not all such stretches are known. `changed` is the sequence number of the newest join, leave or changed info.
    """

    known: Sequence[tuple[int, int]] = ()
    changed: int = 0

    def cover(self, first: int, last: int) -> bool:
        """Whether none of these events is a message."""
        return any(start <= first and last <= end for start, end in self.known)


def replay_of(
    after: MessageId,
    newest: MessageId,
    events: Sequence[RoomEvent],
    stretches: Stretches,
    history: HistorySettings,
) -> Replay:
    """Return the replay of the history's events after an id: all messages that there were, or none and the reason.

    `newest` is the room's newest id. Ids have no holes, so the events are complete exactly if there are as many of them
    as ids in between. The history may have dropped the oldest of them. If none of those is a message, no message is
    lost, and the replay skips them.
    """
    first = events[0].id.seq if events else newest.seq + 1
    lost: Loss = ""
    if newest.epoch != after.epoch:
        lost = "epoch"
    elif envelope_bytes(events) > history.replay_bytes:
        lost = "too_much"
    elif newest.seq - first + 1 == len(events):
        if first == after.seq + 1:
            return Replay(newest, events)
        if stretches.cover(after.seq + 1, first - 1):
            skipped = MessageId(newest.epoch, first - 1)
            return Replay(newest, events, skipped=skipped, changed=stretches.changed > after.seq)
    return Replay(newest, lost=lost or ("trimmed" if history.size else "off"))


def envelope_bytes(events: Sequence[RoomEvent]) -> int:
    """Return the total size of these events' envelopes, and of the infos of members."""
    return sum(
        len(event.body if isinstance(event, Message) else event.info)
        for event in events
        if isinstance(event, Message | MemberChanged)
    )


def no_such_peer(absent: Sequence[str]) -> Refused:
    """Return the error for a publication that is addressed to peers that are not members of the room."""
    named = ", ".join(absent[:_NAMED_PEERS])
    return Refused("no_such_peer", f"not in the room: {named}; nothing was sent", peers=list(absent))
