"""Signatures of requests."""

from relay.webhooks.signature import sign


def test_the_signature_has_the_time_and_the_mac_of_time_and_body() -> None:
    # echo -n '1764406380.{"events":[]}' | openssl dgst -sha256 -hmac secret
    mac = "ab7cfa3116e05f7f40cdbb23b943f9035e33674908df7e02b73236e83ef51ff0"
    assert sign(["secret"], 1764406380, b'{"events":[]}') == f"t=1764406380,v1={mac}"


def test_each_secret_has_a_mac() -> None:
    new, old = (sign([secret], 5, b"x").partition(",")[2] for secret in ("new", "old"))
    assert sign(["new", "old"], 5, b"x") == f"t=5,{new},{old}"
    assert new != old
