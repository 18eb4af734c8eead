"""The benchmark of a crowd: its arithmetic, its clients without sockets, and all of it with a few of them."""

import asyncio
import os

import pytest

from relay.model.codec import Frame
from tests.bench.crowd import ROWS, Split, main, table, talk_table, waited_seconds
from tests.bench.crowd_worker import Crowd, InnerClient, LagProbe, frames, masked, share
from tests.fleet import require


@pytest.mark.parametrize(
    ("connections", "files", "inner", "split"),
    [
        (50_000, 20_000, None, Split(19_000, 31_000)),
        (50_000, 51_000, None, Split(50_000, 0)),
        (50_000, 50_999, None, Split(49_998, 2)),
        (200, 20_000, 100, Split(100, 100)),
        (200, 20_000, 200, Split(0, 200)),
        (201, 20_000, None, Split(200, 0)),
    ],
)
def test_connections_are_real_as_far_as_files_suffice(
    connections: int, files: int, inner: int | None, split: Split
) -> None:
    assert Split.of(connections, files, inner) == split


def test_a_load_generator_has_a_part_and_an_address_with_enough_ports() -> None:
    assert Split(19_000, 0).generators() == [19_000]
    assert Split(19_002, 0).generators() == [9502, 9500]
    assert Split(19_002, 0).hosts() == ["127.0.0.1", "127.0.0.1"]
    assert Split(0, 10).generators() == []
    many = Split(50_000, 0)
    assert (sum(many.generators()), max(many.generators()), min(many.generators())) == (50_000, 16_668, 16_666)
    assert many.hosts() == [f"127.0.0.{number}" for number in range(1, 4)]


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_the_frames_of_a_server_are_read(size: int) -> None:
    texts = [b"x" * size, b"second"]
    assert list(frames(b"".join(Frame(one).wire for one in texts))) == [(1, one) for one in texts]


@pytest.mark.parametrize(("size", "head"), [(3, b"\x81\x83\0\0\0\0"), (300, b"\x81\xfe\x01\x2c\0\0\0\0")])
def test_the_frames_of_a_client_are_masked(size: int, head: bytes) -> None:
    assert masked(b"x" * size) == head + b"x" * size


def test_percentiles() -> None:
    assert [share(range(100), part) for part in (0.5, 0.99, 1)] == [50, 99, 99]
    assert share([], 0.5) == 0


class Protocol(asyncio.Protocol):
    def __init__(self) -> None:
        self.received: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.received.append(data)


async def test_a_client_inside_follows_the_script_answers_pings_and_hears() -> None:
    crowd, protocol = Crowd(), Protocol()
    script = [("await", '"pingInterval"'), ("send", "40{room}"), ("await", '{"sid"')]
    crowd.speak("/rooms/r{room}?peer=c{client}", script, "", "2=3")
    client = InnerClient(crowd, 7)
    client.open(protocol)
    await asyncio.sleep(0)
    assert protocol.received.pop().startswith(b"GET /rooms/r3?peer=c7 HTTP/1.1\r\n")
    client.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + Frame(b'0{"pingInterval":1}').wire)
    await asyncio.sleep(0)
    assert protocol.received.pop() == masked(b"403")
    crowd._missing, crowd._all_joined = 1, asyncio.get_running_loop().create_future()
    client.write(Frame(b'40{"sid":"x"}').wire)
    assert crowd._all_joined.done()
    client.write(Frame(b"2").wire)
    client.write(b"\x89\x04ping")
    await asyncio.sleep(0)
    assert (crowd.pings, protocol.received) == (2, [masked(b"3"), b"\x8a\x84\0\0\0\0ping"])
    client.write(Frame(b'42["message","#7#"]').wire + Frame(b'42["join","x"]').wire)
    assert (crowd.heard, crowd.lost) == (1, 0)
    client.write(b"\x88\x02\x03\xe8")
    assert (crowd.lost, client.is_closing()) == (1, True)


async def test_the_probe_finds_a_turn_that_takes_long() -> None:
    probe, looked = LagProbe(), asyncio.Event()
    original = probe._wait

    def wait(now: float) -> None:
        original(now)
        looked.set()

    probe._wait = wait
    probe.begin()
    looked.clear()
    end = asyncio.get_running_loop().time() + 0.05
    while asyncio.get_running_loop().time() < end:
        pass
    await looked.wait()
    found = probe.figures()
    assert found["max"] >= 40
    assert found["own_max"] <= found["max"]
    looked.clear()
    probe.begin()
    await looked.wait()
    assert probe.figures()["samples"] == 1


def test_the_wait_for_a_core_is_read() -> None:
    assert waited_seconds(os.getpid()) >= 0


@pytest.mark.timeout(180)
def test_a_small_crowd_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    for tool in ("cc", "redis-server"):
        require(tool)
    options = "--connections 200 --inner 100 --pure --ping-interval 1 --floor 1 --proof 500"
    assert main(options.split()) == 0
    title, head, _, *rows = capsys.readouterr().out.splitlines()[-len(ROWS) - 3 :]
    assert title.startswith("pure Python")
    assert head == "|  | native | socketio |"
    cells = {name: one for name, *one in ([cell.strip() for cell in row.split("|")[1:-1]] for row in rows)}
    assert cells["connections: real, inside the process"] == ["100, 100"] * 2
    assert cells["rooms that heard the last message"] == ["100 of 100"] * 2
    assert all(float(one) == pytest.approx(200, rel=0.3) for one in cells["pings a second"])


def test_the_table_has_a_column_for_each_protocol() -> None:
    names = (
        "real inner real_memory inner_memory worker redis floor_worker floor_redis pings commands redis_commands "
        "timers p50 p99 max own_p99 own_max floor_p50 floor_p99 floor_max floor_own_p99 floor_own_max waited "
        "floor_waited collection real_collection inner_collection real_max inner_max real_seconds inner_seconds rooms "
        "load_average full real_full inner_full"
    )
    figures = dict.fromkeys(names.split(), 1.0) | {"real": 19_000, "inner": 31_000, "timers": 25}
    lines = table({"native": figures, "socketio": figures})
    assert lines[:2] == ["|  | native | socketio |", "| --- | ---: | ---: |"]
    none_inside = {"inner": figures | {"inner_memory": float("nan")}}
    assert "| bytes of the worker for one: real, inside | 1, – |" in table(none_inside)
    assert "| timers of the event loop: all, for a connection | 25, 0.00050 | 25, 0.00050 |" in lines


def test_the_table_of_rooms_that_talk_has_the_median_and_the_range() -> None:
    names = ("deliveries", "worker", "redis", "p50", "p99", "own_p99")
    rounds = [{"real": 19_000, **dict.fromkeys(names, one)} for one in (3.0, 1.0, 2.5)]
    line = talk_table({10_000: rounds})[-1]
    assert line == "| 10,000, 9,500 | " + " | ".join(["2.5 (1 to 3)"] * len(names)) + " |"
