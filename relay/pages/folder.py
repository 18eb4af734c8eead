"""The folder of the setting `static`: its files are served where the relay itself serves nothing.

This module checks the path of a request. Then Starlette's `StaticFiles` finds the file, and follows symbolic links
within the folder only. `relay.pages.transfer` sends it.
"""

import os
import re
import stat
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from mimetypes import MimeTypes
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from anyio import CapacityLimiter, to_thread
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from relay.http.responses import COMMON_HEADERS
from relay.model.names import percent_decoded
from relay.pages.transfer import READ_FLAGS, FileTransfer
from relay.paths import PathPrefixes, raw_path

_INDEX: Final = "index.html"

MOST_OPEN: Final = 8
"""Files of the folder that a worker has open at the same time, each for one read; further reads wait."""

LONGEST_PATH: Final = 2048
_MOST_SEGMENTS: Final = 32
_SEGMENT: Final = re.compile(r"[^./\\\x00-\x1f\x7f\ufffd][^/\\\x00-\x1f\x7f\ufffd]*")
"""A segment that may name a file: hidden files begin with a dot, as do the names of this folder and the one above."""

_HEADERS: Final = {**COMMON_HEADERS, "Cache-Control": "no-cache"}
"""Browsers keep a file, and ask each time whether it has changed."""

_UNKNOWN: Final = "application/octet-stream"
_COMPRESSED: Final = {"gzip": "application/gzip"}
_WEB_TYPES: Final = {
    ".avif": "image/avif",
    ".js": "text/javascript",
    ".map": "application/json",
    ".mjs": "text/javascript",
    ".otf": "font/otf",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
"""Types of browsers that a supported version of Python does not know, or knows by an old name."""

_IN_QUERY: Final = "!$%&'()*+,-./:;=?@_~"
"""Characters that a query may have as they are (RFC 3986)."""

Endpoint = Callable[[Request], Awaitable[Response]]


class _Found(NamedTuple):
    """A file that can be read; with `below`, it is the index of a folder that the path names without a slash."""

    path: str
    status: os.stat_result
    below: bool = False


class StaticFolder:
    """Serves the files of a folder to GET and HEAD, and lists no folder.

    A path is the relay's own, and names no file, if its first segment is one of `reserved`, or if it begins with one of
    `prefixes`. No file is open while a client is waited for. Files that are hidden, or that the process may not read,
    are not there, and neither is the target of a symbolic link that leads out of the folder.
    """

    def __init__(self, directory: str, *, reserved: Collection[str], prefixes: Sequence[str]) -> None:
        self._files = StaticFiles(directory=directory, check_dir=False)
        self._reserved = frozenset(reserved)
        self._prefixes = PathPrefixes(prefixes)
        self._limiter = CapacityLimiter(MOST_OPEN)

    def ahead_of(self, otherwise: ASGIApp) -> ASGIApp:
        """Return an application that serves requests for files, and leaves all others to `otherwise`."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            response = await self.find(scope) if scope["type"] == "http" else None
            await (response or otherwise)(scope, receive, send)

        return serve

    def front(self, otherwise: Endpoint) -> Endpoint:
        """Return an endpoint for `/`: the folder's index, or `otherwise` in a folder without one."""

        async def serve(request: Request) -> Response:
            return await self.find(request.scope) or await otherwise(request)

        return serve

    async def find(self, scope: Scope) -> Response | None:
        """Return the response to a request for a file; None for any other request."""
        path = file_path(raw_path(scope)) if scope["method"] in ("GET", "HEAD") else None
        if path is None or path.partition("/")[0] in self._reserved or self._prefixes.match(scope):
            return None
        found = await to_thread.run_sync(self._look_up, path, limiter=self._limiter)
        if found is None:
            return None
        if found.below:
            return Response(status_code=307, headers={**COMMON_HEADERS, "Location": _with_slash(path, scope)})
        response = FileTransfer(found.path, found.status, self._limiter, _HEADERS, content_type(found.path))
        if self._files.is_not_modified(response.headers, Headers(scope=scope)):
            return NotModifiedResponse(response.headers)
        return response

    def _look_up(self, path: str) -> _Found | None:
        if not path or path.endswith("/"):
            return self._readable(path + _INDEX)
        found = self._readable(path)
        if found is not None:
            return found
        index = self._readable(f"{path}/{_INDEX}")
        return index and index._replace(below=True)

    def _readable(self, path: str) -> _Found | None:
        try:
            full_path, status = self._files.lookup_path(path)
            if status is None or not stat.S_ISREG(status.st_mode):
                return None
            os.close(os.open(full_path, READ_FLAGS))
        except (OSError, ValueError):
            # A ValueError is a name that the encoding of the file system does not have.
            return None
        return _Found(full_path, status)


def file_path(raw: str) -> str | None:
    """Return the path below the folder that a percent-encoded path names, with a slash at its end for a folder.

    None for a path that names nothing there: each segment is decoded by itself, and none may be empty, begin with a
    dot, or have a slash, a backslash or a control character. The path "/" is the folder itself, "".
    """
    if not raw.startswith("/") or len(raw) > LONGEST_PATH or raw.count("/") > _MOST_SEGMENTS:
        return None
    *folders, last = map(percent_decoded, raw[1:].split("/"))
    if not all(_SEGMENT.fullmatch(name) for name in (folders if last == "" else [*folders, last])):
        return None
    return "/".join([*folders, last])


def content_type(path: str) -> str:
    """Return the media type of a file by its name: the same on every machine."""
    found, compression = _TYPES.guess_type(path)
    if compression is not None:
        return _COMPRESSED.get(compression, _UNKNOWN)
    return found or _UNKNOWN


def check_folder(directory: str) -> list[str]:
    """Return the problems of the setting `static`, in words for the operator; there are none if it is empty."""
    if not directory:
        return []
    path = Path(directory).absolute()
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        return [
            f"static: the folder {str(path)!r} cannot be used: {error.strerror}; make it, or name another one "
            "(--static or RELAY_STATIC)"
        ]
    if not is_folder:
        return [f"static: {str(path)!r} is a file; name the folder that it is in"]
    if not os.access(path, os.R_OK | os.X_OK):
        return [
            f"static: the folder {str(path)!r} cannot be read; the user of the relay (id {os.geteuid()}) needs the "
            "right to read (r) and to enter (x) it"
        ]
    return []


def hidden_entries(directory: str, reserved: Iterable[str]) -> list[str]:
    """Return the names in a folder that are the relay's own as the first segment of a path: they are not served."""
    return [name for name in sorted(reserved) if os.path.lexists(Path(directory, name))]


def _with_slash(path: str, scope: Scope) -> str:
    """Return the address of a folder, relative to the one without a slash: no part of a request names a host."""
    query = scope["query_string"].decode("latin-1")
    last = quote(path.rpartition("/")[2])
    return f"./{last}/" + (f"?{quote(query, safe=_IN_QUERY)}" if query else "")


def _types() -> MimeTypes:
    types = MimeTypes()
    for ending, kind in _WEB_TYPES.items():
        types.add_type(kind, ending)
    return types


_TYPES: Final = _types()
