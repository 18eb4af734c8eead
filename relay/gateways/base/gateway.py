"""The declaration of a gateway: the facts about its protocol that other parts of the relay use.

A declaration imports no server, so that commands such as `relay health`, which read settings alone, start fast. The
routes of a gateway are in its module `routes`, which `relay.gateways.composition` imports.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files

from msgspec import Struct

from relay.config import Extension, OldName
from relay.model.errors import ErrorTable


@dataclass(frozen=True, slots=True)
class Stickiness:
    """How a load balancer keeps the requests of one session on the worker that has it.

    The worker names the session in the header `response_header` of its responses. Requests name it in the query
    parameter `query`, or after one of the `paths`.
    """

    response_header: str
    query: str = ""
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFields:
    """Where the clients of one protocol carry their token; `relay.gateways.base.credentials` reads it.

    `bearer`: in the header `Authorization: Bearer TOKEN`. `subprotocol`: as one of the WebSocket's subprotocols,
    `token.TOKEN`. `query`: in this parameter of the URL, which is looked at only if the setting `url-tokens` allows
    it. `body`: in this field of a packet of the protocol itself, which its own gateway reads; the text is for people.
    """

    bearer: bool = False
    subprotocol: bool = False
    query: str = ""
    body: str = ""


Mint = Callable[[str, str, str, int], Mapping[str, str]]
"""Makes a login for one room from a secret, the texts of the room and the user, and the Unix time of its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """One gateway. `name` is its package, and its value in the setting `gateways`.

    `title` is its heading in help and documentation, `protocols` are its values of the label `protocol` in metrics. It
    alone serves the HTTP requests below the paths `prefixes`, and writes their CORS headers; `{NAME}` stands for any
    one segment, as in `/rooms/{room}/NAME`. With `credentials`, pages may send these requests with credentials: only
    for a protocol whose requests prove their session by an id or token in the URL, the headers or the body, and for
    which cookies mean nothing. `paths` are those of its other HTTP resources, which have the rates and the CORS
    headers of the relay's own. `websockets` are the paths of its plain WebSockets, for which clients need no library.
    `tokens` tells for each protocol where its clients carry their token. `settings` declares its own settings,
    `old_names` their names in earlier versions. `errors` are the error codes that no other gateway uses. `mint` makes
    the logins of clients that cannot carry a token; the command `relay token --NAME` prints them.
    """

    name: str
    title: str
    protocols: tuple[str, ...]
    prefixes: tuple[str, ...] = ()
    credentials: bool = False
    paths: tuple[str, ...] = ()
    websockets: tuple[str, ...] = ()
    tokens: Mapping[str, TokenFields] = field(default_factory=dict)
    settings: type[Struct] | None = None
    old_names: tuple[OldName, ...] = ()
    errors: ErrorTable = field(default_factory=dict)
    stickiness: Stickiness | None = None
    mint: Mint | None = None

    @property
    def snippets(self) -> str:
        """Panels in HTML for the page at `/`: the file `snippets.html` of the gateway's package, "" if it has none."""
        file = files(f"relay.gateways.{self.name}").joinpath("snippets.html")
        return file.read_text("utf-8") if file.is_file() else ""

    @property
    def extension(self) -> Extension | None:
        """The gateway's settings, as `relay.config.load` takes them; None if it has none."""
        return Extension(self.settings, self.old_names) if self.settings else None
