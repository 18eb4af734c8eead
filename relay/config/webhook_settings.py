"""The settings of the webhook; `Settings` has them as well."""

from typing import Annotated, Final
from urllib.parse import urlsplit

from relay.config.declaring import count, seconds, setting
from relay.config.redis_url import REDACTED
from relay.config.rule_settings import RuleSettings
from relay.model.errors import NotAllowed

MIN_WEBHOOK_SECRET: Final = 32
"""Characters of a secret: with one signed request, an attacker can try all short secrets offline."""

_MAX_URL: Final = 2048


def check_webhook_url(text: str) -> None:
    """Raise `NotAllowed` unless a text is empty, or the URL of a server of HTTP."""
    if text and (problem := _problem(text)):
        raise NotAllowed(f"{REDACTED} is not allowed: {problem}")


def _problem(text: str) -> str:
    """Say why a text is no such URL, without the text: it may have a password."""
    if len(text) > _MAX_URL or not (text.isascii() and text.isprintable() and " " not in text):
        return f"a URL has up to {_MAX_URL} printable ASCII characters, without spaces"
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError:
        return "the host or the port is not valid"
    if url.scheme not in {"http", "https"}:
        return "it must begin with http:// or https://"
    if not host:
        return "it has no host"
    return "a fragment (#) is sent to no server; leave it out" if "#" in text else ""


class WebhookSettings(RuleSettings, frozen=True, kw_only=True):
    """The receiver of the webhook, the secret, and the bounds of the queue."""

    webhook_url: Annotated[
        str,
        setting(
            "URL to which the relay posts events: rooms that open and close, members that join and leave; empty for "
            "none. All workers need the same one",
            secret=True,
            allowed="empty, or a URL such as https://app.example.com/relay-events; redirects are not followed",
            check=check_webhook_url,
        ),
    ] = ""
    webhook_secret: Annotated[
        str,
        setting(
            "Secret with which the relay signs its posts to webhook-url, such as the output of openssl rand -hex "
            "32. A second one may follow while receivers change to the first",
            secret=True,
            pattern=rf"^$|^[!-~]{{{MIN_WEBHOOK_SECRET},500}}( [!-~]{{{MIN_WEBHOOK_SECRET},500}})?$",
            allowed=f"empty, or up to 2 secrets with one space between, each of {MIN_WEBHOOK_SECRET} to 500 printable "
            "ASCII characters",
        ),
    ] = ""
    webhook_queue: Annotated[
        int,
        count(
            "Events of the whole fleet that wait for the receiver of the webhook, and most kilobytes of them",
            ge=100,
            le=1_000_000,
            consequence="the relay drops the oldest events, and tells the receiver their number (events_dropped)",
        ),
    ] = 20_000
    webhook_batch: Annotated[
        int, count("Events that the relay posts to webhook-url at once", le=1000, consequence="the others come next")
    ] = 100
    webhook_timeout: Annotated[
        float,
        seconds(
            "Time in which the receiver of the webhook must answer",
            ge=0.1,
            le=60,
            consequence="the relay sends the events again",
        ),
    ] = 10.0
