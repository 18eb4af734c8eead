"""Authorization: for now, whether a request has the admin token."""

import hmac


def bearer_matches(authorization: str, token: str) -> bool:
    """Return whether an `Authorization` header has the bearer token `token`; never, if `token` is ""."""
    scheme, _, credentials = authorization.partition(" ")
    # Takes the same time for every wrong token: the time must not reveal how many characters are right.
    same = hmac.compare_digest(credentials.strip().encode(), token.encode())
    return bool(token) and scheme.lower() == "bearer" and same
