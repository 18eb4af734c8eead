"""Who may do what; for now: whether a request carries the admin token."""

import hashlib
import hmac
import secrets


def bearer_matches(authorization: str, token: str) -> bool:
    """Whether an `Authorization` header carries `token` as a bearer; takes the same time however wrong it is."""
    scheme, _, given = authorization.partition(" ")
    same = hmac.compare_digest(given.strip().encode(), token.encode())
    return bool(token) and scheme.lower() == "bearer" and same


def new_resume_key() -> str:
    """A key with which a client proves that it is the one that was here before: 128 random bits."""
    return secrets.token_urlsafe(16)


def fingerprint(resume_key: str) -> str:
    """What is kept of a resume key: its SHA-256, in hex; "" of ""."""
    return hashlib.sha256(resume_key.encode()).hexdigest() if resume_key else ""


def new_peer_id() -> str:
    """A peer id for a client that wants none: 96 random bits."""
    return secrets.token_hex(12)
