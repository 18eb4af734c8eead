"""Script calls that publish: messages of one turn of the event loop share calls."""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from relay.backend.bus import Published, no_such_peer
from relay.backend.redis.connection import call as hand_out
from relay.backend.redis.fence import GIVEN_UP
from relay.backend.redis.place import Redis, RedisPlace, send_again
from relay.backend.redis.publishing import PublishCommands, text_of
from relay.backend.redis.replies import is_noscript
from relay.backend.redis.shared_calls import ALONE, Entry, RoomMessages, SharedCall
from relay.model.envelope import MembershipVersion, read_id
from relay.model.errors import NotMember, Refused, RelayError, Replaced, Unavailable
from relay.model.publication import Publication, Receipt

log = logging.getLogger("relay.backend.redis")


_MOST_BYTES: Final = 4096
"""Bytes of each message of a call with several: 64 KB in all, as in a call with one large message."""


class _Turn:
    """The calls of one turn of the event loop, in their order.

    The messages of a room keep their order; those of different rooms may change theirs. With `one_room`, all messages
    of a call are of one room: a cluster allows a script only keys of one slot.
    """

    def __init__(self, commands: PublishCommands, *, one_room: bool) -> None:
        self.calls: list[SharedCall] = []
        self._commands = commands
        self._one_room = one_room
        # The last messages of each room, and the call that takes further rooms.
        self._last: dict[str, RoomMessages] = {}
        self._open: SharedCall | None = None

    def add(self, entry: Entry) -> None:
        """Add a message to a call, ahead of which are all calls with earlier messages of its room."""
        publication = entry[0]
        room, addressees, text = publication.room, len(publication.command.to), text_of(publication)
        size, last, call = len(text), self._last.get(room), self._open
        template = self._commands.template(room) if last is None else last.template
        kind = self._commands.kind(publication, size, template)
        if kind == ALONE or size > _MOST_BYTES:
            call = self._begin(kind)
        else:
            if last is not None:
                latest = self.calls[last.call]
                if latest.takes(kind, addressees) and last.version == publication.version:
                    latest.messages_left -= 1
                    latest.addressees_left -= addressees
                    last.entries.append(entry)
                    last.texts.append(text)
                    return
                if call is not None and call.number <= last.call:
                    call = None
            if call is None or self._one_room or not call.takes(kind, addressees):
                call = self._open = self._begin(kind)
        call.messages_left = 0 if size > _MOST_BYTES else call.messages_left - 1
        call.addressees_left -= addressees
        messages = self._last[room] = RoomMessages(call.number, template, entry, text)
        call.rooms.append(messages)

    def _begin(self, kind: int) -> SharedCall:
        call = SharedCall(len(self.calls), kind)
        self.calls.append(call)
        return call


class PublishCalls:
    """Sends publications at the end of the turn in which they come, several in one call where possible.

    Nothing waits for longer: all calls of a turn leave in one write, with one message in them or with several. The
    order within a room is that of the calls of `add`, and any other command that comes later in the turn stays behind.
    """

    def __init__(self, commands: PublishCommands, client: Redis) -> None:
        self._commands = commands
        self._client = client
        self._at = client.at_room
        self._one_room = client.clustered
        self._entries: list[Entry] = []
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
            for call in self._calls(entries):
                try:
                    self._send(call)
                except Exception as error:
                    self._fail(call.entries(), error)

    def _end_turn(self) -> None:
        self.send()
        # In this turn, and not in the next one, for which the connection has planned its write.
        self._client.flush()

    def _calls(self, entries: Sequence[Entry]) -> list[SharedCall]:
        turn = _Turn(self._commands, one_room=self._one_room)
        for entry in entries:
            try:
                turn.add(entry)
            except Exception as error:
                self._fail([entry], error)
        return turn.calls

    def _send(self, call: SharedCall) -> None:
        publication, done = call.rooms[0].entries[0]
        place = self._at(publication.room)
        if call.kind == ALONE:
            place.send(self._commands.write(publication), partial(self._published, publication, done))
        elif command := self._commands.write_together(call):
            place.send(command, partial(self._published_together, call))
        else:
            for publication, done in call.entries():
                try:
                    place.send(self._commands.write(publication), partial(self._published, publication, done))
                except Exception as error:
                    self._fail([(publication, done)], error)

    # Outcomes.

    def _published(self, publication: Publication, done: Published, reply: Any) -> None:
        if reply == GIVEN_UP or is_noscript(reply):
            self._send_again(self._at(publication.room), publication, done, reply)
        else:
            done(self._outcome(reply))

    def _published_together(self, call: SharedCall, reply: Any) -> None:
        if reply == GIVEN_UP or is_noscript(reply):
            self._send_together_again(call, reply)
        else:
            self._resolve(call, reply)

    def _send_together_again(self, call: SharedCall, reply: Any) -> None:
        place = self._at(call.rooms[0].entries[0][0].room)
        try:
            if command := self._commands.write_together(call):
                send_again(place, command, partial(self._resolve, call), reply)
                return
        except Exception as error:
            # Nobody else tells the publishers: the reply to the first call was the last word on it.
            self._fail(call.entries(), error)
            return
        # The memory of Redis has become full meanwhile, or the history has ended.
        for publication, done in call.entries():
            self._send_again(place, publication, done, reply)

    def _send_again(self, place: RedisPlace, publication: Publication, done: Published, reply: Any) -> None:
        # Written again and not kept: that would cost memory for each message, and this happens hardly ever.
        try:
            command = self._commands.write(publication)
            send_again(place, command, lambda reply: done(self._outcome(reply)), reply)
        except Exception as error:
            self._fail([(publication, done)], error)

    def _fail(self, entries: Sequence[Entry], error: Exception) -> None:
        """Tell the publishers that their messages could not be written; the other ones of the turn go on."""
        log.error("a message could not be sent to Redis (report this as a bug)", exc_info=error)
        for _, done in entries:
            hand_out(done, Unavailable())

    def _resolve(self, call: SharedCall, reply: Any) -> None:
        """Hand each publisher its outcome: a result of its own, or the error of the whole call."""
        rooms = call.rooms
        if type(reply) is not list or len(reply) != len(rooms):
            for one in rooms:
                self._resolve_each(one, reply)
            return
        # Not `strict`: the compiled build makes a generic call of that.
        for one, result in zip(rooms, reply):  # noqa: B905
            if type(result) is not int:
                self._resolve_each(one, result)
                continue
            # All messages have taken the fast path, and the result is the sequence number of the last one.
            one.template.expected.learn(one.newest, one.mark, result)
            entries, ids = one.entries, one.ids
            if result != one.newest or not ids:
                epoch, number = one.version.epoch, len(entries)
                ids = [b"%d-%d" % (epoch, seq) for seq in range(result - number + 1, result + 1)]
            for entry, its_id in zip(entries, ids):  # noqa: B905
                # An error of one publisher must not take the outcomes of the others along.
                hand_out(entry[1], Receipt(its_id))

    def _resolve_each(self, one: RoomMessages, results: Any) -> None:
        one.template.expected.forget()
        whole = type(results) is list and len(results) == len(one.entries)
        for number, (_, done) in enumerate(one.entries):
            hand_out(done, self._outcome(results[number]) if whole else self._client.script_error(results))

    def _outcome(self, reply: Any) -> Receipt | RelayError:
        """Return the outcome in a reply; never raises, as the publisher would be told nothing."""
        try:
            return self._read(reply)
        except (ValueError, AttributeError):
            # A part of it is not what a script returns.
            return self._client.script_error(reply)

    def _read(self, reply: Any) -> Receipt | RelayError:
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
