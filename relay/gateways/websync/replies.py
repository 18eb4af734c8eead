"""Writes replies: one for each message of a request, with its id, in an array."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from relay.gateways.base.http import JSON, HttpBody
from relay.gateways.websync import channels
from relay.gateways.websync.errors import error_text
from relay.gateways.websync.messages import BadMessage, ClientMessage
from relay.model.errors import RelayError

VERSION: Final = "1.0"
LONG_POLLING: Final = "long-polling"

HANDSHAKE_AGAIN: Final = {"reconnect": "handshake"}
"""The advice for a client whose session is gone: without it, the client repeats its connect at full speed."""

Reply = Mapping[str, Any]


def body_of(replies: Sequence[Reply], status: int = 200) -> HttpBody:
    """Return the body of a response with these replies."""
    return HttpBody(msgspec.json.encode(replies), JSON, status)


def success(message: ClientMessage, client: str, **fields: Any) -> Reply:
    """Return the reply to a message that was carried out for a client."""
    return {"id": message.id, "channel": message.channel, "successful": True, "clientId": client, **fields}


def failure(
    message: ClientMessage | BadMessage,
    error: RelayError,
    *,
    advice: Mapping[str, Any] | None = None,
    final: bool = False,
) -> Reply:
    """Return the reply to a message that was not carried out; `final` is as in `error_text`."""
    reply = {
        "id": message.id,
        "channel": message.channel,
        "successful": False,
        "error": error_text(error, message.channel, final=final),
    }
    return reply | ({"advice": advice} if advice else {})


def handshake(message: ClientMessage, client: str, session_id: str, timeout: float) -> Reply:
    """Return the reply to a handshake; `timeout` is how many seconds a connect waits for messages."""
    return success(
        message,
        client,
        version=VERSION,
        minimumVersion=VERSION,
        supportedConnectionTypes=[LONG_POLLING],
        advice={"reconnect": "retry", "interval": 0},
        ext={"fm.sessionId": session_id, "fm.timeout": round(timeout * 1000)},
    )


def connected(message_id: str) -> HttpBody:
    """Return the answer to a connect for which there is nothing; its id is JSON."""
    return body_of([{"id": Raw(message_id.encode()), "channel": channels.CONNECT, "successful": True}])


def not_connected(message_id: str, error: RelayError) -> HttpBody:
    """Return the answer to a connect of a client that has to send a handshake first."""
    reply = {
        "id": Raw(message_id.encode()),
        "channel": channels.CONNECT,
        "successful": False,
        "error": error_text(error, channels.CONNECT),
        "advice": HANDSHAKE_AGAIN,
    }
    return body_of([reply])
