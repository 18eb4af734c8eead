"""Reading requests; each function raises `Refused` for a request that is wrong."""

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
    """The worker that the application's lifespan opened."""
    worker: Worker = scope["state"]["worker"]
    return worker


def read_query(request: Request, *names: str) -> dict[str, str]:
    """Return those query parameters of `names` that are present; all other parameters are ignored.

    Raises `bad_query` if the query is too long, is not UTF-8, or repeats one of them.
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
    """Return the query parameter `name`, which is one of `choices`; the first choice is the default."""
    value = read_query(request, name).get(name, choices[0])
    if value not in choices:
        raise Refused("bad_query", f"{name} is {' or '.join(choices)}")
    return value


async def read_json(request: Request, limit: int) -> bytes:
    """Return a body of type `application/json` and at most `limit` bytes, without parsing it.

    Raises `bad_content_type`, or `too_large` as soon as more than `limit` bytes have arrived.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused("bad_content_type")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise Refused("too_large", f"a message has at most {limit} bytes")
    return bytes(body)


def has_token(request: Request, settings: Settings) -> bool:
    """Whether the request has the admin token; raises `unauthorized` if it has a different bearer token.

    False if no admin token is set. Credentials of other schemes are ignored: a proxy may need them.
    """
    authorization = request.headers.get("authorization", "")
    if not settings.admin_token or authorization[:7].lower() != "bearer ":
        return False
    if not bearer_matches(authorization, settings.admin_token):
        raise Refused("unauthorized")
    return True


def require_token(request: Request, settings: Settings, feature: str) -> None:
    """Raise `unauthorized` for a request without the admin token, and `forbidden` if no admin token is set."""
    if not settings.admin_token:
        raise Refused("forbidden", f"{feature} is off; the setting admin-token (RELAY_ADMIN_TOKEN) turns it on")
    if not has_token(request, settings):
        raise Refused("unauthorized")
