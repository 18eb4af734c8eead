"""Ends the session of a client that has connected anew, because it has lost its connection before the relay noticed.

Otherwise, the changes that it has prepared for its end would be made later, and take away values that it has written
since.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from starlette.types import Message, Scope

from relay.gateways.base.forwarding import FORWARDER, Forwarder
from relay.gateways.firebase.declaration import NAME, POLLS
from relay.gateways.firebase.state import state_of
from relay.http_request import counted_client
from relay.model.errors import Refused
from relay.rooms.worker import Worker

log = logging.getLogger("relay.gateways.firebase")

_PATIENCE: Final = 3.0
"""Seconds for which a client waits for that; a worker that does not answer is perhaps dead."""


async def end_last_session(scope: Scope, query: Mapping[str, str]) -> None:
    """End the session that the query of a handshake names as the client's last one (`ls`), on whichever worker."""
    session_id = query.get("ls", "")
    if not session_id:
        return
    here = state_of(scope).find(session_id)
    if here is None:
        await _forward_goodbye(scope, session_id)
    elif (left := here.leave()) is not None:
        _, late = await asyncio.wait([left], timeout=_PATIENCE)
        if late:
            _note(scope, "unavailable")


async def _forward_goodbye(scope: Scope, session_id: str) -> None:
    """Say goodbye to the worker that has the session, as a page does that polls."""
    forwarder: Forwarder = scope["state"][FORWARDER]
    query = urlencode({"disconn": "t", "id": session_id}).encode("ascii")
    request = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "raw_path": POLLS.encode("ascii"),
        "query_string": query,
        "headers": [],
        "client": scope.get("client"),
        "state": scope["state"],
    }
    try:
        async with asyncio.timeout(_PATIENCE):
            await forwarder.forward(request, _nothing_more, _ignore, session_id, limit=0, body=b"")
    except TimeoutError:
        _note(scope, "unavailable")
    except Refused as error:
        _note(scope, error.code)


def _note(scope: Scope, code: str) -> None:
    """Count and log that the last session of a client may still be there, at most once in ten seconds."""
    worker: Worker = scope["state"]["worker"]
    worker.metrics.of(NAME).refused(code)
    if state_of(scope).unended.due() is not None:
        log.warning(
            "%s: the last session of the client at %s could not be ended; it ends when its worker notices the loss, or "
            "dies, and until then the values that are to be removed with it stay",
            code, counted_client(scope),
        )  # fmt: skip


async def _nothing_more() -> Message:
    never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    return await never


async def _ignore(_: Message) -> None:
    return
