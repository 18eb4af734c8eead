"""The results as Markdown: ratios first, then the figures behind them."""

import platform
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.shapes import CHECKS
from tests.bench.targets import TARGETS, Medians, Verdict, judge, judge_flatness, medians

__all__ = ["machine", "markdown", "table", "verdicts"]

Results = Mapping[str, Any]
US = "relay"
BESIDE = {
    "relay-pure": US,
    "relay-socketio": "socketio",
    "relay-peerjs": "peer",
    "relay-peerjs-memory": "peer",
    "relay-y-webrtc": "y-webrtc",
    "relay-y-webrtc-memory": "y-webrtc",
    "relay-rtcmulticonnection": "rtcmulticonnection",
    "relay-rtcmulticonnection-memory": "rtcmulticonnection",
    "relay-http": US,
    "relay-signalr": US,
    "relay-signalr-memory": "relay-memory",
    "relay-signalr-invoke": "relay-ack",
    "relay-signalr-invoke-memory": "relay-ack-memory",
}
"""The system beside which Relay's clients of a protocol are set: their own server, or Relay's own protocol.

Pure Python is set beside the compiled build, which all other rows have.
"""


def machine() -> dict[str, str]:
    """A description of the machine, without its name."""
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    cores = len(re.findall(r"^processor", Path("/proc/cpuinfo").read_text(), re.MULTILINE))
    virtual = " (virtual machine)" if "hypervisor" in Path("/proc/cpuinfo").read_text() else ""
    said = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=False).stdout
    redis = re.search(r"v=(\S+)", said)
    return {
        "CPU": f"{cores} × {cpu[1] if cpu else platform.machine()}{virtual}",
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "Redis": redis[1] if redis else "none",
        "Node": node_version(),
    }


def node_version() -> str:
    try:
        return subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return "none"


def joined(pieces: Sequence[Results]) -> Results:
    """The results of a run that was made in several pieces, as those of one."""
    whole = dict(pieces[0])
    for piece in pieces[1:]:
        for name in ("shapes", "systems"):
            known = {one["key"] for one in whole[name]}
            whole[name] = [*whole[name], *(one for one in piece[name] if one["key"] not in known)]
        whole["samples"] = [*whole["samples"], *piece["samples"]]
        whole["left_out"] = {**whole["left_out"], **piece["left_out"]}
    return whole


def rounds_said(results: Results) -> str:
    """The number of rounds behind the medians, and the loads that had another one."""
    taken: dict[str, int] = {}
    for sample in results["samples"]:
        taken[sample["shape"]] = max(taken.get(sample["shape"], 0), sample["round"] + 1)
    titles: dict[int, list[str]] = {}
    for shape in results["shapes"]:
        if shape["key"] in taken:
            titles.setdefault(taken[shape["key"]], []).append(shape["title"])
    usual = max(titles, key=lambda rounds: len(titles[rounds]), default=0)
    others = "; ".join(f"{rounds} of {', '.join(titles[rounds])}" for rounds in sorted(titles) if rounds != usual)
    return f"medians of {usual} interleaved rounds" + (f" ({others})" if others else "")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column is text, the others are numbers."""
    rows = list(rows)
    if not rows:
        return ""
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def number(value: float | None, digits: int = 3) -> str:
    """A number with this many significant digits, and a comma for thousands."""
    if value is None:
        return "–"
    if value == 0 or abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def verdicts(found: Medians) -> list[Verdict]:
    """All targets, in their order."""
    return [*(judge(target, found) for target in TARGETS), judge_flatness(found)]


def targets_table(found: Medians) -> str:
    said = {True: "met", False: "**not met**", None: "not measured"}
    rows = []
    for verdict in verdicts(found):
        sign = "≥" if verdict.at_least else "≤"
        rows.append((verdict.text, number(verdict.value), f"{sign} {number(verdict.limit)}", said[verdict.met]))
    return table(("Target", "measured", "wanted", ""), rows)


def by_shape(results: Results, found: Medians, name: str, kind: str = "flood", relative: bool = False) -> str:
    """One figure: a row for each system, a column for each shape."""
    shapes = [shape for shape in results["shapes"] if shape["kind"] == kind and not shape["only"]]
    rows = []
    for system in results["systems"]:
        values = [found.get((system["key"], shape["key"], name)) for shape in shapes]
        if relative:
            ours = [found.get((US, shape["key"], name)) for shape in shapes]
            values = [mine / value if mine and value else None for mine, value in zip(ours, values, strict=True)]
        if any(value is not None for value in values):
            rows.append((system["title"], *map(number, values)))
    return table(("", *(shape["title"] for shape in shapes)), rows)


def beside(results: Results, found: Medians) -> str:
    """A row for each protocol of clients: its cost, as a share of the system beside it."""
    titles = {system["key"]: system["title"] for system in results["systems"]}
    shapes = [shape for shape in results["shapes"] if shape["kind"] == "flood" and not shape["only"]]
    figures = {shape["title"]: (shape["key"], "cpu") for shape in shapes}
    if any(shape["kind"] == "calls" for shape in results["shapes"]):
        figures["CPU per call"] = ("calls", "call_cpu")
    figures["memory per idle connection"] = ("idle", "memory")
    rows = []
    for ours, theirs in BESIDE.items():
        pairs = [[found.get((key, *figure)) for key in (ours, theirs)] for figure in figures.values()]
        ratios = [mine / value if mine and value else None for mine, value in pairs]
        if any(ratio is not None for ratio in ratios):
            rows.append((f"{titles[ours]}, of {titles[theirs]}", *map(number, ratios)))
    return table(("CPU per delivery", *figures), rows)


def columns(results: Results, found: Medians, shape: str, figures: Mapping[str, tuple[str, float]]) -> str:
    """One shape: a row for each system, a column for each figure (name, factor)."""
    rows = []
    for system in results["systems"]:
        values = [found.get((system["key"], shape, name)) for name, _ in figures.values()]
        if any(value is not None for value in values):
            scaled = [None if v is None else v * scale for v, (_, scale) in zip(values, figures.values(), strict=True)]
            rows.append((system["title"], *map(number, scaled)))
    return table(("", *figures), rows)


LATENCY = {
    "messages/s": ("rate", 1),
    "p50, ms": ("p50", 1e-3),
    "p99, ms": ("p99", 1e-3),
    "p99.9, ms": ("p999", 1e-3),
    "of its core": ("server_share", 1),
}
IDLE = {
    "KB per connection": ("memory", 1 / 1024),
    "and in Redis": ("memory_redis", 1 / 1024),
    "handshakes/s": ("handshakes_per_second", 1),
    "CPU µs per handshake": ("handshake_cpu", 1),
    "Redis commands per connection and s": ("redis_commands", 1),
    "Redis commands/s with none": ("redis_commands_alone", 1),
}
STORM = {
    "p99 before, ms": ("quiet_p99", 1e-3),
    "p50 during, ms": ("storm_p50", 1e-3),
    "p99 during, ms": ("storm_p99", 1e-3),
    "lost": ("lost", 1),
    "not let in": ("refused", 1),
    "all back after, s": ("storm_seconds", 1),
    "handshakes/s": ("handshakes_per_second", 1),
    "more KB per connection than before": ("memory_growth", 1 / 1024),
}


def generators_table(results: Results, found: Medians) -> str:
    """A row for each system under each load: Relay's cost as a share of its cost, by both load generators."""
    titles = {system["key"]: system["title"] for system in results["systems"]}
    rows = []
    for first, second in zip(CHECKS[::2], CHECKS[1::2], strict=True):
        ours, ours_too = (found.get((US, shape.key, "cpu_message")) for shape in (first, second))
        for key in titles:
            theirs, theirs_too = (found.get((key, shape.key, "cpu_message")) for shape in (first, second))
            if not (ours and ours_too and theirs and theirs_too):
                continue
            shares = ours / theirs, ours_too / theirs_too
            title = f"{titles[key]}, {first.title.removesuffix(f', by {first.generator}')}"
            differ = f"{abs(shares[1] / shares[0] - 1):.0%}"
            rows.append((title, number(theirs), number(theirs_too), *map(number, shares), differ))
    head = [f"{text} by {shape.generator}" for text in ("CPU µs", "Relay's share") for shape in CHECKS[:2]]
    return table(("CPU per message to all others", *head, "the shares differ by"), rows)


def lacking(results: Results) -> str:
    """A row for each system without all abilities of Relay."""
    rows = [
        f"- {system['title']}: {', '.join(system['lacks'])}" for system in results["systems"] if system.get("lacks")
    ]
    return "\n".join(rows)


def scaling_table(results: Results, found: Medians) -> str:
    rows = []
    for shape in results["shapes"]:
        if shape["key"].startswith(("rooms-", "members-")):
            figures = [found.get((US, shape["key"], name)) for name in ("cpu", "cpu_net", "p50", "p99")]
            scaled = [None if f is None else f * scale for f, scale in zip(figures, (1, 1, 1e-3, 1e-3), strict=True)]
            rows.append((shape["title"], *map(number, scaled)))
    return table(("", "CPU µs per delivery", "without the silent crowd's", "p50, ms", "p99, ms"), rows)


def honesty(found: Medians) -> str:
    """Remarks about disturbances by the load generator or the machine."""
    # The second generator is always busy: it only checks the first one.
    checks = {shape.key for shape in CHECKS if shape.generator != "load.c"}
    loads = [value for (_, shape, name), value in found.items() if name == "load_share" and shape not in checks]
    steals = [value for (_, _, name), value in found.items() if name == "stolen_share"]
    lost = sorted({system for (system, _, name), value in found.items() if name == "lost" and value > 0})
    lines = []
    if loads:
        lines.append(f"The load generator had something to do for at most {max(loads):.0%} of the time.")
    if steals:
        lines.append(f"Other guests of the machine took up to {max(steals):.0%} of a core.")
    if lost:
        lines.append(f"Some messages were lost, or not there three seconds after the end: {', '.join(lost)}.")
    return " ".join(lines)


def left_out(results: Results) -> str:
    lines = [f"- {title}: {reason}" for title, reason in results["left_out"].items()]
    failed = Counter((s["system"], s["shape"], reason) for s in results["samples"] for reason in s["failures"])
    lines += [f"- {system}, {shape}: {reason} ({count} ×)" for (system, shape, reason), count in failed.items()]
    return "\n".join(lines) or "Nothing."


def markdown(results: Results) -> str:
    """The whole report."""
    found = medians(results["samples"])
    about = [f"{name}: {value}" for name, value in results["machine"].items()]
    about.append(f"{rounds_said(results)}, of {results['seconds']:g} s each, on {results['date']}")
    call = {"CPU µs per call": ("call_cpu", 1.0)}
    sections = {
        "Targets": targets_table(found),
        "CPU per message to all others: Relay over Redis as a share of each": by_shape(
            results, found, "cpu_message", relative=True
        ),
        "CPU per delivery: Relay over Redis as a share of each": by_shape(results, found, "cpu", relative=True),
        "Clients of other protocols: Relay as a share of their own server": beside(results, found),
        "CPU µs per message to all others, Redis included": by_shape(results, found, "cpu_message"),
        "CPU µs per delivery, Redis included": by_shape(results, found, "cpu"),
        "Of that in Redis, µs": by_shape(results, found, "cpu_redis"),
        "Deliveries a second at saturation": by_shape(results, found, "deliveries_per_second"),
        "Calls of two: connect, join, 20 messages": columns(results, found, "calls", call),
        "Latency at a steady rate into rooms of 4": columns(results, found, "latency", LATENCY),
        "The same, Redis on a core of its own, from the send to the arrival": columns(
            results, found, "latency-apart", LATENCY
        ),
        "10,000 idle connections, and how they came": columns(results, found, "idle", IDLE),
        "10,000 connections drop and come back at once; 25 rooms of 4 talk": columns(results, found, "storm", STORM),
        "Scaling: Relay over Redis at a fixed number of deliveries a second": scaling_table(results, found),
        "The same open loop by two load generators": generators_table(results, found),
        "Left out": left_out(results),
        "Not done by a system: ids, order, log, presence or fencing": lacking(results),
        "Versions": "\n".join(f"- {s['title']}: {s['version']}" for s in results["systems"]),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items() if text)
    intro = "\n".join([*(f"- {line}" for line in about), "", honesty(found)])
    return f"# Results\n\n{intro}\n\n{body}\n"
