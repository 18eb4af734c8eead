"""The client for servers that are no workers, and the reasons of failures."""

import socket
import ssl

import httpx2 as httpx
import pytest

from relay.outbound import failure_of, open_client


@pytest.mark.parametrize("url", ["http://relay.example/a", "https://relay.example/a"])
async def test_a_client_follows_no_redirects_and_uses_proxies_for_https_alone(url: str) -> None:
    async with open_client(url, 3.0, {"Accept": "text/plain"}) as client:
        assert not client.follow_redirects
        assert client.trust_env is url.startswith("https:")
        assert client.timeout == httpx.Timeout(3.0)
        assert client.headers["accept"] == "text/plain"
        assert client.headers["user-agent"].startswith("signal-relay/")


def caused(error: Exception) -> httpx.ConnectError:
    failure = httpx.ConnectError("http://user:hidden@relay.example")
    failure.__cause__ = error
    return failure


CERTIFICATE = ssl.SSLCertVerificationError("hidden")
CERTIFICATE.verify_message = "expired"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (caused(ConnectionRefusedError(111, "hidden")), "it cannot be reached: Connection refused"),
        (caused(socket.gaierror(-2, "hidden")), "it cannot be reached: its name is not known"),
        (caused(CERTIFICATE), "it cannot be reached: its certificate is not valid (expired)"),
        (caused(ValueError("hidden")), "it cannot be reached: ConnectError"),
        (httpx.RemoteProtocolError("hidden"), "the connection failed (RemoteProtocolError)"),
    ],
)
def test_a_failure_has_no_part_of_the_url_or_the_answer(error: Exception, text: str) -> None:
    assert failure_of(error) == text
