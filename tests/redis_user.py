"""The user of Redis that deploy/redis/secrets.sh makes for the relay, and the commands that the relay's code sends."""

import ast
import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
_BACKEND: Final = ROOT / "relay" / "backend"
_SECRETS: Final = ROOT / "deploy" / "redis" / "secrets.sh"

NAME: Final = "relay"
PASSWORD: Final = "of-the-relay"

OF_CONNECTIONS: Final = frozenset({"client|setname", "ping", "select"})
"""Commands that redis-py sends when it connects, and the one of health checks."""

OF_EARLIER: Final = frozenset({"get", "hrandfield", "smembers"})
"""Commands that only workers of the version before send, which run beside new ones during a rolling upgrade."""

OF_TESTS: Final = ("acl", "config", "dump", "pttl", "restore")
"""Commands by which tests look at Redis, over connections of the relay."""


def allowed() -> tuple[str, ...]:
    """The commands of the user, as the script lists them."""
    (found,) = re.findall(r'^COMMANDS="([^"]*)"$', _SECRETS.read_text().replace("\\\n", ""), re.MULTILINE)
    return tuple(found.split())


def rules(*more: str) -> list[str]:
    """The rules of the user in a Redis of the tests, whose keys have other prefixes."""
    return ["on", f">{PASSWORD}", "~*", "&*", *[f"+{command}" for command in (*allowed(), *more)]]


def url(port: int) -> str:
    """The URL of a Redis of the tests, for the relay."""
    return f"redis://{NAME}:{PASSWORD}@127.0.0.1:{port}"


def sent() -> set[str]:
    """The commands in the code of the backend and in its scripts."""
    found = set()
    for file in _BACKEND.rglob("*.lua"):
        found |= {name.lower() for name in re.findall(r"\bp?call\(\s*'(\w+)'", file.read_text())}
    for file in _BACKEND.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and _name(node.func) in {"call", "pack", "tell"}:
                words = [one.value for one in node.args if isinstance(one, ast.Constant) and _is_word(one.value)]
                # The word behind SCRIPT or CLUSTER is a command of its own; all other words are options.
                found.add("|".join(words[: 2 if words[:1] in (["SCRIPT"], ["CLUSTER"]) else 1]).lower())
    # On a cluster, scripts and probes send this one in place of PUBLISH; see relay/backend/redis/scripts.py.
    return (found | {"spublish"}) - {""}


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _is_word(value: object) -> bool:
    return isinstance(value, str) and value.isupper()
