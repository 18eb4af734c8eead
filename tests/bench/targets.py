"""The targets, as ratios within one run or as limits, and whether they are met."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from tests.bench.shapes import RATES

__all__ = ["TARGETS", "Medians", "Target", "Verdict", "judge", "judge_flatness", "medians"]

Medians = Mapping[tuple[str, str, str], float]  # (system, shape, figure)

PEERS = (
    "starlette",
    "python-socketio",
    "channels",
    "socketio",
    "socketio-sharded",
    "ws",
    "nchan",
    "centrifugo",
    "centrifuge",
)


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


FEW_ROOMS, MANY_ROOMS = 10, 9000
COST = "CPU per delivery at {}, of {}"
SOCKETIO, NCHAN = "Socket.IO + redis-adapter", "Nchan + Redis"
CENTRIFUGO, UWS = "Centrifugo", "uWebSockets without Redis"


def cost(shape: str, title: str, name: str, key: str, limit: float) -> Target:
    return Target(COST.format(title, name), shape, "cpu", limit, (key,))


def with_echo(target: Target) -> Target:
    """The same target for Relay with echo, as other systems send every message to its sender, too."""
    return replace(target, text=f"{target.text}, both with echo", ours="relay-echo")


# An idle connection costs Redis nothing, but a room's two keys are renewed three times an hour, for two members.
PER_ROOM = 0.002

OF_ECHOING = (
    cost("50x2", "50 × 2", NCHAN, "nchan", 0.65),
    cost("20x10", "20 × 10", NCHAN, "nchan", 0.55),
    cost("1x200", "1 × 200", NCHAN, "nchan", 0.55),
    cost("50x2", "50 × 2", CENTRIFUGO, "centrifugo", 1.0),
    cost("20x10", "20 × 10", CENTRIFUGO, "centrifugo", 1.0),
    cost("1x200", "1 × 200", CENTRIFUGO, "centrifugo", 1.0),
    cost("20x10", "20 × 10", UWS, "uwebsockets", 1.2),
    cost("1x200", "1 × 200", UWS, "uwebsockets", 1.2),
)

TARGETS = (
    cost("50x2", "50 × 2", SOCKETIO, "socketio", 0.20),
    cost("20x10", "20 × 10", SOCKETIO, "socketio", 0.20),
    cost("1x200", "1 × 200", SOCKETIO, "socketio", 0.35),
    *OF_ECHOING,
    *map(with_echo, OF_ECHOING),
    Target("the same with the log, at 50 × 2, of " + SOCKETIO, "50x2", "cpu", 0.30, ("socketio",), ours="relay-log"),
    Target("p99 at 2,000 messages/s, of the best peer", "latency", "p99", 1.0, PEERS),
    Target("p99 at 2,000 messages/s, ms", "latency", "p99", 1.0, scale=1e-3),
    Target("memory per idle connection, KB", "idle", "memory", 9.0, scale=1 / 1024),
    Target("Redis commands per idle connection and second", "idle", "redis_commands", PER_ROOM),
    Target("handshakes a second on one core", "idle", "handshakes_per_second", 2500, at_least=True),
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
    value = found.get((target.ours, target.shape, target.figure))
    if value is None:
        return Verdict(target.text, None, target.limit, None)
    if found.get(("relay", target.shape, "rate"), RATES[0]) < RATES[0]:
        # Latency at a lower rate than the one that was asked for meets nothing.
        return Verdict(target.text, None, target.limit, False)
    value *= target.scale
    if target.peers:
        theirs = [figure for peer in target.peers if (figure := comparable(found, peer, target))]
        if not theirs:
            return Verdict(target.text, None, target.limit, None)
        value /= min(theirs)
    return Verdict(
        target.text, value, target.limit, value >= target.limit if target.at_least else value <= target.limit
    )


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
