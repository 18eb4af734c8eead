"""The memory of a process, in one of its own: the calls cannot be undone."""

import subprocess
import sys

import pytest

_PROGRAM = """
import resource
from relay.process.memory import return_large_blocks

def used():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

{call}
# A large block that is freed raises the size up to which glibc keeps blocks.
large = bytearray(30_000_000)
del large
before = used()
blocks = [bytearray(1_000_000) for _ in range(60)]
# Above them, so that the heap cannot shrink.
pin = bytearray(100_000)
del blocks
print(used() - before)
"""


def _kept(call: str) -> int:
    program = _PROGRAM.format(call=call)
    return int(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, and measures glibc")
def test_large_blocks_that_are_freed_return_to_the_system() -> None:
    assert _kept("return_large_blocks()") < 5_000_000


def test_the_garbage_collector_does_not_look_through_the_objects_of_the_start() -> None:
    program = (
        "import gc; from relay.process.memory import exempt_from_collection; "
        "exempt_from_collection(); print(len(gc.get_objects()), gc.get_freeze_count())"
    )
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    collected, exempt = map(int, run.stdout.split())
    assert collected < 100 < exempt


def test_full_collections_look_through_few_objects_while_many_clients_connect() -> None:
    program = (
        "import gc; from relay.process.memory import exempt_from_collection; exempt_from_collection(); "
        "before = gc.get_stats()[2]['collections']; clients, looked = [], [0]; "
        "gc.callbacks.append(lambda phase, info: phase == 'start' and info['generation'] == 2 "
        "and looked.append(len(gc.get_objects()))); "
        "clients.extend([] for _ in range(600_000)); "
        "print(gc.get_stats()[2]['collections'] - before, max(looked))"
    )
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    full, looked = map(int, run.stdout.split())
    assert 10 < full < 20
    assert looked < 50_000


def test_a_cycle_of_exempted_objects_is_freed_after_a_while() -> None:
    program = (
        "import gc, weakref; from relay.process.memory import exempt_from_collection; exempt_from_collection()\n"
        "class Node: pass\n"
        "node = Node(); node.own = node; freed = weakref.ref(node)\n"
        "gc.collect(); del node; counts = []\n"
        "while freed() is not None: counts.append(gc.collect())\n"
        "print(len(counts))"
    )
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert 1 < int(run.stdout) <= 80


@pytest.mark.parametrize(("by_default", "set_to"), [("2000, 10, 10", "5000 1 1"), ("20000, 10, 10", "20000 1 1")])
def test_young_objects_are_collected_no_more_often_than_after_five_thousand(by_default: str, set_to: str) -> None:
    program = (
        f"import gc; gc.set_threshold({by_default}); from relay.process.memory import exempt_from_collection; "
        "exempt_from_collection(); print(*gc.get_threshold())"
    )
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == set_to
