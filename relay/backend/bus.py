"""The interface between the rooms of a worker and the bus, which carries events from worker to worker."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from relay.backend.settings import HistorySettings
from relay.model.envelope import MessageId, Publication, Receipt
from relay.model.errors import Refused, RelayError
from relay.model.events import Delivery, Loss, MemberChanged, Message, Replay, RoomEvent

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
    `reachable` whether commands reach Redis, `problem` what is wrong ("" if nothing is).
    """

    ready: bool
    reachable: bool
    heard: float | None
    problem: str = ""


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


def replay_of(after: MessageId, newest: MessageId, events: Sequence[RoomEvent], history: HistorySettings) -> Replay:
    """Return the replay of the history's events after an id: all events that there were, or none and the reason.

    `newest` is the room's newest id. Ids have no holes, so the events are complete exactly if there are as many of them
    as ids in between.
    """
    lost: Loss = ""
    if newest.epoch != after.epoch:
        lost = "epoch"
    elif envelope_bytes(events) > history.replay_bytes:
        lost = "too_much"
    elif newest.seq - after.seq != len(events):
        lost = "trimmed" if history.size else "off"
    return Replay(newest, () if lost else events, lost)


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
