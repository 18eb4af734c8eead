"""Reading requests; each function raises `Refused` for a request that is wrong."""

from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

from relay import http_request
from relay.config import Settings
from relay.identity import has_admin_token
from relay.model.errors import Refused
from relay.rooms.worker import Worker


def worker_of(scope: Scope) -> Worker:
    """The worker that the application's lifespan opened."""
    worker: Worker = scope["state"]["worker"]
    return worker


def read_query(request: Request, *names: str) -> dict[str, str]:
    """Return those query parameters of `names` that are present; all other parameters are ignored.

    Raises `bad_query` if `http_request.read_query` does, or if the query repeats one of them.
    """
    pairs = http_request.read_query(request.scope)
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
    body = await http_request.read_body(request.receive, limit)
    if body is None:
        raise ClientDisconnect
    return body


def has_token(request: Request, settings: Settings) -> bool:
    """Return whether the request has the admin token; see `has_admin_token`."""
    return has_admin_token(settings.admin_token, request.headers.get("authorization"))


def require_token(request: Request, settings: Settings, feature: str) -> None:
    """Raise `unauthorized` for a request without the admin token, and `forbidden` if no admin token is set."""
    if not settings.admin_token:
        raise Refused("forbidden", f"{feature} is off; the setting admin-token (RELAY_ADMIN_TOKEN) turns it on")
    if not has_token(request, settings):
        raise Refused("unauthorized")
