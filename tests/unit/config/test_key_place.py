"""Places of key sets."""

import pytest

from relay.config.key_place import check_place, is_url
from relay.model.errors import NotAllowed


@pytest.mark.parametrize(
    ("place", "allowed"),
    [
        ("keys.json", True), ("/etc/keys.json", True), ("https://a.example.com/jwks?x=1", True),
        ("https://[::1]:8/", True), ("http://127.0.0.1:9/keys", True), ("http://localhost/keys", True),
        ("http://[::1]/keys", True),
        ("http://a.example.com/", False), ("http://localhost.example.com/", False), ("http://10.0.0.1/", False),
        ("ftp://a.example.com/", False), ("file:///etc/keys", False), ("https://", False),
        ("https://u:p@a.com/", False), ("https://a:b/", False), ("https://[::1", False),
    ],
)  # fmt: skip
def test_a_place_is_a_file_or_a_safe_url(place: str, allowed: bool) -> None:
    if allowed:
        assert check_place(place) == place
        assert is_url(place) == ("://" in place)
    else:
        with pytest.raises(NotAllowed):
            check_place(place)
