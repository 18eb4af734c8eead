"""`relay health`: asks a relay how it is, for people and for container engines."""

import http.client
import json
import ssl
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import click

from relay import logs
from relay.cli.options import GroupedCommand, settings_options
from relay.cli.settings import fail, load_settings
from relay.cli.text import reachable
from relay.config import Settings, declared

_NEEDED: Final = frozenset({"host", "port"})
_LARGEST: Final = 1_048_576


class HealthReply(NamedTuple):
    """What a relay says of itself: whether that is good, and in one line per worker how it is."""

    good: bool
    lines: list[str]


@click.command(cls=GroupedCommand)
@settings_options(one for one in declared() if one.name in _NEEDED)
@click.option("--url", default="", help="Where the relay is (http:// or https://), instead of on this machine's port.")
@click.option("--live", is_flag=True, help="Ask only whether it answers at all: an outage of Redis is none of that.")
@click.option("--timeout", default=2.0, show_default=True, help="Seconds for the answer.")
def health(url: str, live: bool, timeout: float, **flags: str | None) -> None:
    """Say whether a relay is ready for clients; the status is 0 if so, else 1.

    Without --url it asks the relay of this machine, found by the variables that `relay serve` reads.
    """
    if not url:
        settings, _ = load_settings(flags)
        url = _own_url(settings)
    try:
        answer = _read(*_ask(url, "/health/live" if live else "/health", timeout))
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = str(error) or type(error).__name__
        fail([f"no answer from {url}: {reason}; is a relay running there?"], status=1)
    if not answer.good:
        fail(answer.lines, status=1)
    click.echo("\n".join(map(logs.escape, answer.lines)))


def _own_url(settings: Settings) -> str:
    return f"http{'s' if settings.tls_cert else ''}://{reachable(settings.host)}:{settings.port}"


def _ask(url: str, path: str, timeout: float) -> tuple[int, bytes]:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("it begins with http:// or https://")
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        # What is asked is no secret, and the certificate is made out to another name than this machine's own.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        return response.status, response.read(_LARGEST)
    finally:
        connection.close()


def _read(status: int, body: bytes) -> HealthReply:
    try:
        report = json.loads(body)
        if report.get("status") == "alive":
            return HealthReply(status == 200, ["alive"])
        workers = report.get("workers", [report])
        return HealthReply(status == 200 and report["ready"], [_line(worker) for worker in workers])
    except (ValueError, LookupError, TypeError, AttributeError):
        return HealthReply(
            good=False, lines=[f"HTTP {status}, and no report of a relay; is it one that listens there?"]
        )


def _line(report: dict[str, Any]) -> str:
    name = f"{report['worker']}: " if "worker" in report else ""
    if report["ready"]:
        return f"{name}ready; {report['connections']} connections, {report['rooms']} rooms"
    ill = [f"{check}: {found['text']}" for check, found in report["checks"].items() if not found["ok"]]
    return f"{name}not ready; {', '.join(ill)}"
