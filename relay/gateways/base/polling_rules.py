"""How a protocol uses polls, the answers that polls get, and the interface of a polling client's session."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.errors import CloseReason


class Overlap(Enum):
    """The rule for a poll that comes while another one is open."""

    REFUSE = "refuse"
    """The second poll is an error, as the order of the frames would be lost."""

    RELEASE_OLDER = "release older"
    """The older poll is answered without frames, and the newer one waits."""


@dataclass(frozen=True, slots=True)
class PollingRules:
    """How one protocol uses HTTP requests; times are in seconds, and 0 means that there is no such limit.

    `posts` is how many posts of a client may be open at a time. A poll without frames gets an empty answer after
    `hold`. A session without an open poll or stream is lost after `lost_after`; with `lost_with_request`, already when
    the client drops a request, and does not poll again within `drop_grace`; a dropped post counts unless the session
    `survives_posts`. The last `repeated_answers` answers are
    given again if their poll is repeated. An answer has at most `frames_per_answer` frames. A session whose requests
    overlap against the rules is closed.
    """

    overlap: Overlap = Overlap.REFUSE
    posts: int = 1
    hold: float = 0.0
    lost_after: float = 0.0
    lost_with_request: bool = False
    survives_posts: bool = False
    drop_grace: float = 0.0
    repeated_answers: int = 0
    frames_per_answer: int = 0


class PollAnswer(NamedTuple):
    """The content of an answer to a poll; without frames it only tells the client to poll again.

    `closed` is set in the last answer of a session that the relay closes. A `superseded` answer goes to a poll or
    stream that a newer request of the same session replaces, or whose session has ended. `token` is that of the poll,
    for protocols whose answers repeat it. `reached` is the newest id of the client's room, if the client has got
    everything up to it with this answer: events that are not for the client move it as well.
    """

    frames: Sequence[Frame]
    closed: CloseReason | None = None
    superseded: bool = False
    token: str = ""
    reached: MessageId | None = None


class PollingOwner(Protocol):
    """The session that a connection belongs to."""

    def closed(self, reason: CloseReason, final: PollAnswer | None) -> None:
        """Take note that the relay has closed the connection; `final` is the answer that no poll has taken."""
        ...

    def lost(self) -> None:
        """Take note that the client no longer polls."""
        ...

    def acknowledged(self, frames: Sequence[Frame]) -> None:
        """Take note that the client has got these frames; called only with `PollingRules.repeated_answers`."""
        ...
