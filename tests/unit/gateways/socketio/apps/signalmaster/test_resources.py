"""Resources in member infos: those of SimpleWebRTC, and infos of clients of other protocols."""

import pytest

from relay.gateways.socketio.apps.signalmaster.resources import Resources, read_resources


@pytest.mark.parametrize("resources", [Resources(), Resources(screen=True), Resources(video=False, audio=True)])
def test_an_info_is_read_as_it_was_written(resources: Resources) -> None:
    assert read_resources(resources.as_info()) == resources


def test_a_client_begins_with_its_video_alone() -> None:
    assert Resources().as_info() == b'{"simplewebrtc":{"screen":false,"video":true,"audio":false}}'


@pytest.mark.parametrize(
    "info",
    [b"", b"{}", b'{"name":"x"}', b'{"simplewebrtc":null}', b'{"simplewebrtc":true}', b'{"simplewebrtc":["video"]}'],
)
def test_other_members_have_no_resources(info: bytes) -> None:
    assert read_resources(info) is None


def test_a_kind_is_true_only_if_it_is_given_as_true() -> None:
    info = b'{"simplewebrtc":{"video":1,"screen":"true","audio":true,"__proto__":{}},"$token":{"name":"ann"}}'
    assert read_resources(info) == Resources(screen=False, video=False, audio=True)
    assert read_resources(b'{"simplewebrtc":{}}') == Resources(video=False)
