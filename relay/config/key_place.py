"""Places of key sets: files, and URLs that nobody between can change."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from relay.model.errors import NotAllowed


def is_url(text: str) -> bool:
    """Return whether the setting names a URL, and not a file."""
    return "://" in text


def check_place(text: str) -> str:
    """Return the place of a key set if it is allowed: a file, an https:// URL, or an http:// URL of this machine.

    Raises `NotAllowed`.
    """
    if not is_url(text):
        return text
    try:
        url = urlsplit(text)
        host, _ = url.hostname or "", url.port
    except ValueError:
        raise NotAllowed("it is not a URL") from None
    if url.scheme not in ("https", "http") or not host:
        raise NotAllowed("a URL begins with https:// and a host")
    if url.username or url.password:
        raise NotAllowed("a URL has no user or password here; key sets are public")
    if url.scheme == "http" and not _is_this_machine(host):
        raise NotAllowed("http:// is for this machine alone, as anybody between could change the keys; use https://")
    return text


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
