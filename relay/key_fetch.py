"""Fetches key sets over HTTP: within bounds of time and size, and without following redirects."""

import asyncio
from typing import Any, Final

from relay.outbound import failure_of, open_client

TIMEOUT: Final = 5.0
"""Seconds within which the whole answer must arrive."""

_HEADERS: Final = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}


class FetchError(Exception):
    """A key set could not be fetched; the text says why, and has no part of the answer."""


class Fetcher:
    """Fetches one URL. Making one loads the HTTP library, so a worker without a key set has none."""

    def __init__(self, url: str, limit: int) -> None:
        import httpx2

        self._http = httpx2
        self._url = url
        self._limit = limit

    async def fetch(self) -> bytes:
        """Return the body of the answer; raises `FetchError`."""
        try:
            async with asyncio.timeout(TIMEOUT):
                # In a thread, as it reads the certificates of all authorities.
                client = await asyncio.to_thread(open_client, self._url, TIMEOUT, _HEADERS)
                async with client, client.stream("GET", self._url) as answer:
                    return await self._read(answer)
        except (TimeoutError, self._http.TimeoutException):
            raise FetchError(f"no whole answer within {TIMEOUT:g} s") from None
        except (self._http.HTTPError, self._http.InvalidURL, self._http.StreamError, OSError) as error:
            raise FetchError(failure_of(error)) from None

    async def _read(self, answer: Any) -> bytes:
        if answer.status_code != 200:
            redirects = "; redirects are not followed" if 300 <= answer.status_code < 400 else ""
            raise FetchError(f"the answer has status {answer.status_code}{redirects}")
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise FetchError("the answer is compressed, which was not asked for")
        body = bytearray()
        async for piece in answer.aiter_raw():
            body += piece
            if len(body) > self._limit:
                raise FetchError(f"the answer has more than {self._limit} bytes")
        return bytes(body)
