"""The names of keys and Redis channels. A room's keys share the hash tag `{ROOM}`, and so one slot of a cluster.

Keys are separate in each database of Redis; Redis channels are not, so their names have the number of the database. In
database 0 they have none, as in versions that did not know of this.
"""

from collections.abc import Sequence

from mypy_extensions import mypyc_attr


@mypyc_attr(allow_interpreted_subclasses=True)
class Keys:
    """The names under one prefix, in one database of Redis.

    With a hash tag for `leases`, all keys of leases are in the slot of this tag.
    """

    def __init__(self, prefix: str, database: int = 0, *, leases: str = "") -> None:
        self._prefix = prefix
        # No prefix has an @, so that no other prefix leads to the same names.
        self._channel_prefix = f"{prefix}:@{database}" if database else prefix
        self._room_at = len(self._channel_prefix) + 2
        self._leases = f"{prefix}:leases:{{{leases}}}" if leases else prefix
        self.workers = f"{self._leases}:workers"
        self.lease_groups: Sequence[Keys] = (self,)
        """The keys of each group of leases; a worker has its lease in all groups."""
        self.fleet_key = f"{self._leases}:fleet-key"
        """The fleet key, or in a group of leases a copy of it."""
        self.run = f"{prefix}:run"
        # Queue, state and sender, in one slot. No room's key has this form.
        queue = f"{prefix}:webhook:{{queue}}"
        self.webhook = (queue, f"{queue}:state", f"{queue}:sender")

    def leases_of_room(self, room: str) -> "Keys":
        """Return the keys of the group in which workers have their lease for a room."""
        return self

    def leases_of_key(self, key: str) -> "Keys":
        """Return the keys of a group of leases that is, if possible, on the same Redis as a key."""
        return self

    def channel(self, room: str) -> str:
        """Return the Redis channel of a room."""
        return f"{self._channel_prefix}:{{{room}}}"

    def room_of(self, channel: bytes) -> str:
        """Return the room whose Redis channel this is."""
        return channel[self._room_at : -1].decode("ascii")

    def of_room(self, room: str) -> tuple[str, str, str, str, str, str]:
        """Return the keys of a room, as every script takes them: meta, presence, repeats, history, options and quiet.

        shared.lua describes them. The options are the rules of the room.
        """
        name = self._room(room)
        return (
            f"{name}:meta",
            f"{name}:presence",
            f"{name}:repeats",
            f"{name}:log",
            f"{name}:options",
            f"{name}:quiet",
        )

    def positions(self, room: str) -> str:
        """Return the key of the delivered positions of a room's members."""
        return f"{self._room(room)}:positions"

    def waiting(self, room: str) -> str:
        """Return the key of the messages that wait for absent members of a room."""
        return f"{self._room(room)}:waiting"

    def subjects(self, room: str) -> str:
        """Return the key of the subjects of the tokens with which a room's members came."""
        return f"{self._room(room)}:subjects"

    def guards(self, room: str) -> str:
        """Return the Redis channel of the workers that can restore the rules of a room."""
        return f"{self.channel(room)}:rules"

    def places(self, room: str) -> str:
        """Return the key of the places of a room's members, by address."""
        return f"{self._room(room)}:places"

    def large(self, room: str) -> str:
        """Return the key of the list of large messages in a room's history."""
        return f"{self._room(room)}:large"

    def watched(self, room: str) -> str:
        """Return the key that a room has while it is watched."""
        return f"{self._room(room)}:watched"

    def outbox(self, room: str) -> str:
        """Return the key of a room's events for the webhook that are not in the queue yet."""
        return f"{self._room(room)}:outbox"

    def broadcast(self, room: str) -> str:
        """Return the key of the tree of a room's broadcast."""
        return f"{self._room(room)}:broadcast"

    def channels(self, room: str) -> str:
        """Return the key of the channels that a room's messages have used lately."""
        return f"{self._room(room)}:channels"

    def of_tree(self, room: str) -> tuple[str, ...]:
        """Return the keys of a room as the scripts about its tree take them; tree.lua describes the last four."""
        name = self._room(room)
        return (*self.of_room(room), f"{name}:tree", f"{name}:tree-paths", f"{name}:tree-ages", f"{name}:tree-writes")

    def of_positions(self, room: str) -> tuple[str, str]:
        """Return the keys of a room's presence and of its delivered positions."""
        return self.of_room(room)[1], self.positions(room)

    def probe(self, worker: str) -> str:
        """Return the Redis channel to which a worker publishes its own probe."""
        return f"{self._channel_prefix}:worker:{worker}:probe"

    def address(self, owner: str) -> str:
        """Return the key of the address at which a worker takes requests that other replicas forward."""
        return f"{self._prefix}:address:{owner}"

    def usage(self, kind: str, address: str, minute: int) -> str:
        """Return the key of the number that counts the use of an address in a minute."""
        return f"{self._prefix}:usage:{kind}:{address}:{minute}"

    def turn(self, name: str) -> str:
        """Return the key that exists while it is some worker's turn, or was a moment ago."""
        return f"{self._prefix}:turn:{name}"

    def shared(self, name: str) -> str:
        """Return the key of the result that the worker of a turn leaves for the others."""
        return f"{self._prefix}:shared:{name}"

    def checkpoint(self, name: str) -> str:
        """Return the key of the checkpoints of a stream, for whose secret the name stands."""
        return f"{self._prefix}:checkpoint:{name}"

    def subject(self, subject: str) -> str:
        """Return the key of the places of a subject, which a hash stands for."""
        return f"{self._prefix}:subject:{subject}"

    def worker_rooms(self, lease: str) -> str:
        """Return the key of the set of rooms in which a lease has members."""
        return f"{self._leases}:worker:{lease}:rooms"

    def worker_index(self, lease: str) -> str:
        """Return the key of the same rooms in a sorted set, from which lists of rooms are read."""
        return f"{self._leases}:worker:{lease}:index"

    def _room(self, room: str) -> str:
        return f"{self._prefix}:{{{room}}}"
