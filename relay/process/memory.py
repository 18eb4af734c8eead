"""The memory of this process: how it returns to the system, and which objects the garbage collector looks through."""

import ctypes
import gc
from collections.abc import Mapping
from typing import Final

_OLDEST: Final = 2
"""The generation of a full collection."""

_MMAP_THRESHOLD: Final = -3
"""`M_MMAP_THRESHOLD` of mallopt(3)."""

_LARGE: Final = 262_144
"""Bytes from which on a block is one of its own."""


_OLDER: Final = 1
"""Collections of one generation that come before the next older one is looked through, too.

So a full collection comes after seven times `_YOUNG` new objects: those of some 2,000 clients. As its survivors are
exempted, each object is looked through as often as with fewer, longer collections. Those of 185,000 objects stopped a
worker for 65 to 100 ms.
"""

_YOUNG: Final = 5_000
"""New objects after which the youngest ones are looked through, at least.

With the 700 of Python 3.11, each turn with a hundred messages had one, which found next to nothing.
"""

_EXEMPTED: Final = 80
"""Full collections of which one looks through all objects; each of the others only through those that are new to it.

Connections end without cycles, so that it finds next to nothing. Cycles of so many objects may wait for it.
"""


def return_large_blocks() -> None:
    """Let the C library return large blocks to the system when they are freed, and grow them in place.

    By default, glibc raises the size from which it does so up to 32 MB, with each large block that is freed. From then
    on, large messages that arrive side by side move through the heap as they grow, and leave holes: a hundred
    unfinished messages of 48 MB in all took 200 MB. Other C libraries have no such call.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE)


def exempt_from_collection() -> None:
    """Exempt all objects that exist now from the garbage collector: the modules and the application.

    A full collection stops the worker. Without them, one of an idle worker takes no time instead of 25 ms. Objects that
    survive a full collection are exempted from the next ones, too: nearly all of them are of connected clients. Else
    one stopped a worker for 160 ms while 10,000 clients came back.
    """
    gc.collect()
    gc.freeze()
    # Python puts a full collection off until a quarter as many objects are new as the last one has left: now, none.
    gc.collect()
    gc.set_threshold(max(gc.get_threshold()[0], _YOUNG), _OLDER, _OLDER)
    gc.callbacks.append(_Survivors().collected)


class _Survivors:
    """Exempts the objects that survive full collections, but for one collection in a while.

    An exempted object is freed when nothing refers to it. Only a cycle of exempted ones waits for that collection.
    """

    def __init__(self) -> None:
        self._collections = 0

    def collected(self, phase: str, info: Mapping[str, int]) -> None:
        """Take note that a collection begins or ends."""
        if info["generation"] < _OLDEST:
            return
        if phase == "start":
            self._collections += 1
            if self._collections % _EXEMPTED == 0:
                gc.unfreeze()
        else:
            gc.freeze()
