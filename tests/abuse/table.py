"""The runs before and after, side by side."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

from tests.abuse.verdict import LAG, Figures, harms

RESULTS: Final = Path(__file__).parent / "results"
RUNS: Final = ("before", "after")

Run = Mapping[str, Figures]
"""The figures by the name of the attack."""


def load(name: str) -> dict[str, Figures]:
    """A saved run; empty if there is none."""
    file = RESULTS / f"{name}.json"
    if not file.exists():
        return {}
    return {one["attack"]: Figures(**one) for one in json.loads(file.read_text())}


def save(name: str, figures: Iterable[Figures]) -> None:
    """Save figures in a run; those of other attacks in it stay."""
    RESULTS.mkdir(exist_ok=True)
    run = load(name) | {one.attack: one for one in figures}
    rounded = [_rounded(asdict(run[attack])) for attack in sorted(run)]
    (RESULTS / f"{name}.json").write_text(json.dumps(rounded, indent=1) + "\n")


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return round(value, 6) if isinstance(value, float) else value


def compare(before: Run, after: Run) -> Iterator[str]:
    """The attacks with their costs and their harm, as a Markdown table."""
    yield "| Attack | Connections | Bytes a second | Harm before | Harm after |"
    yield "| --- | ---: | ---: | --- | --- |"
    for name in sorted(before.keys() | after.keys()):
        newest = after.get(name) or before[name]
        cells = (
            f"**{name}**: {newest.says}",
            str(newest.connections),
            f"{newest.bytes_per_second:,.0f}",
            harm(before.get(name)),
            harm(after.get(name)),
        )
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def harm(figures: Figures | None) -> str:
    """The harm of a run in words."""
    if figures is None:
        return "not run"
    busy = ["the machine was too busy to judge latencies"] if figures.lag > LAG else []
    return "; ".join(harms(figures) + busy) or f"none (p99 {figures.p99 * 1000:.0f} ms)"


def line(figures: Figures) -> str:
    """A run in one line, for the terminal."""
    cpu = ", ".join(f"{name} {share:.0%}" for name, share in figures.cpu.items())
    return (
        f"{figures.attack:20} {harm(figures)}\n    p50 {figures.p50 * 1000:.1f} ms, p99 {figures.p99 * 1000:.1f} ms "
        f"(own lag {figures.lag * 1000:.1f}), sent {figures.sent}, Redis {figures.redis_share:.1%}, longest command "
        f"{figures.longest_script * 1000:.1f} ms, worker {figures.worker_memory / 1e6:.0f} MB, health "
        f"{figures.health} in {figures.longest_health * 1000:.0f} ms {figures.unready or ''}, joins up to "
        f"{figures.longest_join * 1000:.0f} ms\n    attacker {figures.bytes_per_second / 1000:,.1f} kB/s over "
        f"{figures.connections} connections, {figures.ends or 'never ended'}; CPU {cpu}; log "
        f"{figures.log_bytes / 1000:.1f} kB; closes {figures.closes or 0}, refused {figures.refused or 0}"
    )
