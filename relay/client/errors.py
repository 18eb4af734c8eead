"""What the client raises."""


class Closed(Exception):
    """The room is over for this client: it left, or the relay does not want it back. `code` and `text` say why.

    `code` is the name of an error or of a close reason (see the protocol's tables), "left" after `Room.leave`.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class Rejected(Exception):
    """The relay will not send this envelope, now or later; nobody got it."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class NotAcknowledged(Exception):
    """The relay has not acknowledged an envelope in time. If `possibly_sent`, others may have got it all the same."""

    def __init__(self, *, possibly_sent: bool) -> None:
        super().__init__("it may have been sent" if possibly_sent else "it was not sent")
        self.possibly_sent = possibly_sent


class QueueFull(Exception):
    """As many envelopes wait for the relay as may; this one was not taken."""
