"""`relay health`: asks a relay for its health, for people and for the health checks of container engines.

It uses the standard library's HTTP client only: it runs every few seconds, and must start fast.
"""

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
from relay.config import Settings

_MAX_BODY: Final = 1_048_576


class HealthReply(NamedTuple):
    """Whether the reply of a relay is good, and one line of text for each worker."""

    good: bool
    lines: list[str]


@click.command(cls=GroupedCommand)
@settings_options("host", "port")
@click.option("--url", default="", help="Address of the relay (http:// or https://), if not this machine's port.")
@click.option(
    "--live", is_flag=True, help="Ask only whether the process answers, which an outage of Redis does not affect."
)
@click.option("--timeout", default=2.0, show_default=True, help="Seconds to wait for the reply.")
def health(url: str, live: bool, timeout: float, **flags: str | None) -> None:
    """Report whether a relay is ready for clients.

    The exit status is 0 if it is ready, else 1.

    Without --url, the command asks the relay on this machine: it reads the same variables as `relay serve`.
    """
    if not url:
        url = _own_url(load_settings(flags).settings)
    try:
        reply = _read_reply(*_request(url, "/health/live" if live else "/health", timeout))
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = str(error) or type(error).__name__
        fail([f"no answer from {logs.without_password(url)}: {reason}; is a relay running there?"], status=1)
    if not reply.good:
        fail(reply.lines, status=1)
    click.echo("\n".join(map(logs.escape, reply.lines)))


def _own_url(settings: Settings) -> str:
    return f"http{'s' if settings.tls_cert else ''}://{reachable(settings.host)}:{settings.port}"


def _request(url: str, path: str, timeout: float) -> tuple[int, bytes]:
    """Return the status and the body of a GET request."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("the URL must begin with http:// or https://")
    try:
        port = parts.port
    except ValueError:
        # The text of this error has the part after the colon, which may be a password.
        raise ValueError("the port of the URL is not a number from 0 to 65535") from None
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        # No verification: the request holds no secret, and the certificate is rarely made out to `localhost`.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(parts.hostname, port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(parts.hostname, port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        return response.status, response.read(_MAX_BODY)
    finally:
        connection.close()


def _read_reply(status: int, body: bytes) -> HealthReply:
    """Read the body of /health (of one worker, or of several) or /health/live; any other body is not good."""
    try:
        report = json.loads(body)
        if report.get("status") == "alive":
            return HealthReply(status == 200, ["alive"])
        workers = report.get("workers", [report])
        return HealthReply(status == 200 and report["ready"], [_line(worker) for worker in workers])
    except (ValueError, LookupError, TypeError, AttributeError):
        text = f"HTTP {status}, and the body is not a relay's health; does another program listen there?"
        return HealthReply(good=False, lines=[text])


def _line(report: dict[str, Any]) -> str:
    if "reasons" in report:
        # From another machine, and without details.
        return "ready" if report["ready"] else f"not ready; {', '.join(map(str, report['reasons']))}"
    name = f"{report['worker']}: " if "worker" in report else ""
    failed = [f"{check}: {result['text']}" for check, result in report["checks"].items() if not result["ok"]]
    if report["ready"]:
        # Such as a shard that is lost: the worker serves the others.
        found = f"; but {', '.join(failed)}" if failed else ""
        return f"{name}ready; {report['connections']} connections, {report['rooms']} rooms{found}"
    return f"{name}not ready; {', '.join(failed)}"
