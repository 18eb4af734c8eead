"""`relay.js`: one file made of the modules in `client/`, as a script and as a module.

There is no build step: the modules are joined in the order of `MODULES`. This works because each `import` is on one
line and names a file in the same folder, each `export` is in front of a definition, and no two modules define the
same name.
"""

import gzip
import re
from collections.abc import Sequence
from functools import cache
from math import ceil
from typing import Final

from starlette.routing import BaseRoute, Route

from relay import __version__
from relay.pages.static import StaticFile, read

MODULES: Final = (
    "ids", "names", "frames", "errors", "backoff", "token", "keys", "outbox", "info", "position", "membership",
    "httpsocket", "transports", "connection", "room", "channels", "mesh", "rtcmulticonnection", "relay",
)  # fmt: skip
"""In the order of their imports: each module is after those that it imports."""

PUBLIC: Final = ("Relay", "Room", "Mesh", "RelayError", "RelayEvent")

_IMPORT = re.compile(r"^import \{[^}]*\} from '\./[a-z]+\.js';\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=class |const |function |async function )", re.MULTILINE)

_HEADERS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cache-Control": "public, max-age=600",
}


def as_script() -> str:
    """Return the plain script `/relay.js`: it defines `Relay`, and no other global name."""
    return f"{_BANNER}(() => {{\n'use strict';\n{_body()}\nglobalThis.Relay = Relay;\n}})();\n"


def as_module() -> str:
    """Return the module `/relay.mjs`, which exports the names of `PUBLIC`."""
    return f"{_BANNER}{_body()}\nexport {{ {', '.join(PUBLIC)} }};\nexport default Relay;\n"


@cache
def compressed_size() -> int:
    """Return the compressed size of the script in KB (1,000 bytes), rounded up."""
    return ceil(len(gzip.compress(as_script().encode(), mtime=0)) / 1000)


def script_routes() -> Sequence[BaseRoute]:
    """Make the routes of the script, the module and their types, for pages of any origin."""
    javascript = "text/javascript; charset=utf-8"
    return [
        Route("/relay.js", StaticFile(as_script().encode(), javascript, _HEADERS).get),
        Route("/relay.mjs", StaticFile(as_module().encode(), javascript, _HEADERS).get),
        Route("/relay.d.ts", StaticFile(read("relay.d.ts").encode(), "text/plain; charset=utf-8", _HEADERS).get),
    ]


_BANNER: Final = f"// relay.js {__version__}, MIT License. Types and documentation: relay.d.ts, beside it.\n"


def _body() -> str:
    parts = [_EXPORT.sub("", _IMPORT.sub("", read(f"client/{name}.js"))) for name in MODULES]
    return "\n".join(part.strip() + "\n" for part in parts)
