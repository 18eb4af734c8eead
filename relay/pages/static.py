"""Files that do not change while a worker runs: read and compressed once, and identified by their hash (ETag)."""

import gzip
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from relay.http.responses import COMMON_HEADERS

_GZIP = re.compile(r"gzip(?:;(?!q=0(?:\.0*)?$).*)?")


class StaticFile:
    """An endpoint for one file; it supports ETag and If-None-Match (RFC 9110)."""

    def __init__(self, content: bytes, media_type: str, headers: Mapping[str, str]) -> None:
        self._content = content
        self._compressed = _compress(content)
        self._tag = hashlib.sha256(content).hexdigest()[:16]
        self._media_type = media_type
        self._headers = {**COMMON_HEADERS, **headers, "Vary": "Accept-Encoding"}

    async def get(self, request: Request) -> Response:
        """Answer with the file, or with 304 if the client has this version."""
        compressed = _accepts_gzip(request.headers.get("accept-encoding", ""))
        headers = {**self._headers, "ETag": f'"{self._tag}{"-gzip" if compressed else ""}"'}
        if _matches(request.headers.get("if-none-match", ""), self._tag):
            return Response(status_code=304, headers=headers)
        if compressed:
            headers["Content-Encoding"] = "gzip"
        return Response(self._compressed if compressed else self._content, 200, headers, self._media_type)


@cache
def _compress(content: bytes) -> bytes:
    """Compress a file, once for all applications of a process: it takes a twentieth of a second."""
    return gzip.compress(content, mtime=0)


def read(name: str) -> str:
    """Return the text of a file of this package."""
    return files("relay.pages").joinpath(name).read_text("utf-8")


def _accepts_gzip(accepted: str) -> bool:
    offers = [offer.strip().replace(" ", "").lower() for offer in accepted.split(",")]
    return any(_GZIP.fullmatch(offer) for offer in offers)


def _matches(tags: str, tag: str) -> bool:
    known = {name.strip().removeprefix("W/") for name in tags.split(",")}
    return bool(known & {"*", f'"{tag}"', f'"{tag}-gzip"'})
