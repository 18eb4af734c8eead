"""Requests to the HTTP API of a running relay, with its admin token, for commands of operators.

It uses the standard library's HTTP client, as `relay health` does: a command must start fast.
"""

import http.client
import json
import ssl
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from relay import logs
from relay.cli.settings import fail
from relay.cli.text import reachable
from relay.config import Settings

_MAX_BODY: Final = 1_048_576

_HINTS: Final = {
    "unauthorized": "the relay has another admin token; set RELAY_ADMIN_TOKEN or --admin-token to that one",
    "bad_token": "the relay has another admin token; set RELAY_ADMIN_TOKEN or --admin-token to that one",
    "not_found": "is it a relay of an earlier version?",
    "bad_method": "it is a relay of an earlier version",
}
"""Error code → advice for the operator."""


class Api(NamedTuple):
    """A relay: its address, and the admin token. Seconds bound the wait for each part of an answer."""

    url: str
    token: str
    timeout: float

    def __repr__(self) -> str:
        return f"Api(url={logs.without_password(self.url)!r})"

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Return the answer to a request; without one, or with an error, the command ends with status 1."""
        try:
            status, text = self._exchange(method, path, body)
        except ssl.SSLCertVerificationError as error:
            # Before anything is sent: the token is for the relay alone.
            fail(
                [
                    f"the certificate of {logs.without_password(self.url)} is not trusted ({error.verify_message}); "
                    "--url takes the name that it is made out to, and SSL_CERT_FILE the certificate of its authority"
                ],
                status=1,
            )
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = str(error) or type(error).__name__
            fail([f"no answer from {logs.without_password(self.url)}: {reason}; is a relay running there?"], status=1)
        answer = _read(text)
        if answer is None:
            fail([f"HTTP {status}, and the body is not a relay's; does another program listen there?"], status=1)
        if "error" in answer:
            code, reason = str(answer["error"].get("code")), str(answer["error"].get("text"))
            hint = _HINTS.get(code, "")
            fail([f"{reason} ({code})" + (f"; {hint}" if hint else "")], status=1)
        return answer

    def _exchange(self, method: str, path: str, body: object) -> tuple[int, bytes]:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("the URL must begin with http:// or https://")
        try:
            port = parts.port
        except ValueError:
            # The text of this error has the part after the colon, which may be a password.
            raise ValueError("the port of the URL is not a number from 0 to 65535") from None
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            # Verified, other than for `relay health`: the request has the admin token.
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(parts.hostname, port, timeout=self.timeout, context=context)
        else:
            connection = http.client.HTTPConnection(parts.hostname, port, timeout=self.timeout)
        headers = {"Authorization": f"Bearer {self.token}", "Connection": "close"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            content = None if body is None else json.dumps(body).encode()
            connection.request(method, parts.path.rstrip("/") + path, content, headers)
            response = connection.getresponse()
            return response.status, response.read(_MAX_BODY)
        finally:
            connection.close()


def api_of(settings: Settings, url: str, timeout: float) -> Api:
    """Return the relay at this address, "" for the one on this machine; without a token, the command ends."""
    if not settings.admin_token:
        fail(
            [
                "this command needs the admin token with which the relay was started (--admin-token, RELAY_ADMIN_TOKEN "
                "or RELAY_ADMIN_TOKEN_FILE)"
            ],
            status=2,
        )
    if not url:
        url = f"http{'s' if settings.tls_cert else ''}://{reachable(settings.host)}:{settings.port}"
    return Api(url, settings.admin_token, timeout)


def _read(text: bytes) -> dict[str, Any] | None:
    """Return an answer of a relay; None for any other body."""
    try:
        answer = json.loads(text)
    except ValueError:
        return None
    if not isinstance(answer, dict) or not isinstance(answer.get("error", {}), dict):
        return None
    return answer
