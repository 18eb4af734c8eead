"""`relay.js`: one file made of the modules in `client/`, as a script and as a module.

The modules are written so that they can be put after one another: every `import` is on one line and from beside, every
`export` stands before what it exports, and no two of them have a name in common.
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
    "ids", "errors", "backoff", "outbox", "place", "seat", "link", "room",
    "channels", "mesh", "rtcmulticonnection", "relay",
)  # fmt: skip
"""In the order in which they need each other."""

PUBLIC: Final = ("Relay", "Room", "Mesh", "RelayError", "RelayEvent")

_IMPORT = re.compile(r"^import \{[^}]*\} from '\./[a-z]+\.js';\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=class |const |function |async function )", re.MULTILINE)

_HEADERS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cache-Control": "public, max-age=600",
}


def as_script() -> str:
    """What `<script src="/relay.js">` runs: it makes `Relay` known to the page, and nothing else."""
    return f"{_BANNER}(() => {{\n'use strict';\n{_body()}\nglobalThis.Relay = Relay;\n}})();\n"


def as_module() -> str:
    """What `import { Relay } from "/relay.mjs"` runs."""
    return f"{_BANNER}{_body()}\nexport {{ {', '.join(PUBLIC)} }};\nexport default Relay;\n"


@cache
def compressed_size() -> int:
    """How many KB (of 1000 bytes, rounded up) the script is on its way."""
    return ceil(len(gzip.compress(as_script().encode(), mtime=0)) / 1000)


def script_routes() -> Sequence[BaseRoute]:
    """The script, the module, and their types, for pages of any origin."""
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
