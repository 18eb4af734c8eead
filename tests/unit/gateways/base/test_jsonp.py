"""Which JSONP requests are served."""

import pytest
from starlette.types import Scope

from relay.config import Settings
from relay.gateways.base.jsonp import check_callback
from relay.model.errors import Refused
from relay.rooms.worker import Worker


def scope_of(*origins: str) -> Scope:
    return {"state": {"worker": Worker(Settings(allowed_origins=origins))}, "headers": []}


@pytest.mark.parametrize("callback", ["f", "parent.fm.jsonp._cb.cb0", "jQuery123_456", "x" * 64])
def test_a_name_of_a_function(callback: str) -> None:
    assert check_callback(scope_of("*"), callback) == callback
    assert check_callback(scope_of("https://page.example", "*"), callback) == callback


@pytest.mark.parametrize(
    "callback", ["", "x" * 65, "a b", "a\n", "f(1)//", "a;b", "a[0]", "a-b", "<script>", "é", "\u0660", "a%2e", "$"]
)
def test_text_that_is_no_name_is_refused(callback: str) -> None:
    with pytest.raises(Refused) as refused:
        check_callback(scope_of("*"), callback)
    assert (refused.value.status, refused.value.code) == (400, "bad_callback")


@pytest.mark.parametrize("callback", ["f", "f(1)"])
def test_under_a_list_of_origins_no_script_is_served(callback: str) -> None:
    with pytest.raises(Refused) as refused:
        check_callback(scope_of("https://page.example"), callback)
    assert (refused.value.status, refused.value.code) == (403, "jsonp_forbidden")
