import pytest

from relay.gateways.websync.channels import MAX_CHANNEL, is_ordinary, may_be_heard


@pytest.mark.parametrize("name", ["/chat", "/a/b", "/metal", "/fm2", "/é ☃", f"/{'x' * (MAX_CHANNEL - 1)}"])
def test_pages_may_publish_on_these(name: str) -> None:
    assert is_ordinary(name)
    assert may_be_heard(name)
    assert may_be_heard(f"/fm/subscribers{name}")
    assert not is_ordinary(f"/fm/subscribers{name}")


@pytest.mark.parametrize("name", ["", "/", "chat", "/meta", "/meta/x", "/service/x", "/fm", "/fm/x", f"/{'é' * 128}"])
def test_these_belong_to_the_protocol_or_are_none(name: str) -> None:
    assert not is_ordinary(name)
    assert not may_be_heard(name)
    assert not may_be_heard(f"/fm/subscribers{name}")
