"""Messages that wait for a receiver to join."""

from msgspec import Struct


class WaitingMessage(Struct, frozen=True):
    """A message of one member to another one, and the time for which it still waits; less than 0 once that is over.

    `key` is the key of the message, by which it is sent once, however many workers send it. One without a `receiver` is
    a note of the sender for itself.
    """

    sender: str
    receiver: str
    key: str
    envelope: bytes
    seconds: float
