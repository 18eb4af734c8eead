"""Takes one sample: one system under one shape, as figures by name."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.bench.accounting import cpu_seconds, memory, redis_calls, stolen
from tests.bench.run import LOAD_CORE, SERVER_CORE, Broken, Load, Server, serving
from tests.bench.shapes import CALL_MESSAGES, RATES, Shape
from tests.bench.systems import System

__all__ = ["Figures", "Pace", "calm_sample", "sample"]

Figures = dict[str, float]
# A rate is below saturation while the server does not fill its core and messages do not queue.
CALM = 0.1  # seconds taken by other guests of the machine, each second, up to which a sample stands
BUSY, LATE = 0.9, 250_000.0
SETTLE, CROWD_SETTLES, DEEPER = 0.5, 4000, 8
LISTENERS = 500  # handshakes under way at once in a storm: the shortest listen queue among the peers is 511
TALKERS = Shape("talkers", "rooms that talk beside a storm", "steady", 25, 4)
TALK, TALKERS_FIRST, PROOF = 500, 1_000_000, 100


@dataclass(frozen=True, slots=True)
class Pace:
    """Durations in seconds, and the number of tries."""

    seconds: float = 5
    warmup: float = 2
    idle: float = 10
    tries: int = 1


def under_load(server: Server, load: Load, command: str, pace: Pace) -> Figures:
    """Start a load, and measure its cost from its beginning to its end."""
    load.say(f"{command.split()[0]} {pace.seconds} {pace.warmup} {command.split()[1]}")
    load.event("begin")
    before, steal = [cpu_seconds([root]) for root in server.roots], stolen()
    end = load.event("end")
    used = [cpu_seconds([root]) - then for root, then in zip(server.roots, before, strict=True)]
    steal = stolen() - steal
    lost = load.event("settled")["lost"]
    server.check()
    if not end["deliveries"] or lost < 0:
        raise Broken("nothing was delivered" if lost >= 0 else "more was delivered than there are members to hear it")
    cpu = sum(used) * 1e6
    return {
        "cpu": cpu / end["deliveries"],
        "cpu_message": cpu / end["deliveries"] * server.system.dialect.heard(load.members),
        "cpu_redis": sum(used[1:]) / end["deliveries"] * 1e6,
        "deliveries_per_second": end["deliveries"] / end["seconds"],
        "messages_per_second": end["messages"] / end["seconds"],
        "p50": end["p50"],
        "p99": end["p99"],
        "p999": end["p999"],
        "lost": lost,
        "server_share": sum(used) / end["seconds"],
        "load_share": end["cpu"] / end["seconds"],
        "stolen_share": steal / end["seconds"],
    }


def whole(figures: Figures) -> Figures:
    """Raise `Broken` if messages were lost: a message that reaches only some members is cheaper."""
    if figures["lost"]:
        raise Broken(f"{figures['lost']:.0f} messages were lost")
    return figures


def steady(system: System, shape: Shape, pace: Pace) -> Figures:
    """An open loop at a fixed rate; `cpu_net` is `cpu` without the cost of the silent crowd (pings)."""
    redis_core = LOAD_CORE if shape.apart else SERVER_CORE
    with serving(system, redis_core) as server, Load(server.target, shape, generator=shape.generator) as load:
        load.connected()
        time.sleep(SETTLE + load.crowd / CROWD_SETTLES)
        silent = cpu_seconds(server.roots)
        time.sleep(pace.warmup)
        silent = (cpu_seconds(server.roots) - silent) / pace.warmup
        figures = under_load(server, load, f"steady {shape.level:g}", pace)
        if shape.kind == "steady":
            whole(figures)
        return figures | {"cpu_net": figures["cpu"] - silent / figures["deliveries_per_second"] * 1e6}


def flood(system: System, shape: Shape, pace: Pace) -> Figures:
    """A closed loop.

    A system that does not fill its core gets more messages in flight, so that its deliveries a second are those at
    saturation. The cost of a delivery is always taken at the level that all systems have in common.
    """
    with serving(system) as server, Load(server.target, shape) as load:
        load.connected()
        time.sleep(SETTLE + load.crowd / CROWD_SETTLES)
        figures = whole(under_load(server, load, f"flood {shape.level:g}", pace))
        if figures["server_share"] < BUSY:
            more = whole(under_load(server, load, f"flood {shape.level * DEEPER:g}", pace))
            for name in ("deliveries_per_second", "load_share", "stolen_share"):
                figures[name] = max(figures[name], more[name])
        return figures


held: dict[str, int] = {}


def latency(system: System, shape: Shape, pace: Pace) -> Figures:
    """Latency at the highest rate that this system sustains; later rounds begin at that rate."""
    for rate in RATES[RATES.index(held.get(system.key, RATES[0])) :]:
        figures = {**steady(system, replace(shape, level=rate), pace), "rate": rate}
        kept = figures["messages_per_second"] > 0.98 * rate
        if kept and figures["server_share"] < BUSY and figures["p99"] < LATE and not figures["lost"]:
            held[system.key] = rate
            return figures
    raise Broken(f"saturated at {RATES[-1]} messages a second")


def idle(system: System, shape: Shape, pace: Pace) -> Figures:
    """The cost of connecting, and of connections that do nothing."""
    with serving(system) as server:
        # The first handshake loads code and fills caches, which is no cost of a connection.
        with Load(server.target, replace(shape, rooms=1), first=shape.rooms) as load:
            load.connected()
        time.sleep(pace.warmup)
        alone = redis_rate(server, pace.idle)
        size, redis_size, cpu = memory(server.root), memory(server.redis_root), cpu_seconds(server.roots)
        with Load(server.target, shape) as load:
            ready = load.connected()
            cpu = cpu_seconds(server.roots) - cpu
            time.sleep(pace.warmup)
            figures = {
                "handshakes_per_second": ready["handshakes_per_second"],
                "handshake_cpu": cpu / load.crowd * 1e6,
                "memory": (memory(server.root) - size) / load.crowd,
                "memory_redis": (memory(server.redis_root) - redis_size) / load.crowd,
                "load_share": ready["cpu"] / ready["seconds"],
            }
            before = cpu_seconds(server.roots)
            together = redis_rate(server, pace.idle)
            figures["idle_share"] = (cpu_seconds(server.roots) - before) / pace.idle
            figures["redis_commands"] = (together - alone) / load.crowd
            figures["redis_commands_alone"] = alone
            prove_alive(server, load)
        return figures


def prove_alive(server: Server, load: Load) -> None:
    """Check that the idle connections receive messages: dead ones would cost little, too."""
    said = under_load(server, load, f"steady {PROOF}", Pace(seconds=1, warmup=0.5))
    if said["lost"]:
        raise Broken(f"{said['lost']} messages into the idle crowd were lost")


def calls(system: System, shape: Shape, pace: Pace) -> Figures:
    """The cost of whole calls: the handshakes, the messages by which a client joins, and the others."""
    with serving(system) as server:
        # As for idle connections.
        with Load(server.target, replace(shape, rooms=1), first=shape.rooms) as load:
            load.connected()
        cpu = cpu_seconds(server.roots)
        with Load(server.target, shape) as load:
            load.connected()
            duration = shape.rooms * CALL_MESSAGES / shape.level
            said = under_load(server, load, f"steady {shape.level:g}", replace(pace, seconds=duration, warmup=0))
            cpu = cpu_seconds(server.roots) - cpu
            return {"call_cpu": cpu / shape.rooms * 1e6} | {
                name: said[name] for name in ("cpu", "lost", "load_share", "messages_per_second")
            }


def redis_rate(server: Server, seconds: float) -> float:
    """Redis commands a second."""
    if not server.system.redis:
        time.sleep(seconds)
        return 0.0
    before = redis_calls(server.place.redis)
    time.sleep(seconds)
    return (redis_calls(server.place.redis) - before) / seconds


def storm(system: System, shape: Shape, pace: Pace) -> Figures:
    """All connections drop and reconnect at once; the latency of other rooms meanwhile is the result."""
    with serving(system) as server, Load(server.target, shape, connecting=LISTENERS) as crowd:
        took = crowd.connected()["seconds"]
        with Load(server.target, TALKERS, first=TALKERS_FIRST) as talkers:
            talkers.connected()
            time.sleep(pace.warmup)
            size = memory(server.root)
            quiet = under_load(server, talkers, f"steady {TALK}", pace)
            # They send during the storm, which takes about as long as the first connecting of the crowd.
            talkers.say(f"steady {min(max(took, 2), 30)} 0.2 {TALK}")
            talkers.event("begin")
            cpu = cpu_seconds(server.roots)
            crowd.say("storm")
            during = talkers.event("end")
            lost = talkers.event("settled")["lost"]
            back = crowd.event("stormed")
            cpu = cpu_seconds(server.roots) - cpu
            time.sleep(pace.warmup)
            server.check()
            return {
                "quiet_p99": quiet["p99"],
                "storm_p50": during["p50"],
                "storm_p99": during["p99"],
                "storm_p999": during["p999"],
                "lost": lost,
                "storm_seconds": back["seconds"],
                "refused": crowd.crowd - back["connections"],
                "handshakes_per_second": back["handshakes_per_second"],
                "storm_cpu": cpu,
                "memory_growth": (memory(server.root) - size) / crowd.crowd,
            }


MEASURES: dict[str, Callable[[System, Shape, Pace], Figures]] = {
    "flood": flood,
    "steady": steady,
    "latency": latency,
    "idle": idle,
    "storm": storm,
    "calls": calls,
}


def sample(system: System, shape: Shape, pace: Pace) -> Figures:
    """Measure one system under one shape."""
    before, began = stolen(), time.monotonic()
    figures = MEASURES[shape.kind](system, shape, pace)
    return {"stolen_share": (stolen() - before) / (time.monotonic() - began), **figures}


def calm_sample(system: System, shape: Shape, pace: Pace) -> tuple[Figures, list[str]]:
    """The first calm sample, or the calmest of a few, and the failures of others.

    The choice depends only on how much CPU time other virtual machines took, never on the figures themselves.
    """
    best: Figures = {}
    failures: list[str] = []
    for _ in range(pace.tries):
        try:
            figures = sample(system, shape, pace)
        except Broken as reason:
            failures.append(str(reason))
            continue
        if not best or figures["stolen_share"] < best["stolen_share"]:
            best = figures
        if best["stolen_share"] < CALM:
            break
    return best, failures
