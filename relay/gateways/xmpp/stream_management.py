"""Stream management (XEP-0198): counts stanzas in both directions, and keeps those that are not acknowledged."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from relay.gateways.xmpp.checkpoint import (
    MOST_BYTES,
    MOST_UNACKNOWLEDGED,
    Checkpoint,
    Entry,
    RoomReached,
    write_checkpoint,
)
from relay.gateways.xmpp.namespaces import SM
from relay.gateways.xmpp.writing import tag
from relay.ids import fingerprint
from relay.model.checkpoints import CHECKPOINT_TTL, FIRST_TURN
from relay.model.codec import Frame
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.errors import RelayError

MOST_WAITING: Final = 1_048_576
"""Bytes of stanzas that wait for a checkpoint, if no setting says less."""

ASK_EVERY: Final = 32
"""Stanzas after which the relay asks the client for an acknowledgement."""

RETRIES: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds after which a checkpoint is tried again that Redis did not take; then the stream is given up."""

REQUEST: Final = Frame(tag("r", {"xmlns": SM}).encode())

Spawn = Callable[[Coroutine[Any, Any, Any]], object]


class Store(Protocol):
    """Stores checkpoints; `relay.backend.checkpoints` says how."""

    async def keep(
        self, name: str, turn: int, data: bytes, texts: Mapping[int, bytes], gone: Sequence[int], seconds: float
    ) -> None:
        """Replace the checkpoint of a turn."""
        ...

    async def drop(self, name: str) -> None:
        """Forget a stream."""
        ...


class StreamIdentity(NamedTuple):
    """The parts of a checkpoint that stay the same."""

    user: str
    resource: str
    domain: str
    subject: str


class Source(NamedTuple):
    """Where a room is with a stanza; if it is `logged`, the stanza is the message with this id in its history.

    If it is `kept`, the stanza does not follow from that message alone: its text is in the checkpoint all the same.
    """

    room: str
    id: MessageId
    logged: bool = True
    kept: bool = False


class ManagedStream:
    """The stanzas of one stream that may be resumed with its `key`.

    `write` writes to the connection. `members` tells the peer id of the client in each of its rooms, and `asked` its
    IQs that have no answer. A checkpoint is written by `spawn`, one at a time; none without a `store`: such a stream is
    only counted. While Redis does not take
    it, the stanzas that wait for it are not written; at most `limit` bytes of them wait. It is tried again after
    `RETRIES`, and then `give_up` is called. `kept_for` is how many seconds the checkpoint is kept once the connection
    has ended.
    """

    def __init__(
        self,
        key: str,
        identity: StreamIdentity,
        store: Store | None,
        *,
        write: Callable[[Frame], None],
        members: Callable[[], Mapping[str, str]],
        asked: Callable[[], tuple[str, ...]],
        spawn: Spawn,
        give_up: Callable[[], None],
        turn: int = FIRST_TURN,
        limit: int = MOST_WAITING,
        kept_for: float = CHECKPOINT_TTL,
    ) -> None:
        self.key = key
        self._name = fingerprint(key)
        self._identity = identity
        self._store = store
        self._write = write
        self._members = members
        self._asked = asked
        self._spawn = spawn
        self._give_up = give_up
        self._attempts = 0
        self._retry: asyncio.TimerHandle | None = None
        self._turn = turn
        self._limit = limit
        self._kept_for = kept_for
        self.handled = 0
        # The numbers of the stanzas of the client whose outcome is not known yet, in order.
        self._open: list[int] = []
        self._written = self._acknowledged = self._bytes = 0
        self._entries: deque[Entry] = deque()
        self._reached: dict[str, MessageId] = {}
        self._waiting: deque[Frame] = deque()
        self._waiting_bytes = 0
        # The texts that the store has not got yet, and those that it may forget, by the numbers of their stanzas.
        self._new: dict[int, bytes] = {}
        self._gone: list[int] = []
        self._saving = self._again = self._ended = False

    def begin_at(self, number: int, handled: int, reached: Mapping[str, MessageId]) -> None:
        """Go on after a resumption: the client has got so many stanzas, and in each room everything up to an id."""
        self._written = self._acknowledged = number
        self.handled = handled
        self._reached = dict(reached)

    def enter(self, room: str, position: MessageId) -> None:
        """Take note that the client has entered a room at this position."""
        self._reached[room] = position

    def leave(self, room: str) -> None:
        """Take note that the client has left a room."""
        self._reached.pop(room, None)

    @property
    def overflows(self) -> bool:
        """Whether more waits for a checkpoint than may."""
        return len(self._waiting) > MOST_UNACKNOWLEDGED or self._waiting_bytes > self._limit

    def publish_key(self) -> str:
        """Return the key of the envelope that the client's newest stanza publishes: it sends it again if it has to."""
        return f"{self._name[:24]}.{self.handled}"

    def begin_work(self) -> int:
        """Return the number of the newest stanza, whose outcome is not known until `end_work`."""
        self._open.append(self.handled)
        return self.handled

    def end_work(self, number: int) -> None:
        """Take note of an outcome; its error, if it is one, has been sent."""
        self._open.remove(number)

    @property
    def served(self) -> int:
        """The number of stanzas of the client up to which each has its outcome.

        A client that comes back sends the later ones again. They have the same keys, and are published once.
        """
        return self._open[0] - 1 if self._open else self.handled

    # Out.

    def send(self, frame: Frame, source: Source | None) -> None:
        """Write a stanza: at once if it is in a history and nothing waits, else after a checkpoint."""
        self._written += 1
        logged = source is not None and source.logged
        room, position = (source.room, source.id) if source is not None else ("", BEFORE_ALL)
        self._keep(
            Entry("" if source is not None and logged and not source.kept else frame.data.decode(), room, *position)
        )
        self._put(frame, at_once=logged)
        if self._written % ASK_EVERY == 0:
            self._put(REQUEST, at_once=True)

    def acknowledge_client(self) -> None:
        """Tell the client how many of its stanzas are served, once a checkpoint says so as well."""
        self._put(Frame(tag("a", {"xmlns": SM, "h": str(self.served)}).encode()), at_once=False)

    def acknowledged(self, number: int) -> None:
        """Take note that the client has handled so many stanzas."""
        while self._entries and self._acknowledged < number:
            self._forget_first()

    def _keep(self, entry: Entry) -> None:
        self._entries.append(entry)
        if entry.text:
            self._new[self._written] = entry.text.encode()
        self._bytes += _size(entry)
        while len(self._entries) > MOST_UNACKNOWLEDGED or self._bytes > MOST_BYTES:
            self._forget_first()

    def _forget_first(self) -> None:
        entry = self._entries.popleft()
        self._acknowledged += 1
        if entry.text and self._new.pop(self._acknowledged, None) is None:
            self._gone.append(self._acknowledged)
        self._bytes -= _size(entry)
        if entry.room in self._reached:
            self._reached[entry.room] = max(self._reached[entry.room], entry.id)

    def _put(self, frame: Frame, *, at_once: bool) -> None:
        if self._store is None or (at_once and not self._waiting):
            self._write(frame)
            return
        self._waiting.append(frame)
        self._waiting_bytes += len(frame.data)
        self.save()

    # Checkpoints.

    def save(self) -> None:
        """Write a checkpoint, or another one after that which is being written."""
        self._again = True
        if self._store is not None and not self._saving and not self._ended:
            self._saving = True
            self._stop_retry()
            self._spawn(self._save(self._store))

    async def _save(self, store: Store) -> None:
        try:
            # Once the connection has ended, the client is in no room here, and its last checkpoint is written.
            while self._again and not self._ended:
                self._again = False
                count = len(self._waiting)
                if not await self._keep_all(store, CHECKPOINT_TTL):
                    # Until one is written, nothing that needs it is. The next stanza tries again as well.
                    self._try_later()
                    return
                self._attempts = 0
                for _ in range(min(count, len(self._waiting))):
                    frame = self._waiting.popleft()
                    self._waiting_bytes -= len(frame.data)
                    self._write(frame)
        finally:
            self._saving = False

    def _try_later(self) -> None:
        if self._ended or not self._waiting:
            return
        if self._attempts < len(RETRIES):
            self._retry = asyncio.get_running_loop().call_later(RETRIES[self._attempts], self._try_again)
        else:
            self._give_up()

    def _try_again(self) -> None:
        self._attempts += 1
        self.save()

    def _stop_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _keep_all(self, store: Store, seconds: float) -> Coroutine[Any, Any, bool]:
        """Write where the stream stands now, and the texts that the store has not got; False if it refuses."""
        new, gone = self._new, self._gone
        self._new, self._gone = {}, []
        data = write_checkpoint(self.checkpoint())
        return self._kept(store.keep(self._name, self._turn, data, new, gone, seconds), new, gone)

    async def _kept(self, keeping: Coroutine[Any, Any, None], new: dict[int, bytes], gone: list[int]) -> bool:
        try:
            await keeping
        except RelayError:
            # Perhaps it has them: the same again does no harm.
            forgotten = [number for number in new if number <= self._acknowledged]
            self._new = {number: text for number, text in new.items() if number > self._acknowledged} | self._new
            self._gone = [*gone, *forgotten, *self._gone]
            return False
        return True

    def checkpoint(self) -> Checkpoint:
        """Return where the stream stands."""
        peers = self._members()
        places = [
            RoomReached(room, peers[room], *position) for room, position in self._reached.items() if room in peers
        ]
        return Checkpoint(
            *self._identity,
            handled=self.served,
            written=self._written,
            acknowledged=self._acknowledged,
            asked=self._asked(),
            places=places,
            entries=list(self._entries),
        )

    def end(self, *, resumable: bool) -> None:
        """Write a last checkpoint, or forget the stream: its client has said goodbye."""
        self._ended = True
        self._stop_retry()
        if self._store is not None:
            last = self._keep_all(self._store, self._kept_for) if resumable else self._drop(self._store)
            self._spawn(last)

    async def _drop(self, store: Store) -> None:
        try:
            await store.drop(self._name)
        except RelayError:
            # It ends by itself.
            return


def _size(entry: Entry) -> int:
    return len(entry.text.encode())
