"""How keys and channels are named. A room's keys share the hash tag `{ROOM}`, and so one slot of a cluster."""


class Keys:
    """The names under one prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._room_at = len(prefix) + 2
        self.workers = f"{prefix}:workers"

    def channel(self, room: str) -> str:
        """The pub/sub channel of a room."""
        return f"{self._prefix}:{{{room}}}"

    def room_of(self, channel: bytes) -> str:
        """The room of a channel that `channel` named."""
        return channel[self._room_at : -1].decode("ascii")

    def of_room(self, room: str) -> tuple[str, str, str, str]:
        """What every room script works on: sequence, presence, repeat keys and log."""
        channel = self.channel(room)
        return f"{channel}:meta", f"{channel}:presence", f"{channel}:repeats", f"{channel}:log"

    def probe(self, worker: str) -> str:
        """The channel on which a worker listens for itself."""
        return f"{self._prefix}:worker:{worker}:probe"

    def worker_rooms(self, lease: str) -> str:
        """The set of rooms in which a lease has members."""
        return f"{self._prefix}:worker:{lease}:rooms"
