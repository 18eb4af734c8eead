"""Requests to servers that are no workers: the HTTP client for them, and why a request failed.

Only a worker that has a key set at a URL, or a webhook, calls these functions: they load a library that takes memory.
"""

import os
import socket
import ssl
from collections.abc import Mapping
from typing import Any

from relay import __version__


def open_client(url: str, timeout: float, headers: Mapping[str, str]) -> Any:
    """Return an `httpx2.AsyncClient` for requests to one URL, one at a time; it follows no redirects.

    The call reads the certificates of all authorities, which takes tens of milliseconds.
    """
    import httpx2

    return httpx2.AsyncClient(
        follow_redirects=False,
        # A proxy of the environment is for other networks; a server with http:// is mostly near.
        trust_env=url.startswith("https:"),
        timeout=timeout,
        limits=httpx2.Limits(max_connections=1, max_keepalive_connections=1),
        headers={"User-Agent": f"signal-relay/{__version__}", **headers},
    )


def failure_of(error: BaseException) -> str:
    """Return why a request has no answer, for the log: without any part of the URL or of the answer."""
    import httpx2

    if isinstance(error, httpx2.ConnectError):
        return f"it cannot be reached: {_cause(error)}"
    return f"the connection failed ({type(error).__name__})"


def _cause(error: BaseException) -> str:
    """Return why a connection was not made."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ssl.SSLCertVerificationError):
            return f"its certificate is not valid ({found.verify_message})"
        if isinstance(found, socket.gaierror):
            return "its name is not known"
        if isinstance(found, OSError) and found.errno:
            # Not the error's own text, which may have the address.
            return os.strerror(found.errno)
        found = found.__cause__ or found.__context__
    return type(error).__name__
