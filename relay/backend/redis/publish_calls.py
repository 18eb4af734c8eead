"""Script calls that publish: messages into one room in one turn of the event loop share a call."""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from relay.backend.bus import Published, no_such_peer
from relay.backend.redis.connection import call
from relay.backend.redis.fence import GIVEN_UP, unfenced
from relay.backend.redis.place import Redis
from relay.backend.redis.publishing import PublishCommands, shares
from relay.backend.redis.replies import is_noscript
from relay.model.envelope import MembershipVersion, read_id
from relay.model.errors import NotMember, Refused, RelayError, Replaced, Unavailable
from relay.model.publication import Publication, Receipt

log = logging.getLogger("relay.backend.redis")

_MOST: Final = 16
"""Messages of one call. Redis serves nobody else meanwhile: for about as long as it takes for one client to join."""

_Entry = tuple[Publication, Published]
"""A publication, and the callback that takes its outcome."""


class PublishCalls:
    """Sends publications at the end of the turn in which they come, several of one room in one call where possible.

    Nothing waits for longer: all calls of a turn leave in one write, with one message in them or with several. The
    order within a room is that of the calls of `add`, and any other command that comes later in the turn stays behind.
    """

    def __init__(self, commands: PublishCommands, client: Redis) -> None:
        self._commands = commands
        self._client = client
        self._at = client.at_room
        self._entries: list[_Entry] = []
        client.on_command = self.send

    def add(self, publication: Publication, done: Published) -> None:
        """Send a publication in this turn; `done` is called once, with the outcome."""
        if not self._entries:
            asyncio.get_running_loop().call_soon(self._end_turn)
        self._entries.append((publication, done))

    def send(self) -> None:
        """Send what came in this turn so far."""
        if self._entries:
            entries, self._entries = self._entries, []
            for call in _grouped(entries):
                try:
                    self._send(call)
                except Exception as error:
                    self._fail(call, error)

    def _end_turn(self) -> None:
        self.send()
        # In this turn, and not in the next one, for which the connection has planned its write.
        self._client.flush()

    def _send(self, entries: list[_Entry]) -> None:
        publication, done = entries[0]
        if len(entries) == 1:
            command = self._commands.write(publication)
            self._at(publication.room).send(command, partial(self._published, publication, done))
        elif command := self._commands.write_together([entry[0] for entry in entries]):
            self._at(publication.room).send(command, partial(self._published_together, entries))
        else:
            for entry in entries:
                self._send([entry])

    # Outcomes.

    def _published(self, publication: Publication, done: Published, reply: Any) -> None:
        # `type` and not `isinstance`, which is slower; the fast path replies with nothing but the id.
        if type(reply) is bytes:
            done(Receipt(reply))
        elif reply == GIVEN_UP or is_noscript(reply):
            # Written again and not kept: that would cost memory for each message, and this happens hardly ever.
            late = reply == GIVEN_UP
            command = _again(self._commands.write(publication), late=late)
            self._at(publication.room).resend(command, lambda reply: done(self._outcome(reply)), late=late)
        else:
            done(self._outcome(reply))

    def _published_together(self, entries: list[_Entry], reply: Any) -> None:
        late = reply == GIVEN_UP
        if late or is_noscript(reply):
            place = self._at(entries[0][0].room)
            if command := self._commands.write_together([entry[0] for entry in entries]):
                place.resend(_again(command, late=late), partial(self._resolve, entries), late=late)
                return
            # The memory of Redis has become full meanwhile.
            for publication, done in entries:
                command = _again(self._commands.write(publication), late=late)
                place.resend(command, partial(self._resolve, [(publication, done)]), late=late)
        else:
            self._resolve(entries, reply)

    def _fail(self, entries: Sequence[_Entry], error: Exception) -> None:
        """Tell the publishers that their messages could not be written; the other ones of the turn go on."""
        log.error("a message could not be sent to Redis (report this as a bug)", exc_info=error)
        for _, done in entries:
            call(done, Unavailable())

    def _resolve(self, entries: Sequence[_Entry], reply: Any) -> None:
        """Hand each publisher its outcome: a result of its own, or the error of the whole call."""
        whole = type(reply) is list and len(reply) == len(entries)
        for number, (_, done) in enumerate(entries):
            result = reply[number] if whole else None
            if type(result) is bytes:
                outcome: Receipt | RelayError = Receipt(result)
            else:
                outcome = self._outcome(result) if whole else self._client.script_error(reply)
            # An error of one publisher must not take the outcomes of the others along.
            call(done, outcome)

    def _outcome(self, reply: Any) -> Receipt | RelayError:
        match reply:
            case bytes():
                return Receipt(reply)
            case [b"sent", bytes() as text, bytes() as version]:
                return Receipt(text, version=MembershipVersion(int(version), read_id(text).epoch))
            case [b"repeat", bytes() as text]:
                return Receipt(text, repeat=True)
            case [b"early"]:
                return Refused("out_of_order")
            case [b"absent", [*peers]]:
                return no_such_peer([peer.decode("ascii") for peer in peers])
            case [b"replaced"]:
                return Replaced()
            case [b"unknown"]:
                return NotMember()
            case _:
                return self._client.script_error(reply)


def _again(command: bytes, *, late: bool) -> bytes:
    return unfenced(command) if late else command


def _grouped(entries: Sequence[_Entry]) -> list[list[_Entry]]:
    """Return the entries of each call, in the order of the calls; a room's entries keep their own order."""
    calls: list[list[_Entry]] = []
    # The last call of each room.
    last: dict[str, list[_Entry]] = {}
    for entry in entries:
        publication = entry[0]
        room = publication.room
        call = last.get(room)
        if call is not None and _may_join(call, publication):
            call.append(entry)
        else:
            last[room] = call = [entry]
            calls.append(call)
    return calls


def _may_join(call: Sequence[_Entry], publication: Publication) -> bool:
    first = call[0][0]
    return (
        first.version == publication.version
        and first.command.stored == publication.command.stored
        and len(call) < _MOST
        and shares(publication)
        # All others were looked at when they joined.
        and (len(call) > 1 or shares(first))
    )
