"""How clients reach the relay."""

import pytest

from relay.config import Settings
from relay.gateways.firebase.addresses import check_version, namespace_in, places_of, read_host
from relay.gateways.firebase.places import Places
from relay.model.errors import Refused


def host(text: bytes) -> str:
    return read_host({"headers": [(b"host", text)]})


@pytest.mark.parametrize("text", [b"localhost", b"demo.relay.example:8888", b"127.0.0.1:1", b"[::1]:8888"])
def test_a_host_is_answered_as_it_came(text: bytes) -> None:
    assert host(text) == text.decode()


@pytest.mark.parametrize("text", [b"", b"a b", b'"x"', b"a/b", b"a:123456", b"<script>"])
def test_a_host_that_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(Refused, match="bad_query"):
        host(text or b" ")


def test_a_client_that_names_no_host_is_here() -> None:
    assert read_host({"headers": []}) == "localhost"


@pytest.mark.parametrize("query", [{}, {"v": "4"}, {"v": ""}])
def test_other_versions_are_refused(query: dict[str, str]) -> None:
    with pytest.raises(Refused, match="bad_query"):
        check_version(query)
    check_version({"v": "5"})


def test_the_namespace_is_in_the_query_or_the_first_label_of_the_host() -> None:
    assert namespace_in({"ns": "a/b"}, "x.relay.example") == "a%2Fb"
    assert namespace_in({}, "x.relay.example:8888") == "x"


def test_the_setting_decides_what_the_room_is() -> None:
    assert places_of(Settings(), {"ns": "demo"}, "localhost") == Places("")
    named = Settings(extensions={"firebase_room": "namespace"})
    assert places_of(named, {"ns": "demo"}, "localhost") == Places("demo")
