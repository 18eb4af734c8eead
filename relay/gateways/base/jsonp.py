"""JSONP: a page of any origin loads a response as a script, which calls a function of the page."""

import re
from typing import Final

from starlette.types import Scope

from relay.model.errors import Refused
from relay.rooms.worker import Worker

SCRIPT: Final = b"text/javascript; charset=UTF-8"

_CALLBACK: Final = re.compile(r"[A-Za-z0-9_.]{1,64}", re.ASCII)

_LINE_ENDS: Final = {b"\xe2\x80\xa8": b"\\u2028", b"\xe2\x80\xa9": b"\\u2029"}
"""Characters that JSON may have in strings, and scripts of older browsers may not."""


def for_script(content: bytes) -> bytes:
    """Return JSON text as a part of a script."""
    for found, written in _LINE_ENDS.items():
        content = content.replace(found, written)
    return content


def check_callback(scope: Scope, callback: str) -> str:
    """Return the name of the function that the response to a JSONP request calls, if the client may have one.

    Raises `Refused`: `jsonp_forbidden` where `allowed-origins` is restricted, because a browser sends no `Origin` with
    the request of a script and its page would then read the response in spite of the restriction; `bad_callback` for a
    name that is not 1 to 64 letters, digits, underscores and dots, because it becomes part of the script.
    """
    worker: Worker = scope["state"]["worker"]
    if not worker.origins.all:
        raise Refused("jsonp_forbidden")
    if not _CALLBACK.fullmatch(callback):
        raise Refused("bad_callback")
    return callback
