"""The token of a client: a text, or a function of the program that returns one."""

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Final

Token = str | Callable[[], str | Awaitable[str]]
"""A token that the relay's operator or your application's server has signed, or a function that returns one."""

_VISIBLE: Final = re.compile(r"[!-~]*")


class TokenFailed(Exception):
    """The program's function returned no token; the text says why."""

    code: Final = "token_failed"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class TokenSource:
    """Has a token for each connection; "" for none.

    Raises ValueError for a text that no header can carry.
    """

    def __init__(self, given: Token) -> None:
        self._given = given
        self.fixed = isinstance(given, str) and given != ""
        if isinstance(given, str) and not _VISIBLE.fullmatch(given):
            raise ValueError("a token has visible ASCII characters, and no spaces")

    async def ask(self, timeout: float) -> str:  # noqa: ASYNC109  # the text of the error says what took too long
        """Return the token; a function is asked anew, and has `timeout` seconds. Raises `TokenFailed`."""
        if isinstance(self._given, str):
            return self._given
        try:
            async with asyncio.timeout(timeout):
                answer = self._given()
                token = await answer if inspect.isawaitable(answer) else answer
        except TimeoutError:
            raise TokenFailed("the function that returns the token took too long") from None
        except Exception as error:
            raise TokenFailed(f"the function that returns the token failed: {error!r}") from error
        # A token that was read from a file has the end of its line.
        text = token.strip() if isinstance(token, str) else None
        if text is None or not _VISIBLE.fullmatch(text):
            raise TokenFailed("the function that returns the token returned something else")
        return text
