"""Minutes of joins, leaves and faults in one arena, to see whether anything grows: `make chaos ARGS="--soak 15"`.

With `--cluster`, Redis is a cluster of three masters.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from relay.client import Closed, join
from tests.chaos import cluster_faults, faults
from tests.chaos.arena import Arena, arena
from tests.chaos.fault import Strike
from tests.chaos.members import options
from tests.chaos.rounds import presence_after, presence_within
from tests.fleet import RedisServer

_EVERY, _BETWEEN = 5.0, 8.0
_VISITORS, _STAY = 20, 6.0
_SLACK = 1.10
"""A figure that grows by more than this from the second quarter to the last one fails."""

_KEPT = 150.0
"""Seconds for which Redis keeps the history of a room after its last message; the keys of rooms that visitors have left
become more for so long."""

_PASSING = (
    faults.pause_worker,
    faults.restart_redis,
    faults.kill_subscribers,
    faults.cut,
    faults.black_hole,
    faults.slow,
    faults.reset_clients,
    faults.half_open,
)
"""Faults that a worker survives, so that its memory can be followed."""

_PASSING_ON_CLUSTER = (
    cluster_faults.move_slots,
    cluster_faults.kill_connections,
    cluster_faults.lose_shard,
    cluster_faults.cut_off_master,
    cluster_faults.stop_between,
    faults.reset_clients,
    faults.half_open,
)


@dataclass
class Track:
    """One figure over time."""

    name: str
    floor: float
    """Growth below this is none."""
    settles: float = 0.0
    """Seconds in which it grows without a fault."""
    values: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """When each value was found, from the beginning."""

    def add(self, seconds: float, value: float) -> None:
        """Note a value."""
        self.seconds.append(seconds)
        self.values.append(value)

    @property
    def judged(self) -> Sequence[float]:
        """The values since it has settled."""
        return [value for at, value in zip(self.seconds, self.values, strict=True) if at >= self.settles]

    @property
    def suffices(self) -> bool:
        """Whether it was followed for as long again as it takes to settle, so that growth would show."""
        return bool(self.judged) and self.seconds[-1] >= 2 * self.settles

    @property
    def quarters(self) -> tuple[float, float]:
        """The least of the second quarter, and of the last: a leak shows at rest, and a fault takes more for a moment.

        In an outage, each command that waits for Redis is a task.
        """
        values = self.judged or self.values
        quarter = max(1, len(values) // 4)
        return min(values[quarter : 2 * quarter] or values), min(values[-quarter:])

    @property
    def grows(self) -> bool:
        """Whether it has not come to rest."""
        before, after = self.quarters
        return self.suffices and after > before * _SLACK + self.floor

    @property
    def state(self) -> str:
        """The judgement in words."""
        if not self.suffices:
            return f"not judged: it needs {2 * self.settles / 60:g} minutes"
        return "grows" if self.grows else "at rest"


@dataclass(frozen=True)
class Soaked:
    """The result, in words and as a picture (SVG); `well` if nothing grows and nothing was lost."""

    well: bool
    report: str
    picture: str


async def soak(minutes: float, *, seed: int, rooms: int, rate: float, cluster: bool = False) -> Soaked:
    """Run for so long."""
    settings = cluster_faults.STAYS if cluster else {}
    async with arena(seed=seed, rooms=rooms, settings=settings, masters=3 if cluster else 0) as here:
        tracks = {
            "memory": Track("memory of all workers, MB", 4),
            "tasks": Track("tasks of all workers", 10),
            "files": Track("open files of all workers", 20),
            "keys": Track("keys in Redis", 20, _KEPT),
            "lasting": Track("keys in Redis without a time to live", 0),
        }
        here.talk(rate)
        end = time.monotonic() + minutes * 60
        async with asyncio.TaskGroup() as group:
            group.create_task(_sample(here, tracks, end))
            group.create_task(_strike(here, end))
            for number in range(_VISITORS):
                group.create_task(_visit(here, number, end))
        ended = asyncio.get_running_loop().time()
        presence = (await presence_after(here, ended, within=presence_within(settings))).exact_after
        await here.hush()
        verdict = here.verdict(ended)
    grows = any(track.grows for track in tracks.values())
    wrong = verdict.lost or verdict.repeated or verdict.disordered or verdict.told
    return Soaked(
        not (grows or wrong or presence is None),
        _report(minutes, seed, tracks, verdict, presence),
        picture(list(tracks.values()), minutes),
    )


def in_turns(strikes: Sequence[Strike], draw: Random) -> Iterator[Strike]:
    """Yield all faults in an order of chance, over and over: none is left out for long."""
    while True:
        yield from draw.sample(strikes, len(strikes))


async def _strike(here: Arena, end: float) -> None:
    for strike in in_turns(_PASSING_ON_CLUSTER if here.cluster else _PASSING, here.draw):
        if time.monotonic() >= end - 2 * _BETWEEN:
            break
        print(f"{end - time.monotonic():6.0f} s left: {strike.__name__.replace('_', ' ')}", flush=True)
        await strike(here)
        await asyncio.sleep(_BETWEEN)


async def _visit(here: Arena, number: int, end: float) -> None:
    """Come into rooms of one's own and leave again, politely or not, over and over."""
    turn = 0
    while time.monotonic() < end:
        turn += 1
        urls = [here.url(post) for post in here.posts]
        with contextlib.suppress(Closed):
            async with join(urls[number % len(urls) :] + urls, f"visit{number}-{turn % 50}", options=options()) as room:
                room.post({"turn": turn})
                await asyncio.sleep(here.draw.random() * _STAY)
                if turn % 3 == 0:
                    room.drop()


async def _sample(here: Arena, tracks: dict[str, Track], end: float) -> None:
    began = time.monotonic()
    while time.monotonic() < end:
        await asyncio.sleep(_EVERY)
        with contextlib.suppress(OSError, TimeoutError):
            found = await asyncio.wait_for(asyncio.to_thread(_held, here), _EVERY)
            found["tasks"] = sum([await post.relay.metric("relay_event_loop_tasks") for post in here.posts])
            for name, value in found.items():
                tracks[name].add(time.monotonic() - began, value)


def _held(here: Arena) -> dict[str, float]:
    folders = [Path(f"/proc/{post.relay.process.pid}") for post in here.posts]
    return {
        "memory": sum(_pss(folder) for folder in folders) / 1024,
        "files": sum(len(list((folder / "fd").iterdir())) for folder in folders),
        **_keys(here),
    }


def _pss(folder: Path) -> int:
    found = re.search(r"^Pss:\s+(\d+)", (folder / "smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def _keys(here: Arena) -> dict[str, float]:
    """All keys, and those that Redis keeps for good."""
    # Also one of several servers: without its keys, all would seem to be fewer.
    try:
        counts = list(map(_count, here.cluster.masters if here.cluster else [here.redis]))
    except Exception as error:
        raise OSError("Redis is away") from error
    return {"keys": sum(keys for keys, _ in counts), "lasting": sum(keys - expiring for keys, expiring in counts)}


def _count(server: RedisServer) -> tuple[int, int]:
    """The keys of a server, and those of them that have a time to live."""
    with server.client as client:
        info = client.info()
    if info["loading"]:
        raise OSError("Redis has not loaded all keys yet")
    found = info.get("db0", {})
    return int(found.get("keys", 0)), int(found.get("expires", 0))


def _report(minutes: float, seed: int, tracks: dict[str, Track], verdict, presence: float | None) -> str:
    lines = ["# Soak", "", f"{minutes:g} minutes of churn and faults, seed {seed}.", "", "![over time](soak.svg)", ""]
    lines += ["| the least of | second quarter | last quarter | |", "| --- | ---: | ---: | --- |"]
    for track in tracks.values():
        before, after = track.quarters
        lines.append(f"| {track.name} | {before:,.1f} | {after:,.1f} | {track.state} |")
    exact = "not in time" if presence is None else f"exact after {presence:.1f} s"
    lines += [
        "",
        f"{verdict.sent:,} messages sent, {verdict.acknowledged:,} acknowledged, {verdict.delivered:,} deliveries: "
        f"{verdict.lost} lost, {verdict.repeated} repeated, {verdict.disordered} out of order, {verdict.told} members "
        f"told of a loss. Presence at the end: {exact}.",
        "",
    ]
    return "\n".join(lines)


def picture(tracks: list[Track], minutes: float) -> str:
    """One curve above the other, each from zero to its highest, as SVG."""
    width, height, gap, left = 760, 110, 40, 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {len(tracks) * (height + gap) + 20}" '
        'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>'
    ]
    for index, track in enumerate(tracks):
        top = index * (height + gap) + 25
        most = max(track.values, default=1) or 1
        step = (width - 2 * left) / max(1, len(track.values) - 1)
        points = " ".join(
            f"{left + number * step:.1f},{top + height - value / most * height:.1f}"
            for number, value in enumerate(track.values)
        )
        parts += [
            f'<text x="{left}" y="{top - 6}" fill="#333">{track.name}: at most {most:,.0f}</text>',
            f'<path d="M{left} {top + height}H{width - left}" stroke="#999"/>',
            f'<polyline points="{points}" fill="none" stroke="#2563a8" stroke-width="2"/>',
        ]
    parts.append(f'<text x="{width - left}" y="{len(tracks) * (height + gap) + 10}" text-anchor="end" fill="#333">'
                 f"{minutes:g} minutes</text></svg>\n")  # fmt: skip
    return "".join(parts)
