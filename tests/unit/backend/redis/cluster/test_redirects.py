"""Replies that send a command elsewhere."""

import hiredis
import pytest

from relay.backend.redis.cluster.redirects import HANDED_BACK, Redirect, read_redirect


@pytest.mark.parametrize(
    ("text", "kind", "target"),
    [
        ("MOVED 3999 127.0.0.1:6381", "moved", ("127.0.0.1", 6381)),
        ("MOVED 3999 :6381", "moved", ("", 6381)),
        ("MOVED 3999 ::1:6381", "moved", ("::1", 6381)),
        ("ASK 1 h.example:1", "ask", ("h.example", 1)),
        ("MOVED 3999 h:x", "moved", None),
        ("TRYAGAIN Multiple keys request during rehashing of slot", "again", None),
        ("CLUSTERDOWN Hash slot not served", "again", None),
        ("LOADING Redis is loading the dataset in memory", "again", None),
    ],
)
def test_the_redirection_in_a_reply(text: str, kind: str, target: tuple[str, int] | None) -> None:
    redirect = read_redirect(hiredis.ReplyError(text))
    assert redirect is not None
    assert (redirect.kind, redirect.target, redirect.text) == (kind, target, text)


@pytest.mark.parametrize(
    "reply",
    [b"1-1", 7, None, [b"sent"], hiredis.ReplyError("OOM"), hiredis.ReplyError("MOVED"),
     hiredis.ReplyError("READONLY You can't write against a read only replica. script: abc, on @user_script:1.")],
)  # fmt: skip
def test_any_other_reply_asks_for_nothing(reply: object) -> None:
    assert read_redirect(reply) is None


def test_a_command_that_was_never_sent_goes_elsewhere() -> None:
    assert read_redirect(HANDED_BACK) == Redirect("moved")
