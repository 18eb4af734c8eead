"""Counts the signals between pages, each by its fate; the relay acknowledges none to their senders."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field


class Signals:
    """The signals that one page got, by the connection over which another one sent them, numbered from 0.

    `again` has the signals that came twice, on either side of a loss of the page's own connection: for each, how many
    seconds before the loss it came first. `told` are the times at which the relay told the page that it has missed
    messages.
    """

    def __init__(self) -> None:
        self.received = 0
        self.repeated = 0
        self.disordered = 0
        self.again: list[float] = []
        self.told: list[float] = []
        self._heard: dict[str, dict[int, float]] = defaultdict(dict)

    def hear(self, connection: str, number: int, *, now: float, own_loss: float) -> bool:
        """Count a signal; return whether it is new. `own_loss` is the time of the last loss of the page's connection.

        Times are in seconds.
        """
        heard = self._heard[connection]
        before = heard.get(number)
        if before is not None:
            if before <= own_loss <= now:
                self.again.append(own_loss - before)
            else:
                self.repeated += 1
            return False
        self.disordered += number < max(heard, default=-1)
        heard[number] = now
        self.received += 1
        return True

    def has(self, connection: str, number: int) -> bool:
        """Whether the page got this signal."""
        return number in self._heard.get(connection, {})

    def last(self, connection: str) -> int:
        """The newest signal that the page got of a connection; -1 for none."""
        return max(self._heard.get(connection, {}), default=-1)


class SentSignals:
    """The signals that one page sent over one connection, by receiver: for each, when it was sent.

    `errors` are the errors about signals that the page was told over the connection, by the receiver that they name.
    """

    def __init__(self, connection: str) -> None:
        self.connection = connection
        self.ended = False
        self.errors: Counter[str] = Counter()
        self.times: dict[str, list[float]] = defaultdict(list)

    def send(self, receiver: str, now: float) -> int:
        """Count a signal; returns its number."""
        self.times[receiver].append(now)
        return len(self.times[receiver]) - 1


@dataclass
class Fates:
    """How many signals were delivered, how many of the others somebody was told of, and which ones nobody was.

    `sender_told`: the relay told the sender an error that names the receiver. `receiver_told`: it told the receiver
    later that it has missed messages. `with_connection`: the sender's connection ended, as its page knows, and no later
    signal of it arrived. `silent` names all others, as connection, receiver and number.
    """

    delivered: int = 0
    sender_told: int = 0
    receiver_told: int = 0
    with_connection: int = 0
    silent: list[str] = field(default_factory=list)

    @property
    def told(self) -> int:
        """How many undelivered signals somebody was told of."""
        return self.sender_told + self.receiver_told + self.with_connection

    def __str__(self) -> str:
        """The counts as a sentence."""
        return (
            f"{self.delivered:,} delivered, {self.sender_told} told to their sender, {self.receiver_told} to their "
            f"receiver, {self.with_connection} lost with their sender's connection, {len(self.silent)} silently lost"
        )

    def add(self, sent: SentSignals, receiver: str, got: Signals) -> None:
        """Count the signals of one connection to one receiver."""
        last, errors = got.last(sent.connection), sent.errors[receiver]
        for number, time in enumerate(sent.times[receiver]):
            if got.has(sent.connection, number):
                self.delivered += 1
            elif errors:
                errors -= 1
                self.sender_told += 1
            elif any(told >= time for told in got.told):
                self.receiver_told += 1
            elif sent.ended and number > last:
                self.with_connection += 1
            else:
                self.silent.append(f"{sent.connection} to {receiver}: {number}")


def all_sent(connections: Iterable[SentSignals]) -> int:
    """How many signals were sent."""
    return sum(len(times) for sent in connections for times in sent.times.values())
