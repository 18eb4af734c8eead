"""The tree of a room: a value in JSON that members change by path. Paths, leaves, hashes; pure functions.

It is that of the Firebase Realtime Database. A node has children by key, or a value (text, number or boolean), and
perhaps a priority. A node without both does not exist: nulls and empty objects vanish, and an array is an object with
numbers as keys. A path is relative to the room, without slashes at its ends; "" is the room itself. A tree is kept as
its leaves: path → value as JSON. A priority is a leaf at `PATH/.priority`.
"""

import base64
import hashlib
import re
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from relay.model.errors import Refused

MAX_DEPTH: Final = 16
"""Keys of a path, from the room on."""

MAX_KEY: Final = 768
"""Bytes of a key."""

MAX_BYTES: Final = 262_144
"""Bytes of all paths and values of a tree."""

MAX_LEAVES: Final = 4096
"""Values of a tree, in all its nodes together."""

PRIORITY: Final = ".priority"
VALUE: Final = ".value"
SERVER_VALUE: Final = ".sv"

TIMESTAMP: Final = b'{".sv":"timestamp"}'
"""The value for which the time of the change stands, as the backends look for it in the JSON of a change."""

_FORBIDDEN: Final = re.compile(r"[.#$\[\]/\x00-\x1f\x7f]|[\ud800-\udfff]")
_INTEGER: Final = re.compile(r"(?:0|-?[1-9]\d{0,9})", re.ASCII)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

Leaves = dict[str, bytes]
"""Path → value, as JSON."""


def check_key(key: str) -> str:
    """Return a key; raise `Refused` (`bad_path`) if no node may have it."""
    if not key or _FORBIDDEN.search(key):
        raise Refused("bad_path", 'a key is text without . # $ [ ] / and control characters, and not ""')
    if len(key.encode()) > MAX_KEY:
        raise Refused("bad_path", f"a key has at most {MAX_KEY} bytes")
    return key


def read_path(text: str) -> tuple[str, ...]:
    """Return the keys of a path as clients write it, with slashes at its ends or without; raise `Refused` (`bad_path`).

    The last key may be `.priority`.
    """
    keys = tuple(key for key in text.split("/") if key)
    if len(keys) > MAX_DEPTH + 1:
        raise Refused("bad_path", f"a path has at most {MAX_DEPTH} keys")
    for key in keys[:-1]:
        check_key(key)
    if keys and keys[-1] != PRIORITY:
        check_key(keys[-1])
    return keys


def join(path: str, key: str) -> str:
    """Return the path of a child."""
    return f"{path}/{key}" if path and key else path or key


def holds(path: str, other: str) -> bool:
    """Return whether a path is the other one, or above it."""
    return not path or other == path or other.startswith(f"{path}/")


def leaves_of(value: object, path: str) -> Leaves:
    """Return the leaves of a value that is written to a path; none for a value that does not exist.

    Server values must be resolved, but for the time of the change. Raises `Refused` (`bad_path`, `bad_value`,
    `too_large`, `tree_full`).
    """
    leaves = _Collected()
    if path.endswith(PRIORITY):
        _collect_priority(value, path, leaves)
    else:
        _collect(value, path, path.count("/") + bool(path), leaves)
    return leaves


def size_of(leaves: Leaves) -> int:
    """Return the bytes of the paths and values of these leaves."""
    return sum([len(path.encode()) + len(value) for path, value in leaves.items()])


class _Collected(Leaves):
    """The leaves of one value, as far as a tree has room for them.

    A long path is in each leaf below it: without a bound, a small message would become many megabytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bytes = 0

    def add(self, path: str, value: bytes) -> None:
        """Add a leaf; raises `Refused` (`too_large`, `tree_full`)."""
        if len(self) >= MAX_LEAVES:
            raise Refused("too_large", f"a value has at most {MAX_LEAVES} values in it")
        self._bytes += len(path.encode()) + len(value)
        if self._bytes > MAX_BYTES:
            raise Refused("tree_full")
        self[path] = value


def _collect(value: object, path: str, depth: int, leaves: _Collected) -> None:
    if depth > MAX_DEPTH:
        raise Refused("bad_path", f"a tree has at most {MAX_DEPTH} levels")
    if value is None:
        return
    if isinstance(value, list):
        value = {str(index): child for index, child in enumerate(value)}
    if not isinstance(value, dict):
        _add(leaves, path, value)
        return
    if SERVER_VALUE in value:
        _add_time(leaves, path, value)
        return
    before, priority = len(leaves), value.get(PRIORITY)
    if VALUE in value:
        _collect(value[VALUE], path, depth, leaves)
    else:
        for key, child in value.items():
            if key != PRIORITY:
                _collect(child, join(path, check_key(key)), depth + 1, leaves)
    if priority is not None and len(leaves) > before:
        _collect_priority(priority, join(path, PRIORITY), leaves)


def _collect_priority(value: object, path: str, leaves: _Collected) -> None:
    # The SDK of a page that is sent any other priority throws an error.
    if isinstance(value, dict):
        _add_time(leaves, path, value)
    elif isinstance(value, bool | list):
        raise Refused("bad_value", "a priority is text or a number")
    elif value is not None:
        _add(leaves, path, value)


def _add_time(leaves: _Collected, path: str, value: dict[str, object]) -> None:
    if value != {SERVER_VALUE: "timestamp"}:
        raise Refused("bad_value", "the relay knows the server values timestamp and increment; a priority has no child")
    leaves.add(path, TIMESTAMP)


def _add(leaves: _Collected, path: str, value: object) -> None:
    if not isinstance(value, str | bool | int | float):
        raise Refused("bad_value", "a value is text, a number, a boolean, or an object of such")
    if isinstance(value, int | float) and not abs(value) <= sys.float_info.max:
        raise Refused("bad_value", "a number is one that a double can hold")
    leaves.add(path, _encode(value))


def with_increments(value: object, path: str, current: Callable[[str], object]) -> object:
    """Return a value with its increments resolved: `current` returns the value that is at a path now."""
    if isinstance(value, list):
        return [with_increments(child, join(path, str(index)), current) for index, child in enumerate(value)]
    if not isinstance(value, dict):
        return value
    step = value.get(SERVER_VALUE)
    if isinstance(step, dict) and isinstance(step.get("increment"), int | float):
        before = current(path)
        number = before if isinstance(before, int | float) and not isinstance(before, bool) else 0
        return _sum(number, step["increment"])
    return {key: with_increments(child, join(path, key), current) for key, child in value.items()}


def _sum(number: float, step: float) -> float:
    """Return a sum of two numbers, of which one may be beyond those of a double; raises `Refused` (`bad_value`)."""
    try:
        return number + step
    except OverflowError:
        raise Refused("bad_value", "a number is one that a double can hold") from None


def has_increments(value: object) -> bool:
    """Return whether a value has an increment in it."""
    if isinstance(value, list):
        return any(map(has_increments, value))
    if not isinstance(value, dict):
        return False
    return isinstance(value.get(SERVER_VALUE), dict) or any(map(has_increments, value.values()))


# Reading.


def value_at(leaves: Iterable[tuple[str, bytes]], path: str) -> Any:
    """Return the value that these leaves have at a path: nested dictionaries with `Raw` in them; None for none."""
    root: dict[str, Any] = {}
    for leaf, value in leaves:
        if not holds(path, leaf):
            continue
        below = leaf[len(path) :].strip("/") if path else leaf
        node = root
        for key in below.split("/") if below else ():
            node = node.setdefault(key, {})
        node[VALUE] = Raw(value)
    return _value_of(root)


def _value_of(node: dict[str, Any]) -> Any:
    priority = node.pop(PRIORITY, None)
    value: Any = node.pop(VALUE, None)
    if value is None:
        children = {key: _value_of(child) for key, child in node.items()}
        value = {key: child for key, child in children.items() if child is not None} or None
    if value is None or priority is None:
        return value
    mark = _value_of(priority)
    return {**value, PRIORITY: mark} if isinstance(value, dict) else {VALUE: value, PRIORITY: mark}


def json_at(leaves: Iterable[tuple[str, bytes]], path: str) -> bytes:
    """Return the same value as JSON text; `null` for none."""
    return _encode(value_at(leaves, path))


def contents_of(leaves: Iterable[tuple[str, bytes]]) -> bytes:
    """Return leaves in one text, by which tree_write.lua compares them; they are in the order of their paths' bytes."""
    return b"".join([b"%b\0%b\0" % (path.encode(), value) for path, value in leaves])


# The hash of a value, by which a client names the value that it has.


def hash_of(value: Any) -> str:
    """Return the hash of a value as `value_at` returns it, or as JSON was decoded; "" for none."""
    priority: object = None
    if isinstance(value, dict):
        priority = _plain(value.get(PRIORITY))
        if VALUE in value:
            value = value[VALUE]
    value = _plain(value)
    if value is None:
        return ""
    head = f"priority:{_text_of(priority)}:" if priority is not None else ""
    if isinstance(value, dict):
        children = [(key, child) for key, child in value.items() if key != PRIORITY]
        children.sort(key=lambda one: (_rank(_priority_of(one[1])), key_order(one[0])))
        parts = [f":{key}:{digest}" for key, child in children if (digest := hash_of(child))]
        text = head + "".join(parts)
        if not parts:
            return ""
    else:
        text = head + _text_of(value)
    sha = hashlib.sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False)
    return base64.b64encode(sha.digest()).decode("ascii")


def _plain(value: Any) -> Any:
    return _decode(value) if isinstance(value, Raw) else value


def _priority_of(value: Any) -> object:
    return _plain(value.get(PRIORITY)) if isinstance(value, dict) else None


def _rank(priority: object) -> tuple[int, float, str]:
    if priority is None:
        return 0, 0.0, ""
    if isinstance(priority, int | float):
        return 1, float(priority), ""
    return 2, 0.0, str(priority)


def key_order(key: str) -> tuple[int, int, bytes]:
    """Return the sort key of a child's key: whole numbers of 32 bits come first, by their value."""
    if _INTEGER.fullmatch(key) and -(2**31) <= int(key) < 2**31:
        return 0, int(key), b""
    return 1, 0, key.encode("utf-16-be", "surrogatepass")


def _text_of(value: object) -> str:
    if isinstance(value, bool):
        return f"boolean:{'true' if value else 'false'}"
    if isinstance(value, int | float):
        return f"number:{struct.pack('>d', value).hex()}"
    return f"string:{value}"


def sorted_leaves(leaves: Mapping[str, bytes], path: str = "") -> list[tuple[str, bytes]]:
    """Return the leaves at a path and below, in the order of their paths' bytes."""
    found = [(leaf, value) for leaf, value in leaves.items() if holds(path, leaf)]
    return sorted(found, key=lambda one: one[0].encode())
