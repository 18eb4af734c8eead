import json

from relay.gateways.base.http import JSON, HttpBody
from relay.gateways.websync.exchange import script
from tests.unit.gateways.websync.site import Page, jsonp, seed, site


def test_a_script_calls_its_function_if_the_page_has_it() -> None:
    body = HttpBody('[{"a":"\u2028"}]'.encode(), JSON, 400)
    assert (
        script("parent.cb", body)
        == b'if(parent.cb)parent.cb({"content":[{"a":"\\u2028"}],"statusCode":400,"headers":{}});'
    )


async def test_a_page_by_jsonp() -> None:
    async with site() as here:
        page = Page(here)
        handshake = page.message("/meta/handshake", supportedConnectionTypes=["long-polling"])
        response = await here.ask(b"", jsonp("parent.fm.jsonp._cb.cb0", [handshake]), method="GET")
        assert (response.status, response.headers["content-type"]) == (200, "text/javascript; charset=UTF-8")
        head, text = response.body.decode().split("(parent.fm.jsonp._cb.cb0)parent.fm.jsonp._cb.cb0(")
        [reply] = json.loads(text.removesuffix(");"))["content"]
        assert (head, reply["successful"]) == ("if", True)
        page.client, page.session = reply["clientId"], reply["ext"]["fm.sessionId"]
        published = await here.ask(b"", jsonp("f", [page.message("/chat", data=seed(1))]), method="GET")
        assert b'"successful":true' in published.body
        await page.send(page.message("/meta/subscribe", subscription=["/chat"]))
        request, task = here.start(b"", jsonp("f", [page.connect()]), method="GET")
        await page.publish(seed(2))
        await task
        assert b'"message\\":2' in request.response.body


async def test_requests_that_are_none() -> None:
    async with site() as here:
        for query, method, code in (
            ("", "GET", "bad_query"),
            ("&jsonp=alert(1)", "GET", "bad_callback"),
            ("", "PUT", "bad_method"),
        ):
            response = await here.ask(b"", query, method=method)
            [reply] = json.loads(response.body)
            assert (reply["successful"], f"::{code}: " in reply["error"]) == (False, True)


async def test_jsonp_is_off_where_origins_are_restricted() -> None:
    async with site(allowed_origins=("https://page.example",)) as here:
        response = await here.ask(b"", jsonp("f", []), method="GET")
        assert b"jsonp_forbidden" in response.body
