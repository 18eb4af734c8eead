"""Fetching a key set: bounds of time and size, no redirects, and no other answer than a good one."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from relay.key_fetch import Fetcher, FetchError
from tests.issuer import Issuer

LIMIT = 1000


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with Issuer(b'{"keys":[]}') as one:
        yield one


async def failure(issuer: Issuer) -> str:
    with pytest.raises(FetchError) as caught:
        await Fetcher(issuer.url, LIMIT).fetch()
    return str(caught.value)


async def test_the_body_is_returned(issuer: Issuer) -> None:
    assert await Fetcher(issuer.url, LIMIT).fetch() == b'{"keys":[]}'
    [head] = issuer.requests
    assert "application/jwk-set+json" in head
    assert "cookie" not in head.lower()


async def test_a_body_without_a_length_is_read_to_its_end(issuer: Issuer) -> None:
    issuer.answer = lambda: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    assert await Fetcher(issuer.url, LIMIT).fetch() == b"abc"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
async def test_redirects_are_not_followed(issuer: Issuer, status: str) -> None:
    issuer.answer = lambda: issuer.response(b"{}", status=status, headers=f"Location: {issuer.url}/other\r\n")
    assert "redirects are not followed" in await failure(issuer)
    assert len(issuer.requests) == 1


@pytest.mark.parametrize("status", ["204 No", "404 Not Found", "500 Error", "503 Away"])
async def test_other_answers_are_failures(issuer: Issuer, status: str) -> None:
    issuer.answer = lambda: issuer.response(b"", status=status)
    assert status[:3] in await failure(issuer)


async def test_an_answer_is_bounded(issuer: Issuer) -> None:
    issuer.body = b"x" * LIMIT
    assert len(await Fetcher(issuer.url, LIMIT).fetch()) == LIMIT
    issuer.body = b"x" * (LIMIT + 1)
    assert "more than 1000 bytes" in await failure(issuer)
    issuer.answer = lambda: issuer.response(b"x", headers="Content-Encoding: gzip\r\n")
    assert "compressed" in await failure(issuer)


async def test_an_answer_that_takes_too_long_is_given_up(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.key_fetch.TIMEOUT", 0.1)
    issuer.stalls = True
    assert "within 0.1 s" in await failure(issuer)


async def test_no_server_and_no_http_are_failures(issuer: Issuer) -> None:
    issuer.answer = lambda: b"no HTTP\r\n\r\n"
    assert await failure(issuer)
    with pytest.raises(FetchError):
        await Fetcher("http://127.0.0.1:1/keys", LIMIT).fetch()


async def test_several_at_once(issuer: Issuer) -> None:
    fetcher = Fetcher(issuer.url, LIMIT)
    assert await asyncio.gather(fetcher.fetch(), fetcher.fetch()) == [b'{"keys":[]}'] * 2


async def test_the_certificate_of_an_issuer_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with Issuer(b"{}", tls=context) as issuer:
        assert "certificate" in (await failure(issuer)).lower()
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert await Fetcher(issuer.url, LIMIT).fetch() == b"{}"
    assert issuer.requests
