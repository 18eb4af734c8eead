"""The events that the receiver of the webhook gets."""

from typing import Literal

from msgspec import Struct

PresenceChange = Literal["room_opened", "room_closed", "joined", "left"]


class WebhookEvent(Struct, frozen=True, kw_only=True):
    """One event for the webhook.

    A room is opened by its first member, and closed when its last one leaves. `position` is the id of the join or leave
    in the room's order, and `time` when it happened (Unix time, ms). `peer` is the member. `info` is its member info
    (JSON text) and `subject` that of its token, both of a member that joined. `restored`: Redis had lost a member that
    was connected all the time, and of which the receiver may know. `reason` is why a member left.
    """

    type: PresenceChange
    room: str
    position: str
    time: int
    peer: str
    info: bytes = b""
    subject: str = ""
    restored: bool = False
    reason: str = ""

    @property
    def id(self) -> str:
        """The id of the event, the same one each time it is sent. A slash is in no name."""
        return f"{self.room}/{self.position}/{self.type}"
