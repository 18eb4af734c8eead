"""The memory of this process: how it returns to the system, and which objects the garbage collector looks through."""

import ctypes
import gc
from typing import Final

_MMAP_THRESHOLD: Final = -3
"""`M_MMAP_THRESHOLD` of mallopt(3)."""

_LARGE: Final = 262_144
"""Bytes from which on a block is one of its own."""


_MOST_UNCOLLECTED: Final = 350_000
"""About as many new objects come before the garbage collector looks through all of them.

By default, it is 70,000 in Python 3.11 and 200,000 in 3.13. Connections end without cycles, so that a full collection
finds next to nothing. Cycles of so many objects may wait for one.
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

    A full collection stops the worker. Without them, one of an idle worker takes no time instead of 25 ms. It becomes
    rarer as well: while 5,000 clients connected, two of them took up to 56 ms.
    """
    gc.collect()
    gc.freeze()
    # How often the young ones are looked through differs between versions of Python, and stays.
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _MOST_UNCOLLECTED // (young * middle))
