"""The measurements of one run, and the verdict whether the relay withstood the attack."""

from dataclasses import dataclass, field
from typing import Final

P99: Final = 0.050
LAG: Final = P99 / 2
"""The longest `Figures.lag` with which latencies are judged: above it, the machine is too busy to tell."""
REDIS_SHARE: Final = 0.8
WORKER_MEMORY: Final = 256_000_000


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One run. Times are in seconds, memory in bytes.

    `connections` (at the same time) and `bytes_per_second` are the attacker's costs. `sent` to `closes` are about the
    bystanders, `refused` about newcomers. `health` counts the answers of `/health` by status. `lag` is the 99th
    percentile of the delay that the measuring process adds to each latency. `cpu` has seconds of CPU per second.
    `errors` counts the errors that bystanders got, by code; a message that the relay refused is not `lost`.
    """

    attack: str
    says: str
    seconds: float
    connections: int
    bytes_per_second: float
    ends: dict[str, int]
    sent: int
    p50: float
    p99: float
    lost: int
    repeated: int
    disordered: int
    closes: dict[str, int]
    newcomers: int
    refused: dict[str, int]
    longest_join: float
    redis_share: float
    longest_script: float
    worker_memory: int
    health: dict[str, int]
    unready: list[str]
    longest_health: float
    lag: float
    cpu: dict[str, float]
    log_bytes: int
    errors: dict[str, int] = field(default_factory=dict)


def harms(figures: Figures) -> list[str]:
    """The harm of the attack to others, as text; empty if the relay withstood it.

    Latencies do not count where the measuring process itself was late.
    """
    unready = sum(count for status, count in figures.health.items() if status != "200")
    refused = sum(figures.refused.values())
    found = {
        f"p99 {figures.p99 * 1000:,.0f} ms": figures.p99 > P99 and figures.lag <= LAG,
        f"{figures.lost:,} of {figures.sent:,} messages lost": figures.lost > 0,
        f"{figures.repeated:,} repeated": figures.repeated > 0,
        f"{figures.disordered:,} out of order": figures.disordered > 0,
        f"errors of others ({', '.join(sorted(figures.errors))}): {sum(figures.errors.values())}": bool(figures.errors),
        f"{sum(figures.closes.values())} connections of others closed": any(figures.closes.values()),
        f"{refused} of {refused + figures.newcomers} newcomers refused": refused > 0,
        f"Redis {figures.redis_share:.0%} full": figures.redis_share >= REDIS_SHARE,
        f"worker {figures.worker_memory / 1e6:,.0f} MB": figures.worker_memory >= WORKER_MEMORY,
        f"not ready {unready / max(1, sum(figures.health.values())):.0%} of the time": unready > 0,
    }
    return [text for text, harmed in found.items() if harmed]
