"""Messages that wait for absent members, for every backend."""

from typing import Any

import pytest

from relay.backend import waiting
from relay.backend.waiting import MOST_WAITING, MOST_WAITING_BYTES
from relay.model.waiting import WaitingMessage
from tests.contract.conftest import MakeWorker, join
from tests.fleet import eventually


def message(key: str, sender: str = "ann", receiver: str = "bob", size: int = 10, seconds: float = 5) -> WaitingMessage:
    return WaitingMessage(sender, receiver, key, b"x" * size, seconds)


async def keys(worker: Any, peer: str, room: str = "room") -> list[str]:
    return [one.key for one in await worker.waiting.of(room, peer)]


async def test_both_ends_find_a_message_on_any_worker_in_order(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    kept = [message(f"k{number}", receiver="bob" if number % 2 else "carol") for number in range(10)]
    for one in kept:
        assert await a.waiting.keep("room", one)
    assert await keys(b, "ann") == [f"k{number}" for number in range(10)]
    assert await keys(b, "bob") == ["k1", "k3", "k5", "k7", "k9"]
    assert await keys(b, "dora") == await keys(b, "ann", "other") == await keys(b, "an") == []
    first = (await b.waiting.of("room", "bob"))[0]
    assert 0 < first.seconds <= 5
    assert first == replace_seconds(kept[1], first.seconds)


def replace_seconds(one: WaitingMessage, seconds: float) -> WaitingMessage:
    return WaitingMessage(one.sender, one.receiver, one.key, one.envelope, seconds)


async def test_a_note_has_no_receiver_and_any_bytes(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    note = WaitingMessage("ann", "", "k", b" \x00\n{\xff} ", 0)
    assert await a.waiting.keep("room", note)
    (found,) = await a.waiting.of("room", "ann")
    assert (found.receiver, found.envelope, found.seconds <= 0) == ("", note.envelope, True)


async def test_a_sender_forgets_some_or_all(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    for number in range(4):
        await a.waiting.keep("room", message(f"k{number}"))
    await a.waiting.keep("room", message("k0", sender="an"))
    await b.waiting.drop("room", "ann", ["k1", "k3", "unknown"])
    await b.waiting.drop("room", "ann", [])
    assert await keys(a, "ann") == ["k0", "k2"]
    await b.waiting.drop("room", "ann")
    assert (await keys(a, "ann"), await keys(a, "an")) == ([], ["k0"])
    await b.waiting.drop("room", "an")
    await b.waiting.drop("nowhere", "ann")
    if a.client is not None:
        assert await a.client.call("EXISTS", a.keys.waiting("room")) == 0


async def test_number_and_bytes_are_bounded_and_room_is_made_again(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    for number in range(MOST_WAITING):
        assert await a.waiting.keep("room", message(f"k{number}"))
    assert not await a.waiting.keep("room", message("one more"))
    assert await a.waiting.keep("other", message("k"))
    await a.waiting.drop("room", "ann", ["k7"])
    assert await a.waiting.keep("room", message("one more"))
    half = MOST_WAITING_BYTES // 2
    assert await a.waiting.keep("large", message("k0", size=half))
    assert await a.waiting.keep("large", message("k1", size=half))
    assert not await a.waiting.keep("large", message("k2", size=1))
    await a.waiting.drop("large", "ann", ["k0"])
    assert await a.waiting.keep("large", message("k2", size=half))
    assert not await a.waiting.keep("large", message("k3", size=1))


async def test_messages_whose_time_is_over_make_way(make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("relay.backend.memory.waiting", "relay.backend.redis.waiting"):
        monkeypatch.setattr(f"{module}.WAITING_TTL", 0.0)
        monkeypatch.setattr(f"{module}.MOST_WAITING", 2)
    a = await make_worker("a")
    await a.waiting.keep("room", message("old", seconds=0.01))
    await a.waiting.keep("room", message("new"))

    async def kept() -> bool:
        return bool(await a.waiting.keep("room", message("newer")))

    await eventually(kept)
    assert await keys(a, "ann") == ["new", "newer"]


async def test_a_record_has_a_time_to_live(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    await a.waiting.keep("room", message("k"))
    if a.client is not None:
        left = await a.client.call("PTTL", a.keys.waiting("room"))
        assert 0 < left <= (waiting.WAITING_TTL + 5) * 1000


async def test_a_join_tells_whether_messages_wait_in_the_room(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    assert not (await join(b, "eve"))[1].has_waiting
    await a.waiting.keep("room", message("k"))
    for subject in ("", "a subject"):
        assert (await join(b, f"bob{subject}", subject=subject))[1].has_waiting
    await a.waiting.drop("room", "ann")
    assert not (await join(b, "carol"))[1].has_waiting
