"""Redis URLs: which are accepted, which are refused with which advice, and that no part of a password is shown."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.config import SettingsError, load
from relay.config.redis_url import (
    RedisUrl,
    Sentinels,
    parse_mapped_address,
    parse_redis_url,
    redact,
    secrets_of,
    shown_url,
)
from relay.model.errors import NotAllowed

SECRET = "Secret1"


def parts(url: str) -> tuple[str, int, int, str, str]:
    parsed = parse_redis_url(url)
    assert parsed is not None
    return parsed.host or parsed.path, parsed.port, parsed.database, parsed.username, parsed.password


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", ("h", 6379, 0, "", "")),
        ("redis://h/", ("h", 6379, 0, "", "")),
        ("redis://h:1/15", ("h", 1, 15, "", "")),
        ("redis://h:/3/", ("h", 6379, 3, "", "")),
        ("redis://h?db=4", ("h", 6379, 4, "", "")),
        ("redis://h/4?db=4", ("h", 6379, 4, "", "")),
        ("REDIS://my_redis.local.:6380", ("my_redis.local.", 6380, 0, "", "")),
        ("redis://[::1]:6380/2", ("::1", 6380, 2, "", "")),
        ("redis://127.0.0.1", ("127.0.0.1", 6379, 0, "", "")),
        ("redis://bücher.example", ("bücher.example", 6379, 0, "", "")),
        ("redis://:pw@h", ("h", 6379, 0, "", "pw")),
        ("redis://user:p%40%3A%2f%3F%23%25@h", ("h", 6379, 0, "user", "p@:/?#%")),
        ("redis://user:a:b@c@h", ("h", 6379, 0, "user", "a:b@c")),
        ("redis://user@h", ("h", 6379, 0, "user", "")),
        ("redis://h?username=me&password=a%26b", ("h", 6379, 0, "me", "a&b")),
        ("rediss://:pw@h:6390/1?ssl_cert_reqs=none", ("h", 6390, 1, "", "pw")),
        ("unix:///run/redis.sock", ("/run/redis.sock", 0, 0, "", "")),
        ("unix://user:pw@/run/a%20b.sock?db=2", ("/run/a b.sock", 0, 2, "user", "pw")),
    ],
)
def test_the_parts_of_a_url(url: str, expected: tuple[str, int, int, str, str]) -> None:
    assert parts(url) == expected


def test_an_empty_text_is_no_url() -> None:
    assert parse_redis_url("") is None
    assert (shown_url(""), secrets_of("", "x")) == ("", ("x",))


def test_sentinels_and_the_master_that_they_watch() -> None:
    url = "rediss+sentinel://app:pw@a,b:1,[::1]:2/my.primary/3?sentinel_username=me&sentinel_password=p%40&ssl_ca_certs=/c"
    parsed = parse_redis_url(url)
    assert parsed is not None
    assert parsed.sentinels == Sentinels((("a", 26379), ("b", 1), ("::1", 2)), "my.primary", "me", "p@")
    assert (parsed.database, parsed.username, parsed.password, parsed.is_encrypted) == (3, "app", "pw", True)
    assert parsed.tls == {"ssl_ca_certs": "/c"}
    assert parsed.shown == "rediss+sentinel://***@a,b:1,[::1]:2/my.primary/3?***"
    assert {"pw", "p@"} <= set(secrets_of(url))
    assert "p@" not in repr(parsed)


def test_the_options_for_tls() -> None:
    url = "rediss://h?ssl_ca_certs=/ca.pem&ssl_cert_reqs=None&ssl_check_hostname=false&ssl_password=x"
    parsed = parse_redis_url(url)
    assert isinstance(parsed, RedisUrl)
    assert parsed.tls == {
        "ssl_ca_certs": "/ca.pem", "ssl_cert_reqs": "none", "ssl_check_hostname": False, "ssl_password": "x",
    }  # fmt: skip
    assert secrets_of(url) == ("x",)


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("h:6379", "does not begin with redis://"),
        ("http://h", "does not begin with redis://"),
        ("'redis://h'", "without quotes"),
        ("redis:/h", "does not begin with redis://"),
        ("redis://", "host is missing"),
        ("redis://:6379", "host is missing"),
        ("redis://:pw@", "host is missing"),
        ("redis:///0", "host is missing"),
        ("redis+sentinel://a,b", "name the master"),
        ("redis+sentinel://a,b/", "name the master"),
        ("redis+sentinel://a,b/my master", "space"),
        ("redis+sentinel://a,b/m%41", "name the master"),
        ("redis+sentinel://:a/b@h/primary", "%2F"),
        ("redis+sentinel://a,,b/primary", "host is missing"),
        ("redis+sentinel://a,b:0/primary", "port"),
        ("redis+sentinel:///primary", "host is missing"),
        ("redis+sentinel://a/primary/x", "databases have no names"),
        ("redis+sentinel://" + ",".join(17 * "a") + "/primary", "more than 16"),
        ("redis+sentinel://a/primary?ssl_cert_reqs=none", "only for URLs that begin with rediss://"),
        ("redis://a?sentinel_password=x", "only for URLs that begin with redis+sentinel://"),
        ("redis+clusters://a", "does not begin with redis://"),
        ("redis://a,b", "several servers"),
        ("redis://a:1,b:2/0", "several servers"),
        ("redis://a,redis://b", "twice"),
        ("redis://a redis://b", "space"),
        ("redis://:a b@h", "%20"),
        ("redis://:a\tb@h", "control character"),
        ("redis://:a\u200bb@h", "control character"),
        ("redis://:a#b@h", "%23"),
        ("redis://h#1", "%23"),
        ("redis://:a/b@h", "%2F"),
        ("redis://:1/2@h", "%2F"),
        ("redis://u:1/2@h", "%2F"),
        ("unix://:a/b@/run/s", "%2F"),
        ("redis://:a?b@h", "%3F"),
        ("redis://u:1?b=c@h", "%3F"),
        ("redis://:a%b@h", "%25"),
        ("redis://:a%zz@h", "%25"),
        ("redis://:a%ff@h", "UTF-8"),
        ("redis://:a%00@h", "%00"),
        ("redis://h:0", "port"),
        ("redis://h:65536", "port"),
        ("redis://h:99999999999999999999", "port"),
        ("redis://h:x", "port"),
        ("redis://h:000001234567", "port"),
        ("redis://[:::::]:1", "host name"),
        ("redis://[1.2.3.4]", "host name"),
        ("redis://u:Secret1", "@HOST"),
        ("redis://::1", "brackets"),
        ("redis://h/prod", "databases have no names"),
        ("redis://h/1/2", "databases have no names"),
        ("redis://h/-1", "databases have no names"),
        ("redis://h/\u0661", "databases have no names"),
        ("redis://h?db=prod", "databases have no names"),
        ("redis://h?db=", "databases have no names"),
        ("redis://h/99999999", "databases have no names"),
        ("redis://h/1?db=2", "two databases"),
        ("redis://h?db=1&db=1", "option db twice"),
        ("redis://:a@h?password=b", "password twice"),
        ("redis://h?family=0", "option family"),
        ("redis://h?socket_timeout=x", "option socket_timeout"),
        ("redis://h?ssl_cert_reqs=none", "only for URLs that begin with rediss://"),
        ("unix:///s?ssl_cert_reqs=none", "only for URLs that begin with rediss://"),
        ("rediss://h?ssl_cert_reqs=maybe", "none, optional or required"),
        ("rediss://h?ssl_check_hostname=maybe", "true or false"),
        ("rediss://h?ssl_ca_cert=x", "did you mean ssl_ca_certs?"),
        ("redis://h?zzz=1", "unknown option"),
        ("unix://run/redis.sock", "three slashes"),
        ("unix://", "three slashes"),
        ("redis://a..b", "host name"),
        ("redis://-a", "host name"),
        ("redis://" + 64 * "a", "host name"),
        ("redis://" + 4 * (60 * "a" + ".") + 20 * "a", "host name"),
        ("redis://a%41", "host name"),
        ("redis://[::1", "brackets"),
    ],
)
def test_a_wrong_url_is_refused_with_advice(url: str, advice: str) -> None:
    with pytest.raises(NotAllowed) as raised:
        parse_redis_url(url)
    assert advice in str(raised.value)
    with pytest.raises(SettingsError) as reported:
        load({"redis_url": url}, {})
    assert reported.value.lines[0].startswith(
        f"redis_url (from --redis-url): *** is not allowed: {raised.value}; allowed"
    )


PASSWORDS = (
    SECRET,
    *[f"{SECRET}{character}rest" for character in "#/?@%: ,;&=\\\"'[]\n"],
    f"12/{SECRET}",
    f"{SECRET}?db=1",
    f"1?{SECRET}=x",
)
GRID = [
    f"{scheme}{user}{colon}{password}{at}{rest}"
    for scheme, user, colon, password, at, rest in itertools.product(
        ("redis://", "rediss://", "unix://", "redis+sentinel://", "reddis://", "Redis:/", ""),
        ("", "user"),
        (":", ""),
        PASSWORDS,
        ("@", ""),
        ("h:6379/0", "/run/s", "h"),
    )
    if at or colon
]
"""URLs of all kinds in which a password follows the colon, or stands where the user should."""


def test_no_part_of_a_password_is_shown_or_repeated() -> None:
    for url in GRID:
        try:
            parse_redis_url(url)
        except NotAllowed as error:
            assert SECRET not in str(error), url
            assert shown_url(url) == "***"
        assert SECRET not in shown_url(url), url
        try:
            load({"redis_url": url}, {"RELAY_REDIS_URL": url})
        except SettingsError as error:
            assert SECRET not in str(error), url


@given(st.text(st.characters(codec="ascii"), max_size=20), st.sampled_from(["redis", "rediss", "unix"]))
@example(":x?y", "redis")
def test_any_text_ahead_of_a_host_is_understood_or_refused(text: str, scheme: str) -> None:
    url = f"{scheme}://:{SECRET}{text}@{'/run/s' if scheme == 'unix' else 'host'}"
    try:
        parsed = parse_redis_url(url)
    except NotAllowed as error:
        assert SECRET not in str(error)
    else:
        assert parsed is not None
        assert parsed.password.startswith(SECRET)
        assert (parsed.host or parsed.path) in {"host", "/run/s"}
    assert SECRET not in shown_url(url)


def test_secrets_are_taken_out_of_any_text_as_written_and_as_meant() -> None:
    secrets = secrets_of("redis://user:p%40ss@h", "other")
    assert redact("AUTH user p@ss, p%40ss, other", secrets) == "AUTH user ***, ***, ***"
    assert (
        redact("unknown command 'AUTH', beginning with 'p'", ("p",)) == "unknown command 'AUTH', beginning with '***'"
    )
    assert "p@ss" not in repr(parse_redis_url("redis://user:p%40ss@h"))


def test_the_nodes_of_a_cluster() -> None:
    parsed = parse_redis_url("rediss+cluster://app:pw@a,b:1,[::1]:2?ssl_ca_certs=/c")
    assert parsed is not None
    assert parsed.nodes == (("a", 6379), ("b", 1), ("::1", 2))
    assert (parsed.database, parsed.username, parsed.password, parsed.is_encrypted) == (0, "app", "pw", True)
    assert parsed.shown == "rediss+cluster://***@a,b:1,[::1]:2?***"
    assert parse_redis_url("redis+cluster://a/0") is not None


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("redis+cluster://a/1", "a cluster has none but 0"),
        ("redis+cluster://a?db=1", "a cluster has none but 0"),
        ("redis+cluster://a,", "its host is missing"),
        ("redis+cluster://u:p@a,u:p@b", "user and password are written once, ahead of all servers"),
        ("rediss+sentinel://u:p@a,u:p@b/main", "in a password, @ is written %40"),
        ("redis+cluster://a?sentinel_password=x", "only for URLs that begin with redis[+]sentinel"),
        ("redis+cluster://" + ",".join("a" * 17), "more than 16 servers"),
        ("redis://a,b", "only redis[+]sentinel:// and redis[+]cluster:// do"),
    ],
)
def test_urls_of_clusters_that_are_refused(url: str, advice: str) -> None:
    with pytest.raises(NotAllowed, match=advice):
        parse_redis_url(url)


def test_a_mapped_address() -> None:
    assert parse_mapped_address("10.0.0.7:6379=redis.example:7001") == (("10.0.0.7", 6379), ("redis.example", 7001))
    assert parse_mapped_address("[::7]:1=b:2") == (("::7", 1), ("b", 2))
    for wrong in ("10.0.0.7:6379", "=b:1", "a:1=", "a:1=b:x", "a:1=b:1=c:1"):
        with pytest.raises(NotAllowed):
            parse_mapped_address(wrong)
