"""The token of a client."""

import asyncio

import pytest

from relay.client.token import Token, TokenFailed, TokenSource


async def _async() -> str:
    await asyncio.sleep(0)
    return "t"


@pytest.mark.parametrize(("given", "fixed"), [("t", True), (lambda: "t", False), (_async, False)])
async def test_a_text_and_functions_of_both_kinds(given: Token, fixed: bool) -> None:
    source = TokenSource(given)
    assert (await source.ask(1), source.fixed) == ("t", fixed)


async def test_no_token() -> None:
    source = TokenSource("")
    assert (await source.ask(1), source.fixed) == ("", False)


async def test_a_function_is_asked_anew_each_time() -> None:
    tokens = iter(["one", "two\n"])
    source = TokenSource(lambda: next(tokens))
    assert [await source.ask(1), await source.ask(1)] == ["one", "two"]


async def test_a_function_that_fails_or_takes_too_long_returns_no_token() -> None:
    def fails() -> str:
        raise OSError("no answer")

    with pytest.raises(TokenFailed, match="no answer"):
        await TokenSource(fails).ask(1)
    with pytest.raises(TokenFailed, match="too long"):
        await TokenSource(asyncio.Event().wait).ask(0.01)  # type: ignore[arg-type]


@pytest.mark.parametrize("token", [None, 1, b"t", "a b", "a\r\nHost: b", "é"])
async def test_a_function_that_returns_something_else(token: object) -> None:
    with pytest.raises(TokenFailed, match="something else"):
        await TokenSource(lambda: token).ask(1)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("token", ["a b", "a\r\nHost: b", "é"])
def test_a_text_that_no_header_can_carry(token: str) -> None:
    with pytest.raises(ValueError, match="visible") as raised:
        TokenSource(token)
    assert token not in str(raised.value)
