"""Exceptions of the client."""


class Closed(Exception):
    """This client is no longer in the room: it left, or the relay closed its connection for good.

    `code` is an error code or the name of a close reason (the relay's tables list both), or "left" after `Room.leave`.
    `text` explains it.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class Rejected(Exception):
    """The relay will never accept this envelope and did not deliver it; `code` is an error code, `text` explains it."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class NotAcknowledged(Exception):
    """The relay did not acknowledge an envelope in time. If `possibly_sent`, members may have received it."""

    def __init__(self, *, possibly_sent: bool) -> None:
        super().__init__("it may have been sent" if possibly_sent else "it was not sent")
        self.possibly_sent = possibly_sent


class QueueFull(Exception):
    """The outbox already holds as many envelopes as it may; this one was not added."""
