"""The figures of the cost over a Redis Cluster, and the page that shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median

__all__ = ["FLAT", "SKEW", "Connection", "Cost", "Section", "Shard", "Window", "page", "spread", "typical"]

FLAT, SKEW = 0.15, 0.10
"""How far costs may be from their mean: for other numbers of masters or rooms, and from shard to shard."""


@dataclass(frozen=True)
class Shard:
    """The messages that one master has published, its CPU seconds, its reads, connections of workers, and its bytes."""

    messages: int
    cpu: float
    reads: int
    connections: int
    received: int = 0
    sent: int = 0

    def since(self, before: "Shard") -> "Shard":
        """Return what a master has done between two looks."""
        return Shard(
            self.messages - before.messages,
            self.cpu - before.cpu,
            self.reads - before.reads,
            self.connections,
            self.received - before.received,
            self.sent - before.sent,
        )

    @property
    def cost(self) -> float:
        """Microseconds of CPU for a message."""
        return self.cpu / self.messages * 1e6 if self.messages else 0.0


@dataclass(frozen=True)
class Connection:
    """The cost of a connection, at its worker and at Redis: CPU seconds to make it, and bytes that it has then."""

    workers: float = 0.0
    redis: float = 0.0
    memory: float = 0.0
    redis_memory: float = 0.0


@dataclass(frozen=True)
class Window:
    """The deliveries and CPU seconds of a few seconds; `silent` are those of as many seconds without a message."""

    deliveries: int
    seconds: float
    workers: float
    silent: float
    shards: Sequence[Shard]


@dataclass(frozen=True)
class Cost:
    """The medians of windows: CPU µs per delivery, and messages for each read of Redis.

    `received` and `sent` are the bytes of Redis for each message.
    """

    workers: float
    redis: float
    silent: float
    batch: float
    rate: float
    shards: Sequence[tuple[float, float]]
    connections: int
    received: float = 0.0
    sent: float = 0.0

    @property
    def net(self) -> float:
        """The cost without the silent crowd's: pings, and the keeping of leases and entries."""
        return self.workers + self.redis - self.silent


def typical(windows: Sequence[Window]) -> Cost:
    """Return the medians; of each shard its share of the messages and its cost."""
    micros = [1e6 / one.deliveries for one in windows]
    columns = list(zip(*[one.shards for one in windows], strict=True))
    total = sum(shard.messages for one in windows for shard in one.shards)
    return Cost(
        workers=median(one.workers * each for one, each in zip(windows, micros, strict=True)),
        redis=median(sum(shard.cpu for shard in one.shards) * each for one, each in zip(windows, micros, strict=True)),
        silent=median(one.silent * each for one, each in zip(windows, micros, strict=True)),
        batch=total / max(1, sum(shard.reads for one in windows for shard in one.shards)),
        rate=median(one.deliveries / one.seconds for one in windows),
        shards=[
            (sum(one.messages for one in column) / max(1, total), median(one.cost for one in column))
            for column in columns
        ],
        connections=max(shard.connections for one in windows for shard in one.shards),
        received=sum(shard.received for one in windows for shard in one.shards) / max(1, total),
        sent=sum(shard.sent for one in windows for shard in one.shards) / max(1, total),
    )


def spread(costs: Sequence[float]) -> float:
    """How far the costs are from their mean, at most, as a share of it."""
    middle = mean(costs)
    return max(abs(cost / middle - 1) for cost in costs)


@dataclass(frozen=True)
class Section:
    """One table: its title, the name of its first column, its rows, and the text of its target ("" for none)."""

    title: str
    first: str
    rows: Mapping[str, Cost]
    target: str = ""
    left_out: Sequence[str] = ()
    """Rows that the target does not count."""


def page(
    facts: Sequence[str],
    sections: Sequence[Section],
    connections: Mapping[str, Connection],
    shards: Cost | None,
    shards_title: str,
) -> list[str]:
    """Return the lines of the page; `connections` and `shards` are for tables of their own."""
    lines = ["# Cost over a Redis Cluster", "", *facts, "", "## Targets", ""]
    for one in sections:
        costs = [cost.net for name, cost in one.rows.items() if name not in one.left_out]
        if one.target and len(costs) > 1:
            lines.append(_verdict(one.target, spread(costs), FLAT))
    if shards is not None:
        lines.append(_verdict(shards_title, spread([cost for _, cost in shards.shards]), SKEW))
    for one in sections:
        lines += ["", f"## {one.title}", "", *_costs(one)]
    if connections:
        lines += ["", "## Connections", "", *_connections(connections)]
    if shards is not None:
        lines += ["", f"## {shards_title}", "", *_shards(shards)]
    return [*lines, ""]


def _costs(section: Section) -> list[str]:
    columns = (
        section.first, "CPU µs per delivery", "without the silent crowd's", "of the workers", "of Redis",
        "deliveries/s", "messages a read of Redis", "connections a master", "bytes of Redis per message, in", "out",
    )  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", "| --- |" + " ---: |" * (len(columns) - 1)]
    for name, cost in section.rows.items():
        micros = (cost.workers + cost.redis, cost.net, cost.workers, cost.redis)
        cells = [name, *(f"{one:.1f}" for one in micros), f"{cost.rate:,.0f}", f"{cost.batch:.1f}"]
        cells += [f"{cost.connections}", f"{cost.received:,.0f}", f"{cost.sent:,.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _connections(found: Mapping[str, Connection]) -> list[str]:
    columns = ("rooms of two", "CPU µs per handshake, worker", "Redis", "KB per connection, worker", "Redis")
    lines = [f"| {' | '.join(columns)} |", "| --- |" + " ---: |" * (len(columns) - 1)]
    for name, one in found.items():
        cells = (f"{one.workers * 1e6:.0f}", f"{one.redis * 1e6:.0f}", f"{one.memory / 1000:.1f}")
        lines.append(f"| {name} | {' | '.join(cells)} | {one.redis_memory / 1000:.2f} |")
    return lines


def _shards(cost: Cost) -> list[str]:
    lines = ["| shard | share of the messages | CPU µs of Redis per message |", "| --- | ---: | ---: |"]
    lines += [f"| {number} | {share:.1%} | {each:.1f} |" for number, (share, each) in enumerate(cost.shards, 1)]
    costs = f"{cost.workers:.1f} µs of the workers and {cost.redis:.1f} of Redis"
    return [
        *lines,
        "",
        f"A delivery took {costs}, {cost.silent:.1f} of them silent, at {cost.rate:,.0f} deliveries a second.",
    ]


def _verdict(text: str, value: float, bound: float) -> str:
    return f"- {text}: ± {value:.1%}, wanted ± {bound:.0%}: {'met' if value <= bound else '**not met**'}"
