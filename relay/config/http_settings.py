"""The settings of the relay's own HTTP interface; `Settings` has them as well."""

from typing import Annotated, Final, Literal

from msgspec import Struct

from relay.config.declaring import count, setting

MIN_TOKEN: Final = 16
"""Characters of an admin token: with fewer, it can be guessed."""


class HttpSettings(Struct, frozen=True, kw_only=True):
    """Access over HTTP, and its rates."""

    admin_token: Annotated[
        str,
        setting(
            "Bearer token for the list of rooms, the names of members, publishing over HTTP, control of rooms (rules, "
            "kicks) and observing rooms",
            secret=True,
            pattern=rf"^$|^[!-~]{{{MIN_TOKEN},500}}$",
            allowed=f"empty, or {MIN_TOKEN} to 500 printable ASCII characters without spaces, such as the output of "
            "openssl rand -hex 32",
        ),
    ] = ""
    token_attempts: Annotated[
        int,
        count(
            "Wrong tokens a minute from one address to one worker, admin tokens and those of clients each; the same "
            "one again does not count",
            le=100_000,
            consequence="HTTP 429 too_many_attempts, also for the right admin token; clients with wrong tokens "
            "of their own wait a second each time",
        ),
    ] = 10
    public_metrics: Annotated[
        Literal["on", "off"],
        setting(
            "Whether everybody may read /metrics on the public port; if not, it is for programs on the same machine, "
            "for requests with the admin token and for the admin port"
        ),
    ] = "off"
    http_rate: Annotated[
        int,
        count(
            "HTTP requests a second from one address to one worker, on average; half as many at once. Polls that "
            "wait, and posts of a session, do not count; /health and preflight requests have as much again, and are "
            "not refused",
            consequence="the answer comes up to 2 seconds later; beyond that, HTTP 429 too_many_requests",
        ),
    ] = 500
