"""Authorization: for now, whether a request has the admin token."""

import hmac


def bearer_matches(authorization: str, token: str) -> bool:
    """Return whether an `Authorization` header has the bearer token `token`; never, if `token` is ""."""
    scheme, _, credentials = authorization.partition(" ")
    same = secrets_match(credentials.strip(), token)
    return bool(token) and scheme.lower() == "bearer" and same


def secrets_match(offered: str, secret: str) -> bool:
    """Return whether a client offers this secret; takes the same time for every wrong one.

    So the time does not reveal how many characters are right.
    """
    return hmac.compare_digest(offered.encode(), secret.encode())
