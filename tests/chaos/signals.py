"""Counts the signals that a page got; the relay acknowledges none to their senders."""

from collections import defaultdict


class Signals:
    """The signals that one page got, by the connection over which another one sent them, numbered from 0.

    The relay reads a connection in order. So of each, the page must get all signals before the last one that it got: a
    gap is a signal that the relay lost, and not one that was lost with the sender's connection.

    `again` has the signals that came twice, on either side of a loss of the page's own connection: for each, how many
    seconds before the loss it came first.
    """

    def __init__(self) -> None:
        self.received = 0
        self.repeated = 0
        self.disordered = 0
        self.again: list[float] = []
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

    @property
    def lost(self) -> int:
        """How many signals are missing before a later one of the same connection."""
        return len(self.gaps)

    @property
    def gaps(self) -> list[str]:
        """The signals that are missing, as connection and number."""
        return [
            f"{connection}: {number}"
            for connection, heard in self._heard.items()
            for number in range(max(heard))
            if number not in heard
        ]
