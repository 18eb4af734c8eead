import asyncio
import gc
import socket
import threading
from contextlib import suppress

import pytest

from relay.backend.redis.lookups import Lookups
from relay.backend.redis.replies import reason_of


class Names:
    """A resolver that knows all names, but those that are `slow` until `known` is set; these do not exist then."""

    def __init__(self, *slow: str) -> None:
        self._slow = slow
        self.known = threading.Event()
        self.asked: list[str] = []

    def __call__(self, host: str, _: None) -> None:
        self.asked.append(host)
        if host in self._slow:
            assert self.known.wait(30)
            raise socket.gaierror(-3, "Temporary failure in name resolution")


async def give_up(lookups: Lookups, host: str) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await lookups.find(host)


async def test_names_that_nobody_knows_keep_no_other_waiting(caplog: pytest.LogCaptureFixture) -> None:
    """The event loop has few threads for lookups, and a stopped container's name takes ten seconds."""
    unknown = [f"redis-{number}" for number in range(50)]
    names = Names(*unknown)
    lookups = Lookups(names)
    for _ in range(3):
        await asyncio.gather(*[give_up(lookups, host) for host in unknown])
    assert sorted(names.asked) == sorted(unknown)
    async with asyncio.timeout(30):
        await lookups.find("redis-new")
    waiting = asyncio.create_task(lookups.find("redis-1"))
    await asyncio.sleep(0)
    names.known.set()
    with pytest.raises(socket.gaierror):
        await waiting
    gc.collect()
    assert "never retrieved" not in caplog.text
    # A name that was unknown is looked up again.
    with pytest.raises(socket.gaierror):
        await lookups.find("redis-1")


async def test_an_unknown_name_is_named_for_the_log_and_for_operators() -> None:
    names = Names("redis-7\n" + 100 * "x")
    names.known.set()
    with pytest.raises(socket.gaierror, match="Temporary failure in name resolution: redis-7") as raised:
        await Lookups(names).find("redis-7\n" + 100 * "x")
    report = reason_of(raised.value, 1)
    assert report.startswith("the host name redis-7")
    assert "\n" not in report
    assert len(report) < 150


async def test_addresses_need_no_lookup() -> None:
    names = Names()
    for address in ("127.0.0.1", "::1", "fe80::1%eth0"):
        await Lookups(names).find(address)
    assert names.asked == []


async def test_lookups_at_the_same_time_are_bounded() -> None:
    unknown = [f"redis-{number}" for number in range(64)]
    names = Names(*unknown)
    lookups = Lookups(names)
    await asyncio.gather(*[give_up(lookups, host) for host in unknown])
    with pytest.raises(OSError, match="too many host names are looked up: 64"):
        await lookups.find("one-more")
    names.known.set()
    async with asyncio.timeout(30):
        while lookups._pending:
            await asyncio.sleep(0.01)
    await lookups.find("one-more")


async def test_a_name_that_cannot_be_encoded_is_an_error() -> None:
    with pytest.raises(UnicodeError):
        await Lookups().find("a" * 70 + "..example")


async def test_a_lookup_may_outlive_the_event_loop() -> None:
    names = Names("redis")
    lookups = Lookups(names)

    def run() -> None:
        asyncio.run(give_up(lookups, "redis"))

    await asyncio.to_thread(run)
    before = {one for one in threading.enumerate() if one.name == "lookup"}
    assert before
    names.known.set()
    for thread in before:
        await asyncio.to_thread(thread.join, 30)
        assert not thread.is_alive()


async def test_a_name_is_looked_up_again_after_there_was_no_thread_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names()
    lookups = Lookups(names)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            await lookups.find("redis")
    async with asyncio.timeout(30):
        await lookups.find("redis")
    assert names.asked == ["redis"]
