"""Reading requests; each function raises `Refused` for a request that is wrong."""

from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

from relay import http_request
from relay.identity.grants import ADMIN, Grants, Right
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


async def grants_of(request: Request) -> Grants | None:
    """Return the grants of the sender of a request, by its header `Authorization: Bearer TOKEN`.

    The admin token grants everything (`ADMIN`), also if auth is off; otherwise there are no grants then, and the
    result is None. If auth is on, the errors are those of `Worker.identify`: `token_required`, for instance, if
    every request needs a token. If it is off, a wrong admin token is `unauthorized`, or `too_many_attempts`.
    """
    worker, address = worker_of(request.scope), http_request.counted_client(request.scope)
    authorization = request.headers.get("authorization")
    if worker.authority.is_off:
        return ADMIN if worker.admin_token.check(address, authorization) else None
    return await worker.identify(http_request.bearer(authorization or ""), address)


def has_admin_token(request: Request) -> bool:
    """Return whether the request has the admin token, as health and metrics ask; raises as `AdminToken.check`.

    Clients' tokens are not looked at: that may take a second, or a request to the issuer, and health must be told now.
    """
    token = worker_of(request.scope).admin_token
    return token.check(http_request.counted_client(request.scope), request.headers.get("authorization"))


async def require_token(request: Request, feature: str) -> Grants:
    """Return the grants of a request that has a token: the admin token, or if auth is on that of a client.

    A request needs a token even if clients need none: strangers may only act over connections, which are limited.
    Raises `Refused`: `forbidden` if there can be no token, `unauthorized` or `token_required` for a request without
    one, and the errors of `grants_of`.
    """
    grants, worker = await grants_of(request), worker_of(request.scope)
    if grants is not None and not grants.anonymous:
        return grants
    if not worker.authority.is_off:
        raise Refused("token_required")
    if worker.admin_token.is_set:
        raise Refused("unauthorized")
    raise Refused("forbidden", f"{feature} is off; the setting admin-token (RELAY_ADMIN_TOKEN) turns it on")


async def require_admin(request: Request, feature: str) -> None:
    """Raise `Refused` for a request without the admin token, or a token with the claim `admin`.

    The code is `not_granted` for the token of a client; the others are those of `require_token`.
    """
    if not (await require_token(request, feature)).admin:
        raise Refused("not_granted", f"the token does not grant {feature} (claim admin)")


async def require_right(request: Request, right: Right, room: str, feature: str) -> Grants:
    """Return the grants of a request whose sender has this right in a room; raise `Refused` for any other.

    The code is `not_granted` for a token without it; the others are those of `require_token`.
    """
    grants = await require_token(request, feature)
    grants.require(right, room)
    return grants
