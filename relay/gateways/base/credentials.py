"""Reads a client's token where its protocol carries it.

Each gateway declares the places of its protocols (`TokenFields` in `relay.gateways.base.gateway`), and no gateway reads
a token in another way. A request may have tokens in several places. The first of these counts, and no other is looked
at: the protocol's own field, the header `Authorization: Bearer TOKEN`, a subprotocol `token.TOKEN`, the query.

Three secrets of different kinds may come together. A resume key has names of its own: `Authorization: Resume KEY`, or
the subprotocol `resume.KEY`. A password has the header `Relay-Password`, or the subprotocol `password.BASE64URL`. The
admin token comes where other tokens come, and `Worker.identify` tells it from them.

With auth off, no token is read. So a client whose token is wrong, too long or expired is served like any other.
"""

from collections.abc import Iterator
from typing import Final

from starlette.types import Scope

from relay.gateways.base.gateway import TokenFields
from relay.http_request import bearer, header, read_query
from relay.model.base64_text import read_base64
from relay.model.errors import Refused
from relay.model.rules import MAX_PASSWORD
from relay.rooms.worker import Worker

TOKEN_SUBPROTOCOL: Final = "token."  # noqa: S105 - a name
"""First part of a subprotocol with a token: a page cannot set headers of a WebSocket, but can offer subprotocols."""

PASSWORD_SUBPROTOCOL: Final = "password."  # noqa: S105 - a name
"""First part of a subprotocol with the password of a room, as UTF-8 in URL-safe Base64 without padding."""

_PASSWORD_HEADER: Final = b"relay-password"


def read_token(scope: Scope, fields: TokenFields, body: str = "") -> str:
    """Return the token of a request, "" for none; `body` is the one in the protocol's own field, "" for none."""
    worker: Worker = scope["state"]["worker"]
    if worker.authority.is_off:
        return ""
    return body or _in_header(scope, fields) or _in_subprotocol(scope, fields) or _in_query(scope, fields, worker)


def offered_token(scope: Scope) -> str | None:
    """Return the token of a subprotocol `token.TOKEN`; None if none is offered."""
    return next(_offered(scope, TOKEN_SUBPROTOCOL), None)


def read_password(scope: Scope) -> str:
    """Return the password that a WebSocket handshake offers for its room, "" for none.

    It is in the header `Relay-Password`, as UTF-8, or in a subprotocol. Raises `Refused` (`bad_password`) for one that
    cannot be read, or is too long.
    """
    text = header(scope, _PASSWORD_HEADER)
    if text is None:
        return _password_in(next(_offered(scope, PASSWORD_SUBPROTOCOL), ""))
    return _checked_password(text.encode("latin-1"))


def _password_in(encoded: str) -> str:
    try:
        return _checked_password(read_base64(encoded.encode("ascii"))) if encoded else ""
    except ValueError:
        raise Refused("bad_password", "the subprotocol password.… has the password in URL-safe Base64") from None


def _checked_password(data: bytes) -> str:
    try:
        password = data.decode()
    except UnicodeDecodeError:
        raise Refused("bad_password", "a password is UTF-8") from None
    if len(password) > MAX_PASSWORD:
        raise Refused("bad_password", f"a password has at most {MAX_PASSWORD} characters")
    return password


def _in_header(scope: Scope, fields: TokenFields) -> str:
    return bearer(header(scope, b"authorization") or "") if fields.bearer else ""


def _in_subprotocol(scope: Scope, fields: TokenFields) -> str:
    return (offered_token(scope) or "") if fields.subprotocol else ""


def _offered(scope: Scope, first: str) -> Iterator[str]:
    return (name.removeprefix(first) for name in scope.get("subprotocols", ()) if name.startswith(first))


def _in_query(scope: Scope, fields: TokenFields, worker: Worker) -> str:
    if not fields.query or not worker.authority.url_tokens or not scope["query_string"]:
        return ""
    # The last one of a name counts, as for the other parameters of gateways.
    return dict(read_query(scope)).get(fields.query, "")
