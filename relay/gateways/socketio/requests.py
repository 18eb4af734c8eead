"""Forwards polling requests of Socket.IO to the worker that has the session."""

import asyncio
from contextlib import suppress

from relay.gateways.base.http import HttpExchange
from relay.gateways.socketio.forwarding import Forwarder


async def forward(exchange: HttpExchange, forwarder: Forwarder, session_id: str, *, limit: int) -> bool:
    """Respond as the worker does that has this session; False if no worker has it. Raises `Refused`."""
    if not forwarder.may_forward(exchange.scope):
        return False
    body = await exchange.read_body(limit)
    if body is None:
        return True
    forwarded = asyncio.create_task(forwarder.forward(exchange.scope, session_id, body))
    try:
        reply = await exchange.unless_dropped(forwarded)
        if reply is None:
            return not forwarded.done()
    finally:
        # Cancelling drops the forwarded request, so that the other worker sees that the client has dropped it.
        forwarded.cancel()
        with suppress(asyncio.CancelledError):
            await forwarded
    await exchange.pass_on(reply.status, reply.headers, reply.body)
    return True
