"""The errors of WebSync: text that begins with a number, by which the client decides whether it tries again."""

from typing import ClassVar, Final

from relay.gateways.websync import channels
from relay.model.errors import ERRORS, ErrorTable, Refused, RelayError

WEBSYNC_ERRORS: Final[ErrorTable] = {
    "bad_channel": (
        400,
        "the name of a channel begins with a slash, has at most 255 bytes, and is not below /meta, /service or /fm; "
        "the text names the channel",
    ),
    "no_messages": (400, "the array has no message"),
    "no_client_id": (400, "the message has no clientId; send a handshake first, and then the one in its answer"),
    "no_session_id": (400, "the message has no fm.sessionId in ext; send the one in the answer to the handshake"),
    "no_common_connection_type": (400, "the relay serves long-polling alone, which the client does not support"),
    "unknown_service": (404, "the relay has no such service; it has /service/presence"),
    "session_ended": (403, "the relay has ended the session of this client for good; the text says why"),
}
"""Error code → (HTTP status, meaning)."""

_OF_CODES: Final = {
    "bad_json": 601,
    "no_messages": 602,
    "no_client_id": 603,
    "unknown_session": 604,
    "no_session_id": 605,
    "room_full": 607,
    "too_many_places": 607,
    "worker_full": 607,
}
_OF_CHANNELS: Final = {
    channels.HANDSHAKE: 701,
    channels.CONNECT: 711,
    channels.SUBSCRIBE: 721,
    channels.UNSUBSCRIBE: 741,
    channels.DISCONNECT: 751,
    channels.BIND: 761,
    channels.UNBIND: 771,
    channels.NOTIFY: 781,
}
_PUBLISH: Final = 731
_SERVICE: Final = 901
_FINAL: Final = 801
"""The client does not repeat a handshake whose error has a number from 800 to 899."""


class WebSyncRefused(Refused):
    """The gateway refuses a message."""

    meanings: ClassVar[ErrorTable] = {**ERRORS, **WEBSYNC_ERRORS}


def error_text(error: RelayError, channel: str, *, final: bool = False) -> str:
    """Return the text of an error about a message on a channel: `NUMBER::CODE: TEXT`.

    After a `final` one, a client sends no further handshake.
    """
    number = _OF_CODES.get(error.code)
    if final:
        number = _FINAL
    elif number is None:
        number = _OF_CHANNELS.get(channel, _SERVICE if channel.startswith(channels.SERVICE) else _PUBLISH)
    return f"{number}::{error.code}: {error.text}"
