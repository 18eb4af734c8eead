"""Extra data in member infos."""

import pytest

from relay.gateways.socketio.apps.rmc3.extras import extra_of, member_info, read_extra_of
from relay.model.events import Present


@pytest.mark.parametrize("extra", [b"{}", b'{"name":"Ann"}', b"7", b'"text"'])
def test_extra_data_is_read_as_it_was_written(extra: bytes) -> None:
    members = [Present("ann", info=member_info(extra)), Present("ben")]
    assert extra_of(members, "ann") == extra
    assert extra_of(members, "ben") == b"{}"
    assert extra_of(members, "cid") is None


def test_extra_data_that_is_too_large_for_an_info_is_left_out() -> None:
    assert read_extra_of(member_info(b'"%b"' % (b"x" * 2000))) == b"{}"


@pytest.mark.parametrize("info", [b"", b'{"rmc":7}', b"[]", b'{"name":"x"}'])
def test_infos_of_other_protocols_have_none(info: bytes) -> None:
    assert read_extra_of(info) == b"{}"
