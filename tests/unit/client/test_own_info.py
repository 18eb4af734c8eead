"""The client's own info, without a connection."""

import json

import pytest

from relay.client.errors import Closed, Rejected
from relay.client.own_info import OwnInfo


def sent(info: OwnInfo) -> tuple[str, object]:
    """The key and the info of the frame to send now."""
    text = info.to_send()
    assert text is not None
    frame = json.loads(text)
    assert frame["type"] == "info"
    return frame["key"], frame["info"]


def test_an_info_that_was_offered_need_not_be_sent() -> None:
    info = OwnInfo({"a": 1})
    assert info.offer() == '{"a":1}'
    info.welcomed()
    assert info.to_send() is None
    empty = OwnInfo()
    assert empty.offer() == ""
    empty.welcomed()
    assert empty.to_send() is None


async def test_a_change_is_sent_and_confirmed() -> None:
    info = OwnInfo()
    info.welcomed()
    done = info.change({"a": 1})
    key, value = sent(info)
    assert value == {"a": 1}
    assert info.to_send() is None
    info.answered("another")
    assert not done.done()
    info.answered(key)
    assert done.done()
    assert info.to_send() is None


async def test_of_several_changes_the_newest_is_sent() -> None:
    info = OwnInfo()
    info.welcomed()
    dones = [info.change({"n": 0})]
    first, _ = sent(info)
    dones += [info.change({"n": number}) for number in (1, 2)]
    info.answered(first)
    assert [done.done() for done in dones] == [True, False, False]
    second, value = sent(info)
    assert value == {"n": 2}
    assert first != second
    info.answered(second)
    assert all(done.done() for done in dones)


async def test_a_change_without_a_connection_goes_with_the_next_request_to_join() -> None:
    info = OwnInfo({"n": 0})
    info.offer()
    done, later = info.change({"n": 1}), None
    assert info.offer() == '{"n":1}'
    later = info.change({"n": 2})
    info.welcomed()
    assert (done.done(), later.done()) == (True, False)
    assert sent(info)[1] == {"n": 2}


async def test_a_removal_is_sent_after_the_welcome() -> None:
    info = OwnInfo({"n": 0})
    done = info.change(None)
    assert info.offer() == ""
    info.welcomed()
    assert not done.done()
    key, value = sent(info)
    assert value is None
    info.answered(key)
    assert done.done()


async def test_a_lost_connection_sends_it_again() -> None:
    info = OwnInfo()
    info.welcomed()
    done = info.change({"n": 1})
    first, _ = sent(info)
    info.change(None)
    info.offer()
    info.welcomed()
    second, value = sent(info)
    assert value is None
    info.answered(first)
    assert not done.done()
    info.answered(second)
    assert done.done()


async def test_errors_that_pass_and_errors_that_do_not() -> None:
    info = OwnInfo()
    info.welcomed()
    done = info.change({"n": 1})
    key, _ = sent(info)
    assert not info.refused("another", "too_fast", "")
    assert info.refused(key, "too_fast", "")
    again, _ = sent(info)
    assert not info.refused(again, "bad_info", "no")
    assert info.to_send() is None
    with pytest.raises(Rejected) as rejected:
        await done
    assert (rejected.value.code, rejected.value.text) == ("bad_info", "no")
    assert not info.refused("", "bad_info", "")


async def test_an_info_that_the_relay_would_refuse_is_not_sent() -> None:
    info = OwnInfo({"a": 1})
    deep: dict[str, object] = {}
    for _ in range(20):
        deep = {"a": deep}
    for bad in ({"a": "x" * 1024}, deep):
        with pytest.raises(Rejected) as rejected:
            info.change(bad)
        assert rejected.value.code == "bad_info"
        with pytest.raises(ValueError, match="info"):
            OwnInfo(bad)
    assert info.text == '{"a":1}'


async def test_the_end_fails_the_changes_that_wait() -> None:
    info = OwnInfo()
    done = info.change({"n": 1})
    info.fail(Closed("left", ""))
    with pytest.raises(Closed):
        await done
    assert info.to_send() is None
