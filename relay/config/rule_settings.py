"""The settings about the rules of rooms; `Settings` has them as well."""

from typing import Annotated, Literal

from relay.config.declaring import count, seconds, setting
from relay.config.turn_settings import TurnSettings


class RuleSettings(TurnSettings, frozen=True, kw_only=True):
    """The settings of room rules: which clients may open rooms, and which may change rules."""

    closed_rooms: Annotated[
        Literal["on", "off"],
        setting(
            "Whether rooms exist only if they were made over HTTP, or are opened by a client whose token has rules for "
            "them or grants changing them",
            consequence="no_such_room for all others",
        ),
    ] = "off"
    owner_rules: Annotated[
        Literal["on", "off"],
        setting(
            "Whether the first member of a room owns it: it may change the rules, put members out, and close the room. "
            "When it leaves, the eldest member owns it"
        ),
    ] = "off"
    rules_ttl: Annotated[
        float,
        seconds(
            "How long the rules of a room are kept when it has no members, unless the rules say so themselves",
            le=2_592_000,
        ),
    ] = 3600.0
    password_attempts: Annotated[
        int,
        count(
            "Wrong passwords a minute from one address for one room, on one worker",
            le=10_000,
            consequence="too_many_attempts, also for the right password",
        ),
    ] = 10
