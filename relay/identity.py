"""Authorization: for now, whether a request has the admin token."""

import hmac

from relay.model.errors import Refused


def has_admin_token(admin_token: str, authorization: str | None, *, otherwise: str | None = None) -> bool:
    """Return whether a request has the admin token; raise `Refused` (`unauthorized`) if it has another one.

    The token comes in the header `Authorization: Bearer TOKEN`; `otherwise` is one that the request has in another
    part, and counts without such a header. Credentials of other schemes are ignored, because a proxy may need them.
    False if no admin token is set.
    """
    scheme, space, credentials = (authorization or "").partition(" ")
    offered = credentials.strip() if space and scheme.lower() == "bearer" else otherwise
    if not admin_token or offered is None:
        return False
    # In the same time for every wrong token: it does not reveal how many characters are right.
    if not hmac.compare_digest(offered.encode(), admin_token.encode()):
        raise Refused("unauthorized", "this is not the admin token")
    return True
