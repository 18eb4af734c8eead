"""Requests to the operator's server. Only a worker with a webhook imports this module: its library takes memory."""

import asyncio
from collections.abc import Sequence
from typing import Final

import httpx2 as httpx

from relay.limits import Clock
from relay.outbound import failure_of, open_client
from relay.webhooks.body import CONTENT_TYPE
from relay.webhooks.posted import Posted
from relay.webhooks.signature import SIGNATURE_HEADER, sign

_MAX_ANSWER: Final = 4096
"""Bytes of an answer that are read, so that its connection can be used again; the relay does not look at them."""


class WebhookReceiver:
    """Posts to one URL, over a connection that stays open. The URL may lead anywhere, also into private networks.

    Redirects are not followed. A request, with its answer, takes at most `timeout` seconds. `wall_clock` is the Unix
    time.
    """

    def __init__(self, url: str, secrets: Sequence[str], *, timeout: float, wall_clock: Clock) -> None:
        self._url = url
        self._secrets = secrets
        self._timeout = timeout
        self._clock = wall_clock
        self._client: httpx.AsyncClient = open_client(url, timeout, {"Content-Type": CONTENT_TYPE})

    async def post(self, body: bytes) -> Posted:
        """Send a body, signed anew; any status from 200 to 299 means that it was accepted."""
        signature = sign(self._secrets, int(self._clock()), body)
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._client.stream("POST", self._url, content=body, headers={SIGNATURE_HEADER: signature}) as answer,
            ):
                await _read(answer)
        except (TimeoutError, httpx.TimeoutException):
            return Posted("timeout", f"it did not answer within {self._timeout:g} s")
        except (httpx.HTTPError, OSError) as error:
            return Posted("unreachable", failure_of(error))
        if answer.is_success:
            return Posted("accepted")
        hint = ", and the relay follows no redirects" if answer.has_redirect_location else ""
        return Posted("refused", f"it answered with status {answer.status_code}{hint}")

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()


async def _read(answer: httpx.Response) -> None:
    """Read a short answer to its end; a longer one is given up, and its connection with it."""
    size = 0
    async for chunk in answer.aiter_raw():
        size += len(chunk)
        if size > _MAX_ANSWER:
            return
