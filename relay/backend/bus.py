"""The seam between the hub and whatever carries events from worker to worker."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from relay.limits import LogTerms
from relay.model.envelope import MessageId, Publication, Receipt
from relay.model.errors import Refused, RelayError
from relay.model.events import Delivery, Loss, Message, Replay, RoomEvent

Sink = Callable[[Sequence[Delivery]], None]
"""Takes what arrived together, in order; must neither block nor raise."""


Published = Callable[[Receipt | RelayError], None]
"""Takes what became of a publication."""


@dataclass(frozen=True, slots=True)
class BusHealth:
    """What a bus knows of itself.

    `heard` is how many seconds ago its own probe last came back through its own subscription (None: never), `reachable`
    whether commands get through, `problem` what is wrong ("" when nothing is).
    """

    ready: bool
    reachable: bool
    heard: float | None
    problem: str = ""


class Bus(Protocol):
    """Carries publications to every worker that subscribed to their room, in one order.

    Opened and closed by `async with`; delivers to the sink it was made with from its opening on. A worker receives what
    it publishes itself the same way as everybody else. After anything that may have cost events, the sink is given a
    `Gap` naming the rooms, before the first event that follows.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def publish(self, publication: Publication, done: Published) -> None:
        """Give the publication its id and send it, in one step; `done` is called once, perhaps before this returns.

        Publishes are carried out in the order of the calls. `done` gets the receipt, or an error: `Refused` (and
        nothing was sent: `no_such_peer`, with the absent ones in `detail["peers"]`; `out_of_order`), `Replaced`,
        `NotMember`, `Unavailable` or `OutcomeUnknown`.
        """
        ...

    async def subscribe(self, rooms: Iterable[str]) -> None:
        """Return once every event published from now on in these rooms will reach the sink; raises `Unavailable`."""
        ...

    async def unsubscribe(self, rooms: Iterable[str]) -> None:
        """Events of these rooms need no longer be delivered."""
        ...

    async def replay(self, room: str, after: MessageId) -> Replay:
        """Everything that followed an id in a room, or why that cannot be had; raises as `publish` tells.

        `after` was truly given in this room: a room whose state does not know of it begins a new epoch.
        """
        ...

    def health(self) -> BusHealth:
        """How the bus is now."""
        ...


def replay_of(after: MessageId, newest: MessageId, events: Sequence[RoomEvent], terms: LogTerms) -> Replay:
    """What a log says that has these events after `after`: a replay only if they are all there are."""
    lost: Loss = ""
    if newest.epoch != after.epoch:
        lost = "epoch"
    elif weight(events) > terms.replay_bytes:
        lost = "too_much"
    elif newest.seq - after.seq != len(events):
        lost = "trimmed" if terms.length else "off"
    return Replay(newest, () if lost else events, lost)


def weight(events: Sequence[RoomEvent]) -> int:
    """How many bytes of envelopes these events have."""
    return sum(len(event.body) for event in events if isinstance(event, Message))


def no_such_peer(absent: Sequence[str]) -> Refused:
    """What a publication meets that is addressed to somebody who is not there."""
    return Refused("no_such_peer", f"not in the room: {', '.join(absent[:10])}; nothing was sent", peers=list(absent))
