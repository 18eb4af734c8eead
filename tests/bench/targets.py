"""The targets, as ratios within one run or as limits, and whether they are met."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.bench.shapes import RATES

__all__ = ["TARGETS", "Medians", "Target", "Verdict", "judge", "judge_flatness", "medians"]

Medians = Mapping[tuple[str, str, str], float]  # (system, shape, figure)

SOCKETIO = (
    "socketio",
    "socketio-sharded",
    "socketio-ioredis",
    "socketio-ioredis-sharded",
    "socketio-uws",
    "socketio-uws-sharded",
)
NCHAN, CENTRIFUGO, WS = ("nchan",), ("centrifugo",), ("ws",)
PEERS = (
    "starlette", "python-socketio", "channels", *SOCKETIO, *WS, *NCHAN, *CENTRIFUGO, "centrifuge",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """A figure of `ours` is at most (or at least) `limit`, times that of the best of `peers` if there are any."""

    text: str
    shape: str
    figure: str
    limit: float
    peers: tuple[str, ...] = ()
    at_least: bool = False
    scale: float = 1.0
    ours: str = "relay"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result for a target: `value` is a ratio or a figure, or None if something was not measured."""

    text: str
    value: float | None
    limit: float
    met: bool | None
    at_least: bool = False


FEW_ROOMS, MANY_ROOMS = 10, 9000
NAMES = {SOCKETIO: "Socket.IO at its best", NCHAN: "Nchan", CENTRIFUGO: "Centrifugo", WS: "ws + ioredis"}
TITLES = {"50x2": "50 × 2", "20x10": "20 × 10", "1x200": "1 × 200"}


def cost(shape: str, peers: tuple[str, ...], limit: float, ours: str = "relay") -> Target:
    """A share of the peer's CPU per message that reached everybody else in its room."""
    whose = {"relay": "", "relay-socketio": "Socket.IO clients: "}[ours]
    text = f"{whose}CPU per message at {TITLES[shape]}, of {NAMES[peers]}"
    return Target(text, shape, "cpu_message", limit, peers, ours=ours)


# An idle connection costs Redis nothing, but a room's two keys are renewed three times an hour, for two members.
PER_ROOM = 0.002

TARGETS = (
    cost("50x2", SOCKETIO, 0.50),
    cost("50x2", CENTRIFUGO, 0.60),
    cost("50x2", NCHAN, 0.70),
    cost("50x2", WS, 0.75),
    cost("20x10", SOCKETIO, 0.35),
    cost("20x10", CENTRIFUGO, 0.75),
    cost("20x10", NCHAN, 0.75),
    cost("1x200", SOCKETIO, 0.40),
    cost("1x200", CENTRIFUGO, 0.60),
    cost("50x2", SOCKETIO, 0.65, "relay-socketio"),
    cost("20x10", SOCKETIO, 0.40, "relay-socketio"),
    Target(
        "CPU per message at 50 × 2 with the log, of without", "50x2", "cpu_message", 1.15, ("relay",), ours="relay-log"
    ),
    Target("p99 at 2,000 messages/s, of Centrifugo", "latency", "p99", 1.0, CENTRIFUGO),
    Target("p99 at 2,000 messages/s, of the best peer", "latency", "p99", 1.0, PEERS),
    Target("the same with Redis on a core of its own, of Centrifugo", "latency-apart", "p99", 1.0, CENTRIFUGO),
    Target(
        "handshakes a second, of Socket.IO at its best", "idle", "handshakes_per_second", 1.5, SOCKETIO, at_least=True
    ),
    Target("memory per idle connection, KB", "idle", "memory", 4.0, scale=1 / 1024),
    Target(
        "Socket.IO clients: memory per idle connection, KB",
        "idle",
        "memory",
        5.0,
        scale=1 / 1024,
        ours="relay-socketio",
    ),
    Target("Redis commands per idle connection and second", "idle", "redis_commands", PER_ROOM),
    Target("p99 beside a storm of 10,000 clients, ms", "storm", "storm_p99", 50.0, scale=1e-3),
    Target("clients of that storm that were refused", "storm", "refused", 0.0),
)


def medians(samples: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str, str], float]:
    """The median over the rounds of each figure of each system under each shape."""
    gathered: dict[tuple[str, str, str], list[float]] = {}
    for sample in samples:
        for name, value in sample.get("figures", {}).items():
            gathered.setdefault((sample["system"], sample["shape"], name), []).append(value)
    return {key: median(values) for key, values in gathered.items()}


def comparable(found: Medians, peer: str, target: Target) -> float | None:
    """The peer's figure; None if it sustained only a lower rate, at which latency is not comparable."""
    value = found.get((peer, target.shape, target.figure))
    ours, theirs = (found.get((system, target.shape, "rate")) for system in ("relay", peer))
    return value if ours == theirs else None


def judge(target: Target, found: Medians) -> Verdict:
    """Whether a target is met."""

    def verdict(value: float | None, met: bool | None) -> Verdict:
        return Verdict(target.text, value, target.limit, met, target.at_least)

    value = found.get((target.ours, target.shape, target.figure))
    if value is None:
        return verdict(None, None)
    if found.get(("relay", target.shape, "rate"), RATES[0]) < RATES[0]:
        # Latency at a lower rate than the one that was asked for meets nothing.
        return verdict(None, False)
    value *= target.scale
    if target.peers:
        theirs = [figure for peer in target.peers if (figure := comparable(found, peer, target))]
        if not theirs:
            return verdict(None, None)
        value /= max(theirs) if target.at_least else min(theirs)
    return verdict(value, value >= target.limit if target.at_least else value <= target.limit)


def judge_flatness(found: Medians, band: float = 0.2) -> Verdict:
    """Whether a delivery costs the same in few rooms and in thousands: the spread around the middle of the range."""
    costs = {
        int(shape.removeprefix("rooms-")): cost
        for (system, shape, figure), cost in found.items()
        if system == "relay" and shape.startswith("rooms-") and figure == "cpu"
    }
    if not costs or min(costs) > FEW_ROOMS or max(costs) < MANY_ROOMS:
        return Verdict("cost from 10 to 10,000 rooms, ±", None, band, None)
    low, high = min(costs.values()), max(costs.values())
    value = (high - low) / (high + low)
    return Verdict(f"cost from {min(costs):,} to {max(costs):,} rooms, ±", value, band, value <= band)
