"""Costs of commands: for some, Redis does much more than for a message of the same size."""

from typing import Final

from relay.model.commands import (
    AskPresence,
    ChangeRules,
    CloseRoom,
    Command,
    GatewayCommand,
    Join,
    Kick,
    Move,
    MoveMembers,
    Refresh,
)

JOIN_COST: Final = 3
"""Messages that a join, or the check of a token, counts for, besides itself."""

REPLAY_COST: Final = 25
"""Messages that the replay of a join counts for, and work that takes as long: to derive a password, to empty a room."""

_NAMES: Final = 10
"""Names of a member list that count as one message."""

_LISTED: Final = 100
"""Names of a list whose length the client does not give."""


def extra_cost(command: Command) -> float:
    """Return the number of messages for which a command counts besides itself; 0 for most."""
    match command:
        case Join(since=since) if since:
            return JOIN_COST + REPLAY_COST
        case Join() | Move() | Refresh():
            return JOIN_COST
        case ChangeRules(change=change) if change is not None and change.password:
            return REPLAY_COST
        case Kick() | ChangeRules():
            return JOIN_COST
        case CloseRoom() | MoveMembers():
            return REPLAY_COST
        case AskPresence(limit=limit):
            return (_LISTED if limit is None else limit) / _NAMES
        case GatewayCommand():
            return JOIN_COST * command.joins
    return 0
