"""The commands of one slot: redirections, order, holding, and the end of it."""

import asyncio
import gc
import sys
import time
from collections import deque
from typing import Any

import hiredis
import pytest

from relay.backend.headroom import Headroom
from relay.backend.redis.cluster.redirects import HANDED_BACK, Redirect
from relay.backend.redis.cluster.slot import Slot
from relay.backend.redis.fence import GIVEN_UP, Fenced, unfenced
from relay.backend.redis.place import not_executed, send_again
from relay.backend.redis.replies import ErrorReplies
from relay.model.errors import OutcomeUnknown, Unavailable


class Link:
    """The client of a node: the test answers its commands."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.resent: list[tuple[bytes, bool]] = []
        self.pending: deque[Any] = deque()
        self.reachable = False

    def send(self, command: bytes, done: Any) -> None:
        self.sent.append(command)
        self.pending.append(done)

    def resend(self, command: bytes, done: Any, *, late: bool = False) -> None:
        self.resent.append((command, late))
        self.send(command, done)

    def answer(self, *replies: Any) -> None:
        for reply in replies:
            self.pending.popleft()(reply)


class Awake:
    """The time of a process that never stands still."""

    @property
    def now(self) -> float:
        return time.monotonic()


class Cluster:
    """A router whose nodes are `a`, `b` and `c`."""

    def __init__(self, timeout: float = 5, most: int = 100) -> None:
        self.links = {name: Link() for name in "abc"}
        self.owner: Any = self.links["a"]
        self.errors, self.headroom, self.timeout, self.most, self.held = ErrorReplies(int), Headroom(), timeout, most, 0
        self.refreshed = 0
        self.awake: Any = Awake()

    def client_of(self, slot: int) -> Any:
        return self.owner

    def follow(self, redirect: Redirect, slot: int, asked: Any) -> Any:
        self.refreshed += 1
        return None if redirect.target is None else self.links[redirect.target[0]]

    def may_hold(self, size: int) -> bool:
        self.held += 1
        if self.held > self.most:
            self.held -= 1
            return False
        return True

    def released(self, size: int) -> None:
        self.held -= 1


def error(text: str) -> hiredis.ReplyError:
    return hiredis.ReplyError(text)


MOVED_B = error("MOVED 7 b:1")


class Desk:
    def __init__(self, **options: Any) -> None:
        self.cluster = Cluster(**options)
        self.slot = Slot(7, self.cluster)
        self.replies: list[tuple[str, Any]] = []

    def send(self, *names: str) -> None:
        for name in names:
            self.slot.send(name.encode(), lambda reply, name=name: self.replies.append((name, reply)))

    def link(self, name: str) -> Link:
        return self.cluster.links[name]


async def turns(number: int = 3) -> None:
    for _ in range(number):
        await asyncio.sleep(0.001)


async def test_commands_go_to_the_node_of_the_slot_in_order() -> None:
    desk = Desk()
    desk.send("1", "2")
    assert desk.link("a").sent == [b"1", b"2"]
    desk.link("a").answer(b"x", b"y")
    assert desk.replies == [("1", b"x"), ("2", b"y")]
    assert desk.slot.answered_by is desk.link("a")


async def test_commands_that_come_back_are_not_overtaken_by_later_ones() -> None:
    desk = Desk()
    desk.send("1", "2", "3")
    desk.link("a").answer(MOVED_B)
    # The others are under way to the old node; this one is later than all of them.
    desk.send("4")
    await turns()
    assert desk.link("b").sent == []
    desk.link("a").answer(MOVED_B, MOVED_B)
    await turns()
    # One at a time, until the new node has served one.
    assert desk.link("b").sent == [b"1"]
    desk.link("b").answer(b"x")
    desk.send("5")
    assert desk.link("b").sent == [b"1", b"2", b"3", b"4", b"5"]
    assert desk.cluster.held == 0


NOSCRIPT = error("NOSCRIPT No matching script")


@pytest.mark.parametrize("reply", [NOSCRIPT, GIVEN_UP])
async def test_a_call_that_is_sent_again_keeps_its_place_in_a_pause(reply: Any) -> None:
    desk = Desk()
    late = reply is GIVEN_UP
    first, again = Fenced(b"*1\r\n1"), (unfenced if late else bytes)(Fenced(b"*1\r\n1"))
    replies: list[Any] = []

    def done(answer: Any) -> None:
        if not_executed(first, answer):
            send_again(desk.slot, first, replies.append, answer)
        else:
            replies.append(answer)

    desk.slot.send(first, done)
    desk.send("2", "3")
    desk.link("a").answer(MOVED_B, MOVED_B, MOVED_B)
    await turns()
    link = desk.link("b")
    assert link.sent == [first]
    link.answer(reply)
    assert link.sent == [first, again, b"2", b"3"]
    assert link.resent == [(again, late)]
    link.answer(b"x", b"y", b"z")
    assert replies == [b"x"]
    assert [answer for _, answer in desk.replies] == [b"y", b"z"]
    assert desk.cluster.held == 0


@pytest.mark.parametrize("late", [False, True])
async def test_a_call_that_is_sent_again_in_a_pause_is_still_known_as_such(late: bool) -> None:
    desk = Desk()
    desk.send("0")
    desk.link("a").answer(MOVED_B)
    desk.slot.resend(b"1", lambda reply: None, late=late)
    desk.slot.resend(b"2", lambda reply: None, late=late)
    await turns()
    desk.link("b").answer(MOVED_B)
    await turns()
    desk.link("b").answer(b"x")
    assert desk.link("b").sent == [b"0", b"0", b"1", b"2"]
    assert desk.link("b").resent == [(b"1", late), (b"2", late)]


async def test_a_reply_whose_callback_sends_at_once_does_not_send_what_is_held_twice() -> None:
    """As that of a script which the node does not have: it is sent again."""
    desk = Desk()
    desk.slot.send(b"1", lambda reply: desk.send("3"))
    desk.send("2")
    desk.link("a").answer(MOVED_B, MOVED_B)
    await turns()
    desk.link("b").answer(b"x")
    await turns()
    assert desk.link("b").sent == [b"1", b"2", b"3"]
    # Another pause, while a timer of the one before may be due: nothing of it is lost.
    desk.link("b").answer(b"y", b"z")
    assert [name for name, _ in desk.replies] == ["2", "3"]
    assert desk.cluster.held == 0


async def test_the_timer_of_an_earlier_pause_does_not_end_a_later_one() -> None:
    desk = Desk()
    desk.slot.send(b"1", lambda reply: desk.send("3"))
    desk.send("2")
    desk.link("a").answer(MOVED_B, MOVED_B)
    await turns()
    # In one turn: the slot goes on, and moves again before the timer is due that the callback has set.
    desk.link("b").answer(b"x", error("MOVED 7 c:1"))
    desk.send("4")
    await turns()
    desk.link("b").answer(error("MOVED 7 c:1"))
    await turns()
    desk.link("c").answer(b"y")
    assert desk.link("c").sent == [b"2", b"3", b"4"]


async def test_a_node_may_be_asked_for_one_command_only() -> None:
    desk = Desk()
    desk.send("1", "2")
    desk.link("a").answer(error("ASK 7 b:1"), error("ASK 7 b:1"))
    await turns()
    assert desk.link("b").sent == [b"*1\r\n$6\r\nASKING\r\n", b"1"]
    desk.link("b").answer(b"OK", b"x")
    await turns()
    # The next command goes to the old node first, which may still have its key.
    assert desk.link("a").sent[2:] == [b"2"]
    desk.link("a").answer(b"y")
    assert desk.replies == [("1", b"x"), ("2", b"y")]


async def test_a_slot_on_its_way_is_tried_again_until_it_has_moved() -> None:
    desk = Desk()
    desk.send("1", "2")
    desk.link("a").answer(error("TRYAGAIN x"), error("TRYAGAIN x"))
    await asyncio.sleep(0.08)
    assert desk.link("a").sent[2:] == [b"1"]
    desk.link("a").answer(MOVED_B)
    await turns()
    desk.link("b").answer(b"x")
    desk.link("b").answer(b"y")
    assert desk.replies == [("1", b"x"), ("2", b"y")]


async def test_a_slot_that_moves_by_the_topology_waits_for_the_answers_of_its_old_node() -> None:
    desk = Desk()
    desk.send("1")
    desk.slot.move_to(desk.link("b"))
    desk.send("2")
    await turns()
    assert desk.link("b").sent == []
    desk.link("a").answer(b"x")
    await turns()
    assert desk.link("b").sent == [b"2"]


async def test_commands_that_were_never_sent_go_to_the_new_node() -> None:
    desk = Desk()
    desk.send("1", "2")
    desk.slot.move_to(desk.link("c"))
    desk.link("a").answer(HANDED_BACK, HANDED_BACK)
    await turns()
    desk.link("c").answer(b"x")
    assert desk.link("c").sent == [b"1", b"2"]


async def test_a_command_whose_node_is_lost_has_an_unknown_outcome_and_is_not_sent_again() -> None:
    desk = Desk()
    desk.send("1")
    lost = OutcomeUnknown()
    desk.link("a").answer(lost)
    assert desk.replies == [("1", lost)]
    assert not any(link.sent for name, link in desk.cluster.links.items() if name != "a")


async def test_a_command_that_no_node_serves_fails_in_time_with_the_reason() -> None:
    desk = Desk(timeout=0.1)
    desk.send("1")
    desk.link("a").answer(error("CLUSTERDOWN Hash slot not served"))
    while not desk.replies:
        await asyncio.sleep(0.01)
        while desk.link("a").pending:
            desk.link("a").answer(error("CLUSTERDOWN Hash slot not served"))
    ((_, reply),) = desk.replies
    assert isinstance(reply, Unavailable)
    assert "CLUSTERDOWN Hash slot not served" in reply.report
    assert "CLUSTERDOWN" not in reply.text
    assert desk.cluster.held == 0


async def test_commands_are_told_in_time_although_a_redirection_cannot_be_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(timeout=0.1)

    def fail(*arguments: Any) -> None:
        raise RuntimeError

    desk.send("1", "2")
    desk.link("a").answer(error("TRYAGAIN x"), error("TRYAGAIN x"))
    await turns()
    # The first one is sent again; with its answer, nothing is under way, so that no reply can bring the next try.
    while not desk.link("a").pending:
        await asyncio.sleep(0.01)
    monkeypatch.setattr(desk.cluster, "follow", fail)
    with pytest.raises(RuntimeError):
        desk.link("a").answer(MOVED_B)
    monkeypatch.undo()
    async with asyncio.timeout(5):
        while len(desk.replies) < 2:
            await asyncio.sleep(0.01)
            while desk.link("a").pending:
                desk.link("a").answer(error("TRYAGAIN x"))
    assert [type(reply) for _, reply in desk.replies] == [Unavailable, Unavailable]
    assert desk.cluster.held == 0


async def test_a_slot_without_a_node_waits_for_one() -> None:
    desk = Desk()
    desk.slot.move_to(None)
    desk.send("1")
    assert not desk.slot.reachable
    await turns()
    assert desk.cluster.refreshed
    desk.slot.move_to(desk.link("b"))
    await asyncio.sleep(0.08)
    desk.link("b").answer(b"x")
    assert desk.replies == [("1", b"x")]


async def test_no_more_commands_are_held_than_may_be() -> None:
    desk = Desk(most=2)
    desk.slot.move_to(None)
    desk.send("1", "2", "3")
    ((name, reply),) = desk.replies
    assert name == "3"
    assert isinstance(reply, Unavailable)


async def test_a_paused_slot_is_reachable_so_that_joins_wait_in_its_order() -> None:
    """A join that finds Redis unreachable asks again and again, at once when a command without a key is answered."""
    desk = Desk()
    desk.link("a").reachable = True
    desk.send("1")
    desk.link("a").answer(error("TRYAGAIN x"))
    assert desk.slot.reachable


async def test_an_error_of_a_callback_does_not_stop_the_slot() -> None:
    desk = Desk()

    def fail(reply: Any) -> None:
        raise RuntimeError

    desk.slot.send(b"1", fail)
    desk.send("2")
    desk.slot.move_to(desk.link("b"))
    with pytest.raises(RuntimeError):
        desk.link("a").answer(b"x")
    desk.link("a").answer(b"y")
    desk.send("3")
    await turns()
    assert desk.link("b").sent == [b"3"]


async def test_a_slot_is_small_unless_it_is_paused() -> None:
    desk = Desk()
    desk.send("1")
    desk.link("a").answer(MOVED_B)
    await turns()
    desk.link("b").answer(b"1")
    await turns()
    assert desk.replies == [("1", b"1")]
    # A worker with many rooms has all 16,384: the garbage collector looks at each object that they refer to.
    assert not hasattr(desk.slot, "__dict__")
    assert sys.getsizeof(desk.slot) < 150
    assert not [one for one in gc.get_referents(desk.slot) if isinstance(one, deque | dict | list)]
