"""An attack: one coroutine against a `Target`."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.abuse.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One attack, the `ATTACK` of a module in `tests.abuse.attacks`.

    `run` goes on until it is cancelled. When a connection fails because the relay ended or refused it, `run` may raise
    the error: it is started again, as an attacker would. `says` is one sentence for the table. At most `connections`
    are open at a time.
    """

    name: str
    says: str
    run: Callable[[Target], Awaitable[None]]
    connections: int = 20
