"""The order of stanzas and checkpoints."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import pytest

from relay.backend.memory.checkpoints import MemoryCheckpoints
from relay.gateways.xmpp import stream_management
from relay.gateways.xmpp.checkpoint import MOST_BYTES, MOST_UNACKNOWLEDGED, Checkpoint, read_checkpoint
from relay.gateways.xmpp.stream_management import (
    ASK_EVERY,
    MOST_WAITING,
    REQUEST,
    ManagedStream,
    Source,
    StreamIdentity,
)
from relay.ids import fingerprint
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.errors import Unavailable
from tests.unit.gateways.base.fakes import until


class Store(MemoryCheckpoints):
    """Fails while it is `away`, and answers once it is `ready`; `bytes` counts the bytes that were written."""

    def __init__(self) -> None:
        super().__init__(lambda: 0)
        self.away = False
        self.ready = asyncio.Event()
        self.ready.set()
        self.bytes = 0

    async def keep(
        self, name: str, turn: int, data: bytes, texts: Mapping[int, bytes], gone: Sequence[int], seconds: float
    ) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable()
        self.bytes += len(data) + sum(map(len, texts.values()))
        await super().keep(name, turn, data, texts, gone, seconds)
        await self.ready.wait()


class Fixture:
    def __init__(self, store: Store | None) -> None:
        self.store = store
        self.frames: list[Frame] = []
        self.work: list[asyncio.Task[None]] = []
        self.members = {"r": "ann"}
        self.ended = asyncio.Event()
        self.stream = ManagedStream(
            "key", StreamIdentity("u", "res", "localhost", ""), store,
            write=self.frames.append, members=lambda: self.members, spawn=self.spawn,
            give_up=self.ended.set, asked=lambda: ("question",),
        )  # fmt: skip
        self.stream.enter("r", MessageId(1, 1))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.work.append(asyncio.ensure_future(work))

    def logged(self, seq: int) -> None:
        self.stream.send(Frame(b"message %d" % seq), Source("r", MessageId(1, seq)))

    async def settle(self) -> list[str]:
        while self.work:
            await self.work.pop()
        texts = [frame.text for frame in self.frames if frame is not REQUEST]
        self.frames.clear()
        return texts

    async def stored(self) -> Checkpoint:
        assert self.store is not None
        found = read_checkpoint(await self.store.read(fingerprint("key")))
        assert found is not None
        return found


async def test_a_stanza_that_is_in_no_history_is_written_after_its_checkpoint() -> None:
    one = Fixture(Store())
    one.logged(2)
    assert [frame.text for frame in one.frames] == ["message 2"]
    one.stream.send(Frame(b"<iq/>"), None)
    one.logged(3)
    assert len(one.frames) == 1
    assert await one.settle() == ["message 2", "<iq/>", "message 3"]
    stored = await one.stored()
    assert (stored.written, stored.acknowledged, stored.asked) == (3, 0, ("question",))
    assert stored.positions(1) == {"r": (1, 2)}
    assert [entry.text for entry in stored.entries] == ["", "<iq/>", ""]


async def test_while_redis_is_away_stanzas_that_need_a_checkpoint_wait() -> None:
    store = Store()
    one = Fixture(store)
    store.away = True
    one.stream.send(Frame(b"<iq/>"), None)
    one.logged(2)
    assert await one.settle() == []
    store.away = False
    one.stream.send(Frame(b"<presence/>"), None)
    assert await one.settle() == ["<iq/>", "message 2", "<presence/>"]
    store.away = True
    assert not one.stream.overflows
    for number in range(MOST_UNACKNOWLEDGED + 1):
        one.stream.send(Frame(b"%d" % number), None)
    assert one.stream.overflows
    await one.settle()


async def test_a_checkpoint_that_redis_did_not_take_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other stanza comes."""
    monkeypatch.setattr(stream_management, "RETRIES", (0, 0))
    store = Store()
    one = Fixture(store)
    store.away = True
    one.stream.send(Frame(b"<iq/>"), None)
    assert await one.settle() == []
    store.away = False
    await until(lambda: [frame.text for frame in one.frames] == ["<iq/>"])
    store.away = True
    one.stream.send(Frame(b"<iq/>"), None)
    async with asyncio.timeout(5):
        await one.ended.wait()
    await one.settle()


async def test_stanzas_without_an_outcome_are_not_counted() -> None:
    """Nor the later ones: the client sends all again from that one on."""
    one = Fixture(Store())
    one.stream.handled = 1
    first = one.stream.begin_work()
    one.stream.handled = 2
    second = one.stream.begin_work()
    one.stream.handled = 3
    assert one.stream.checkpoint().handled == 0
    one.stream.end_work(second)
    assert one.stream.checkpoint().handled == 0
    one.stream.end_work(first)
    assert one.stream.checkpoint().handled == 3


async def test_waiting_stanzas_are_bounded_in_bytes() -> None:
    store = Store()
    one = Fixture(store)
    store.away = True
    for _ in range(2):
        one.stream.send(Frame(b"x" * (MOST_WAITING // 2)), None)
        assert not one.stream.overflows
    one.stream.send(Frame(b"x"), None)
    assert one.stream.overflows
    await one.settle()
    store.away = False
    one.stream.send(Frame(b"x"), None)
    await one.settle()
    assert not one.stream.overflows


async def test_a_text_is_written_once_and_forgotten_when_it_is_acknowledged() -> None:
    store = Store()
    one = Fixture(store)
    for number in range(200):
        one.stream.send(Frame(b"<presence n='%03d'>%b</presence>" % (number, b"x" * 300)), None)
        await one.settle()
    # A checkpoint with all texts each time would be seven million bytes.
    assert store.bytes < 300_000
    assert [entry.text[13:16] for entry in (await one.stored()).entries] == [f"{number:03}" for number in range(200)]
    one.stream.acknowledged(150)
    one.stream.send(Frame(b"<iq/>"), None)
    await one.settle()
    kept = await store.read(fingerprint("key"))
    assert kept is not None
    assert sorted(kept.texts) == [*range(151, 202)]
    assert len((await one.stored()).entries) == 51


async def test_texts_that_redis_did_not_take_are_written_with_the_next_checkpoint() -> None:
    store = Store()
    one = Fixture(store)
    store.away = True
    for text in (b"<a/>", b"<b/>"):
        one.stream.send(Frame(text), None)
        await one.settle()
    store.away = False
    one.stream.send(Frame(b"<c/>"), None)
    assert await one.settle() == ["<a/>", "<b/>", "<c/>"]
    assert [entry.text for entry in (await one.stored()).entries] == ["<a/>", "<b/>", "<c/>"]


async def test_the_count_of_handled_stanzas_is_told_after_its_checkpoint() -> None:
    one = Fixture(Store())
    one.stream.handled = 3
    one.stream.acknowledge_client()
    one.stream.handled = 4
    assert await one.settle() == ['<a xmlns="urn:xmpp:sm:3" h="3"/>']
    assert (await one.stored()).handled >= 3
    assert one.stream.publish_key().endswith(".4")


async def test_acknowledged_stanzas_are_forgotten() -> None:
    one = Fixture(Store())
    for seq in range(2, 2 + ASK_EVERY):
        one.logged(seq)
    assert one.frames.count(REQUEST) == 1
    one.stream.acknowledged(10)
    one.stream.acknowledged(5)
    checkpoint = one.stream.checkpoint()
    assert (checkpoint.acknowledged, len(checkpoint.entries)) == (10, ASK_EVERY - 10)
    assert checkpoint.places[0].id == (1, 11)
    one.stream.acknowledged(10_000)
    assert one.stream.checkpoint().entries == []
    for seq in range(100, 200 + MOST_UNACKNOWLEDGED):
        one.logged(seq)
    assert len(one.stream.checkpoint().entries) == MOST_UNACKNOWLEDGED


async def test_kept_stanzas_are_counted_in_bytes() -> None:
    one = Fixture(Store())
    for _ in range(4):
        one.stream.send(Frame("é".encode() * (MOST_BYTES // 8 + 1)), None)
    assert len(one.stream.checkpoint().entries) == 3
    await one.settle()


async def test_a_goodbye_forgets_the_stream_and_a_loss_does_not() -> None:
    store = Store()
    for resumable in (True, False):
        one = Fixture(store)
        one.logged(2)
        one.stream.end(resumable=resumable)
        await one.settle()
        assert bool(await store.read(fingerprint("key"))) is resumable
    store.away = True
    Fixture(store).stream.end(resumable=True)


async def test_the_last_checkpoint_is_that_of_the_end() -> None:
    """Another one was due when the connection ended. By then, the client has left its rooms at this worker."""
    store = Store()
    one = Fixture(store)
    store.ready.clear()
    for _ in range(2):
        one.stream.send(Frame(b"<iq/>"), None)
        await asyncio.sleep(0)
    one.stream.end(resumable=True)
    one.members = {}
    store.ready.set()
    await asyncio.gather(*one.work)
    assert [place.peer for place in (await one.stored()).places] == ["ann"]


async def test_a_stream_that_cannot_be_resumed_is_counted_alone() -> None:
    one = Fixture(None)
    one.stream.send(Frame(b"<iq/>"), None)
    one.stream.end(resumable=False)
    assert await one.settle() == ["<iq/>"]
