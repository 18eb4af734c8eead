"""The user of Redis that deploy/redis/secrets.sh makes for the relay, and the commands that the relay's code sends."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

ROOT: Final = Path(__file__).parents[1]
_BACKEND: Final = ROOT / "relay" / "backend"
_SECRETS: Final = ROOT / "deploy" / "redis" / "secrets.sh"

NAME: Final = "relay"
PASSWORD: Final = "of-the-relay"

LOOKING: Final = "looking-relay"
"""The name of a user for tests that look at Redis over connections of the relay's code: it may send `OF_TESTS`, too."""

PREFIX: Final = "relay"
"""The first part of all names of keys and Redis channels: the user is limited to those that follow a colon."""

OF_CONNECTIONS: Final = frozenset({"client|setname", "ping"})
"""Commands that redis-py sends when it connects to any Redis, and the one of health checks."""

OF_DATABASES: Final = frozenset({"select"})
"""The command that redis-py sends when it connects to one Redis, if the URL has a database."""

OF_EARLIER: Final = frozenset({"get", "hrandfield", "smembers"})
"""Commands that only workers of the version before send, which run beside new ones during a rolling upgrade."""

OF_SENTINELS: Final = ("sentinel|master", "client|setname", "ping")
"""Commands that workers send to sentinels, and the one of health checks."""

OF_TESTS: Final = ("acl", "config", "dump", "get", "publish", "restore", "select", "smembers")
"""Commands by which tests look at Redis, over connections of the relay's code."""

Kind = Literal["one", "cluster"]
"""One Redis, also a master with replicas, or a node of a cluster."""

LISTS: Final = ("COMMANDS", "COMMANDS_OF_ONE", "COMMANDS_OF_CLUSTER")
"""The lists of the script."""

_OWN: Final[Mapping[Kind, str]] = {"one": "COMMANDS_OF_ONE", "cluster": "COMMANDS_OF_CLUSTER"}


def allowed(kind: Kind) -> tuple[str, ...]:
    """The commands of the user, as the script lists them."""
    return (*listed("COMMANDS"), *listed(_OWN[kind]))


def listed(name: str) -> tuple[str, ...]:
    """One list of the script."""
    (found,) = re.findall(rf'^{name}="([^"]*)"$', _SECRETS.read_text().replace("\\\n", ""), re.MULTILINE)
    return tuple(found.split())


def rules(kind: Kind, *more: str) -> list[str]:
    """The rules of the user, as deployments have them."""
    limits = [f"~{PREFIX}:*", "resetchannels", f"&{PREFIX}:*", "-@all"]
    return ["on", f">{PASSWORD}", *limits, *[f"+{command}" for command in dict.fromkeys((*allowed(kind), *more))]]


def options(kind: Kind) -> list[str]:
    """The options of redis-server for the users of the relay and of the tests."""
    return ["--user", NAME, *rules(kind), "--user", LOOKING, *rules(kind, *OF_TESTS)]


def url(port: int) -> str:
    """The URL of a Redis of the tests, for the relay."""
    return f"redis://{NAME}:{PASSWORD}@127.0.0.1:{port}"


def looking(url: str) -> str:
    """The same URL for tests that look at Redis."""
    return url.replace(f"://{NAME}:", f"://{LOOKING}:")


def sent(kind: Kind) -> set[str]:
    """The commands in the code of the backend and in its scripts, to Redis of this kind."""
    found = set()
    for file in _BACKEND.rglob("*.lua"):
        found |= {name.lower() for name in re.findall(r"\bp?call\(\s*'(\w+)'", file.read_text())}
    for file in _BACKEND.rglob("*.py"):
        if kind == "one" and "cluster" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and _name(node.func) in {"call", "pack", "tell"}:
                words = [one.value for one in node.args if isinstance(one, ast.Constant) and _is_word(one.value)]
                # The word behind SCRIPT or CLUSTER is a command of its own; all other words are options.
                found.add("|".join(words[: 2 if words[:1] in (["SCRIPT"], ["CLUSTER"]) else 1]).lower())
    if kind == "cluster":
        # In place of the plain ones; see relay/backend/redis/scripts.py and relay/backend/redis/cluster/lines.py.
        found = (found - {"publish", "subscribe", "unsubscribe"}) | {"spublish"}
    return found - {""}


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _is_word(value: object) -> bool:
    return isinstance(value, str) and value.isupper()
