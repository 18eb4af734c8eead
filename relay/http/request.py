"""Reading requests: each function returns what it is asked for, or raises `Refused`."""

from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.types import Scope

from relay.config import Settings
from relay.identity import bearer_matches
from relay.model.errors import Refused
from relay.rooms.worker import Worker

MAX_QUERY = 4096
MAX_PARAMETERS = 32


def worker_of(scope: Scope) -> Worker:
    """Find the worker that the application's lifespan opened."""
    worker: Worker = scope["state"]["worker"]
    return worker


def read_query(request: Request, *names: str) -> dict[str, str]:
    """Return the query parameters called `names`, as far as they are there; others are ignored.

    `bad_query` for a query that is too long or no UTF-8, or has one of them more than once.
    """
    query: bytes = request.scope["query_string"]
    if len(query) > MAX_QUERY:
        raise Refused("bad_query", f"a query is at most {MAX_QUERY} bytes")
    try:
        pairs = parse_qsl(
            query.decode(), keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=MAX_PARAMETERS
        )
    except ValueError:
        raise Refused("bad_query", f"a query is UTF-8, with at most {MAX_PARAMETERS} parameters") from None
    known = [pair for pair in pairs if pair[0] in names]
    values = dict(known)
    if len(values) < len(known):
        raise Refused("bad_query", f"these may be given once only: {', '.join(names)}")
    return values


def read_choice(request: Request, name: str, *choices: str) -> str:
    """Return the query parameter `name`, one of `choices`; the first of them when it is not there."""
    value = read_query(request, name).get(name, choices[0])
    if value not in choices:
        raise Refused("bad_query", f"{name} is {' or '.join(choices)}")
    return value


async def read_json(request: Request, limit: int) -> bytes:
    """Return the body, sent as `application/json`, of at most `limit` bytes; whether it is JSON is not looked at.

    `bad_content_type`, or `too_large` as soon as that is known, however much is still to come.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused("bad_content_type")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise Refused("too_large", f"at most {limit} bytes are relayed")
    return bytes(body)


def has_token(request: Request, settings: Settings) -> bool:
    """Whether the request carries the admin token; `unauthorized` when it carries another one.

    Always False when none is set. Credentials of another scheme are none of ours, and are ignored.
    """
    authorization = request.headers.get("authorization", "")
    if not settings.admin_token or authorization[:7].lower() != "bearer ":
        return False
    if not bearer_matches(authorization, settings.admin_token):
        raise Refused("unauthorized")
    return True


def require_token(request: Request, settings: Settings, what: str) -> None:
    """Go on only with the admin token: `unauthorized` without it, `forbidden` when none is set."""
    if not settings.admin_token:
        raise Refused("forbidden", f"{what} is off; setting admin_token (RELAY_ADMIN_TOKEN) turns it on")
    if not has_token(request, settings):
        raise Refused("unauthorized")
