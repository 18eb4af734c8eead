"""Counts the messages that were sent, acknowledged and received: this judges every fault."""

from collections import defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from relay.model.envelope import BEFORE_ALL, MessageId

_PROMPT = 0.5
"""Seconds within which a message arrives without a fault."""

_CALM = 2.0
"""Seconds without a late message after which a fault is over. A later delay that is shorter is that of a busy machine,
and a longer one is taken for an effect of the fault."""


@dataclass
class Message:
    """One numbered message of one sender: the time of sending, its id, and the time of receipt by member (seconds)."""

    said: float
    id: MessageId | None = None
    acknowledged: bool = False
    heard: dict[str, float] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    """The epoch in which each member heard it first, where its client shows ids."""


@dataclass(frozen=True)
class Verdict:
    """The counts over all messages.

    `lost` are deliveries that the relay owed and never made: of a message that it acknowledged, or that another member
    got, to a member that the fault does not excuse. `silent` are those, and excused ones, of which the member was not
    told. `across` are messages that their senders had to send again because Redis forgot that it had them: they came
    again under an id of the new epoch.
    """

    sent: int
    acknowledged: int
    delivered: int
    lost: int
    silent: int
    repeated: int
    disordered: int
    across: int
    told: int
    """Members that were told of missed messages."""
    whole_after: float
    """Seconds from the end of the fault until no message older than half a second was missing for two seconds, and none
    took two seconds any more."""
    again: int = 0
    """Messages that came again to clients without a cursor, after a loss."""
    oldest_again: float = 0.0
    """How many seconds before the loss such a message came at the earliest."""
    lost_acknowledged: int = 0
    """Deliveries of acknowledged messages that were not made, also to members that are excused."""


class Ledger:
    """The messages of several rooms whose members all join at the beginning."""

    def __init__(self, rooms: dict[str, Iterable[str]]) -> None:
        self._rooms = {room: frozenset(members) for room, members in rooms.items()}
        self._messages: dict[tuple[str, str, int], Message] = {}
        # The newest number of a sender that a member heard, and the epoch in which it heard it.
        self._newest: dict[tuple[str, str, str], tuple[int, int]] = defaultdict(lambda: (0, -1))
        self._places: dict[tuple[str, str], MessageId] = defaultdict(lambda: BEFORE_ALL)
        self._told: dict[tuple[str, str], float] = {}
        self.repeats: list[str] = []
        self.disorder: list[str] = []
        self.across = 0

    def said(self, room: str, sender: str, number: int, now: float) -> None:
        """A member began to send a message."""
        self._messages[room, sender, number] = Message(now)

    def acknowledged(self, room: str, sender: str, number: int, id_: MessageId | None) -> None:
        """The relay has the message, at this position of the room; None if the sender is not shown it."""
        message = self._messages[room, sender, number]
        message.acknowledged = True
        if id_ is not None:
            self._in_place(message, id_)

    def heard(self, room: str, member: str, sender: str, number: int, id_: MessageId | None, now: float) -> None:
        """A member received a message: out of order if it is older than the last, or has another id for others.

        After a new epoch, senders may send messages again that were not acknowledged, older ones among them.
        """
        message = self._messages[room, sender, number]
        again = id_ is not None and message.id is not None and id_.epoch != message.id.epoch
        event = f"{sender} says {number} in {room}: {member} hears it"
        if member in message.heard:
            # Another member, or the sender, may know of the new epoch already: the member's own first one counts.
            across = id_ is not None and id_.epoch != message.epochs.get(member, id_.epoch)
            told = self._told.get((room, member), -1.0) >= message.heard[member]
            self.across += across
            if not (across and told):
                untold = ", and was told of no loss" if across else ""
                self.repeats.append(f"{event} again after {now - message.heard[member]:.2f} s{untold}")
            return
        message.heard[member] = now
        if id_ is not None:
            message.epochs[member] = id_.epoch
        epoch, newest = self._newest[room, member, sender]
        in_this_epoch = id_ is None or id_.epoch == epoch
        late = id_ is not None and id_ < self._places[room, member]
        if late or (in_this_epoch and number < newest and not again):
            self.disorder.append(f"{event} as {id_}, after {newest}")
        elif id_ is not None:
            self._in_place(message, id_)
        self._newest[room, member, sender] = (
            id_.epoch if id_ else epoch,
            max(number, newest) if in_this_epoch else number,
        )
        self._places[room, member] = max(id_ or BEFORE_ALL, self._places[room, member])

    def _in_place(self, message: Message, id_: MessageId) -> None:
        if message.id is None:
            message.id = id_
        elif message.id.epoch != id_.epoch:
            message.id = max(message.id, id_)
            self.across += 1
        elif message.id != id_:
            self.disorder.append(f"a message is both {message.id} and {id_}")

    def told(self, room: str, member: str, now: float) -> None:
        """A member got a report of a loss, which covers the messages sent until now, and no later ones."""
        self._told[room, member] = now

    @property
    def members_told(self) -> set[tuple[str, str]]:
        """The members that got a report of a loss, as room and name."""
        return set(self._told)

    def missing(self) -> list[tuple[str, str, int, str]]:
        """The owed messages that a member did not get, although it got no later report of a loss."""
        return [
            (room, sender, number, member)
            for room, sender, number, member in self.undelivered()
            if self._messages[room, sender, number].said > self._told.get((room, member), -1.0)
        ]

    def undelivered(self) -> list[tuple[str, str, int, str]]:
        """The messages that the relay acknowledged, or delivered to others, and that a member did not get."""
        return [
            (room, sender, number, member)
            for (room, sender, number), message in self._messages.items()
            if message.acknowledged or message.heard
            for member in self._rooms[room] - {sender} - message.heard.keys()
        ]

    def everybody_heard(self, members: Container[tuple[str, str]], since: float) -> bool:
        """Whether all later messages have reached all of these members (room and name)."""
        return all(
            member == sender or member in message.heard or (room, member) not in members
            for (room, sender, _), message in self._messages.items()
            if message.said >= since
            for member in self._rooms[room]
        )

    @property
    def unacknowledged(self) -> int:
        """How many messages are on their way, or were given up."""
        return sum(not message.acknowledged for message in self._messages.values())

    def latencies(self) -> list[float]:
        """The seconds from the beginning of each message to each receipt."""
        return [at - message.said for message in self._messages.values() for at in message.heard.values()]

    def verdict(self, fault_ended: float, excused: Container[tuple[str, str]] = ()) -> Verdict:
        """Count everything; `excused` are members that cannot get all messages, as room and name."""
        return Verdict(
            sent=len(self._messages),
            acknowledged=len(self._messages) - self.unacknowledged,
            delivered=sum(len(message.heard) for message in self._messages.values()),
            lost=sum((room, member) not in excused for room, _, _, member in self.undelivered()),
            silent=len(self.missing()),
            repeated=len(self.repeats),
            disordered=len(self.disorder),
            across=self.across,
            told=len(self._told),
            whole_after=max(0.0, self._whole(fault_ended) - fault_ended),
            lost_acknowledged=sum(
                self._messages[room, sender, number].acknowledged for room, sender, number, _ in self.undelivered()
            ),
        )

    def _whole(self, fault_ended: float) -> float:
        late = sorted(
            (message.said, max(message.heard.values()))
            for message in self._messages.values()
            if message.heard and max(message.heard.values()) - message.said > _PROMPT
        )
        whole = fault_ended
        for said, heard in late:
            if said + _PROMPT <= whole + _CALM or heard - said > _CALM:
                whole = max(whole, heard)
        return whole
