"""The results as pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.bench.targets import Medians, medians

__all__ = ["draw"]

Results = Mapping[str, Any]
OURS, PEER, FLOOR, INK, PALE = "#d1495b", "#6c8ead", "#b9c4cd", "#22303c", "#e4e9ed"
SHAPES = ("50x2", "20x10", "1x200")
_LINE = 30
STYLE = {
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "relay",
}


def colour(system: Mapping[str, Any]) -> str:
    if system["key"].startswith("relay"):
        return OURS
    return FLOOR if system["floor"] else PEER


def label(system: Mapping[str, Any]) -> str:
    """The title; a long one in two lines, as it takes its width from the bars."""
    title: str = system["title"]
    return title.replace(", ", ",\n", 1) if len(title) > _LINE else title


def bars(axes: Axes, rows: list[tuple[Mapping[str, Any], float]], title: str, unit: str) -> None:
    """Horizontal bars on a logarithmic scale with their numbers, the best one on top."""
    rows = sorted(rows, key=lambda row: row[1], reverse=not title.endswith("a second"))
    values = [value for _, value in rows]
    axes.barh(range(len(rows)), values, color=[colour(system) for system, _ in rows], height=0.72)
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 2, max(values) * 4)
    axes.set_yticks(range(len(rows)), [label(system) for system, _ in rows])
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.minorticks_off()
    axes.spines["bottom"].set_visible(False)
    for place, value in enumerate(values):
        axes.text(value * 1.1, place, f"{value:,.3g}" if value < 1000 else f"{value:,.0f}", va="center", fontsize=10)
    axes.set_title(title, fontsize=12)
    axes.set_xlabel(unit, fontsize=9)


def panels(results: Results, found: Medians, wanted: list[tuple[str, str, str, float]], unit: str) -> Figure | None:
    """One panel for each (shape, figure, title, factor), each sorted by its own figures."""
    rows = []
    for shape, name, _, factor in wanted:
        values = [(s, found.get((s["key"], shape, name))) for s in results["systems"]]
        rows.append([(s, value * factor) for s, value in values if value is not None and value > 0])
    if not all(rows):
        return None
    figure = Figure(figsize=(5.2 * len(wanted), 0.46 * max(map(len, rows)) + 1.3), layout="constrained")
    for place, ((_, _, title, _), row) in enumerate(zip(wanted, rows, strict=True)):
        bars(figure.add_subplot(1, len(wanted), place + 1), row, title, unit)
    return figure


def cost(results: Results, found: Medians) -> Figure | None:
    titles = {shape["key"]: shape["title"] for shape in results["shapes"]}
    wanted = [(key, "cpu_message", titles[key], 1.0) for key in SHAPES if key in titles]
    return panels(results, found, wanted, "CPU µs per message to all others (log scale)") if wanted else None


def idle(results: Results, found: Medians) -> Figure | None:
    wanted = [
        ("idle", "memory", "KB per idle connection", 1 / 1024),
        ("idle", "handshakes_per_second", "Handshakes a second", 1.0),
    ]
    return panels(results, found, wanted, "10,000 connections, one core (log)")


def latency(results: Results, found: Medians) -> Figure | None:
    """A line for each system through p50, p99 and p99.9."""
    rows = []
    for system in results["systems"]:
        values = [found.get((system["key"], "latency", name)) for name in ("p50", "p99", "p999")]
        if all(values):
            rows.append((system, [value / 1000 for value in values if value], found[system["key"], "latency", "rate"]))
    if not rows:
        return None
    rows.sort(key=lambda row: -row[1][1])
    figure = Figure(figsize=(9, 0.42 * len(rows) + 1.5), layout="constrained")
    axes = figure.add_subplot()
    for place, (system, values, _) in enumerate(rows):
        axes.plot((values[0], values[-1]), (place, place), color=colour(system), linewidth=2, alpha=0.5, zorder=1)
        for value, marker, size in zip(values, "o|o", (26, 150, 46), strict=True):
            axes.scatter(value, place, marker=marker, s=size, color=colour(system), linewidths=2.5, zorder=2)
    axes.set_xscale("log")
    axes.axvline(1, color=INK, linewidth=0.8, linestyle=":")
    axes.grid(axis="x", color=PALE)
    axes.set_axisbelow(True)
    named = [label(s) + ("" if rate == 2000 else f" (at {rate:g}/s)") for s, _, rate in rows]
    axes.set_yticks(range(len(rows)), named)
    axes.tick_params(length=0, which="both")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} ms")
    axes.set_title("Latency at 2,000 messages/s into rooms of 4: p50, p99, p99.9", fontsize=12)
    return figure


def scaling(results: Results, found: Medians) -> Figure | None:
    """The cost of a delivery as rooms and members grow."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    drawn = False
    for place, (prefix, title) in enumerate((("rooms-", "rooms of 2"), ("members-", "members, 2,000 in all"))):
        shapes = [s["key"] for s in results["shapes"] if s["key"].startswith(prefix)]
        points = [(int(key.removeprefix(prefix)), found.get(("relay", key, "cpu"))) for key in shapes]
        known = [(count, value) for count, value in points if value is not None]
        axes = figure.add_subplot(1, 2, place + 1)
        if not known:
            continue
        drawn = True
        counts, values = zip(*known, strict=True)
        if prefix == "rooms-":
            middle = (min(values) + max(values)) / 2
            axes.axhspan(middle * 0.8, middle * 1.2, color=PALE, zorder=0)
        axes.plot(counts, values, "o-", color=OURS, linewidth=2)
        axes.set_xscale("log")
        axes.set_ylim(0, max(values) * 1.4)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.xaxis.set_minor_formatter("")
        axes.set_title(title, fontsize=12)
        axes.set_ylabel("CPU µs per delivery")
    return figure if drawn else None


def draw(results: Results, folder: Path) -> None:
    """Write every picture for which there are figures."""
    found = medians(results["samples"])
    with mpl.rc_context(STYLE):
        for name, make in {"cost": cost, "latency": latency, "idle": idle, "scaling": scaling}.items():
            figure = make(results, found)
            if figure is not None:
                figure.patch.set_facecolor("white")
                figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
