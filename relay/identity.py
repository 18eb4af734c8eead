"""Who may do what; for now: whether a request carries the admin token."""

import hmac


def bearer_matches(authorization: str, token: str) -> bool:
    """Whether an `Authorization` header carries `token` as a bearer; takes the same time however wrong it is."""
    scheme, _, given = authorization.partition(" ")
    same = hmac.compare_digest(given.strip().encode(), token.encode())
    return bool(token) and scheme.lower() == "bearer" and same
