"""The bytes of a session over polls, and over the WebSocket after them, as one count."""

from typing import NamedTuple

from relay.rooms.connection import Transfer


class UpgradePoint(NamedTuple):
    """The bytes of a session that has upgraded: those of its polls, and those of its WebSocket at the upgrade.

    All that no poll had taken was among these, so it has arrived when they have.
    """

    polled: Transfer
    over_socket: int

    def go_on(self, transfer: Transfer) -> Transfer:
        """Return the bytes of polls and WebSocket together."""
        more = self.polled.written - self.over_socket
        arrived = transfer.received >= self.over_socket
        return Transfer(transfer.written + more, transfer.received + more if arrived else self.polled.received)
