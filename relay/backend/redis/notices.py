"""Room notices in Redis: the bodies of messages to no member; see rules.lua."""

import json

from relay.backend.rules import StoredRules, read_rules
from relay.model.envelope import MessageId
from relay.model.events import Kicked, Moved, RoomClosed, RoomNotice, RulesChanged


def read_notice(room: str, event_id: MessageId, body: bytes) -> RoomNotice:
    """Read the body of a notice; raises ValueError for anything else."""
    kind, by, rest = body.decode("ascii").split(" ", 2)
    match kind:
        case "rules":
            rules = read_rules(rest) or StoredRules()
            return RulesChanged(room, event_id, rules.public, "" if by == "-" else by, rest)
        case "kicked":
            peer, generation, reason = rest.split(" ", 2)
            return Kicked(room, event_id, peer, _text(reason), int(generation))
        case "closed":
            return RoomClosed(room, event_id, _text(rest))
        case "move":
            to, peers = rest.split(" ")
            return Moved(room, event_id, to, None if peers == "*" else tuple(peers.split(",")))
    raise ValueError(f"unknown notice {kind!r}")


def _text(encoded: str) -> str:
    text = json.loads(encoded)
    if not isinstance(text, str):
        raise ValueError("a reason that is no text")
    return text
