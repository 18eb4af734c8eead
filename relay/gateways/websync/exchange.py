"""The requests of WebSync clients: posts, and JSONP for pages of other origins whose browser has failed once."""

from typing import Any

import msgspec
from msgspec import Raw

from relay.gateways.base.http import Headers, HttpBody, HttpExchange
from relay.gateways.base.jsonp import SCRIPT, check_callback, for_script
from relay.http_request import read_query
from relay.model.errors import Refused


class WebSyncExchange(HttpExchange):
    """A request whose response is a script, once `read` has found that it is JSONP."""

    __slots__ = ("_callback",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._callback = ""

    async def read(self, limit: int) -> bytes | None:
        """Return the array of messages as JSON; None if the client drops the request.

        Raises `Refused` (`bad_method`, `bad_query`, `jsonp_forbidden`, `bad_callback`, `too_large`).
        """
        if self.method == "POST":
            return await self.read_body(limit)
        if self.method != "GET":
            raise Refused("bad_method")
        query = dict(read_query(self.scope))
        if "jsonp" not in query:
            raise Refused(
                "bad_query", "this is the address of WebSync clients, which post; a GET needs jsonp, for JSONP"
            )
        self._callback = check_callback(self.scope, query["jsonp"])
        return query.get("content", "").encode()

    async def respond(self, body: HttpBody, *, session_id: str = "", headers: Headers = ()) -> None:
        """Send the response; as a script, it has the status inside, because browsers run no script of another one."""
        if self._callback:
            body = HttpBody(script(self._callback, body), SCRIPT)
        await super().respond(body, session_id=session_id, headers=headers)


def script(callback: str, body: HttpBody) -> bytes:
    """Write a response as a script that calls a function of the page, if the page has it still."""
    result = msgspec.json.encode({"content": Raw(for_script(body.data)), "statusCode": body.status, "headers": {}})
    name = callback.encode("ascii")
    return b"if(%b)%b(%b);" % (name, name, result)
