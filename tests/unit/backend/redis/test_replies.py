import hiredis
import pytest

from relay.backend.redis.error_codes import ERROR_CODES
from relay.backend.redis.replies import ErrorReplies, ScriptFailed, is_noscript, leaves, report_of
from relay.model.errors import OutcomeUnknown, Unavailable

IN_SCRIPT = " script: 5f1d, on @user_script:7."
IN_SCRIPT_OF_6 = "ERR Error running script (call to f_5f1d): @user_script:7: "
"""The same in Redis 6.2, which puts it ahead of the error."""


def error_of(text: str, *, script: bool) -> Exception | None:
    return ErrorReplies(lambda: None).error_of(hiredis.ReplyError(text), script=script)


@pytest.mark.parametrize("script", [True, False])
@pytest.mark.parametrize("code", ERROR_CODES)
def test_a_refusal_is_unavailable_and_only_operators_learn_why(code: str, script: bool) -> None:
    error = error_of(f"{code} with a secret key", script=script)
    assert type(error) is Unavailable
    assert error.report == f"{ERROR_CODES[code].meaning} ({code} with a secret key); {ERROR_CODES[code].remedy}"
    assert error.text == Unavailable().text


@pytest.mark.parametrize("code", ["OOM", "READONLY", "MISCONF", "NOREPLICAS", "MASTERDOWN"])
def test_a_script_that_redis_refuses_at_its_first_write_had_no_effect(code: str) -> None:
    assert type(error_of(f"{code} refused." + IN_SCRIPT, script=True)) is Unavailable
    error = error_of(f"{IN_SCRIPT_OF_6}@user_script: 7: -{code} refused.", script=True)
    assert type(error) is Unavailable
    assert error.report.startswith(ERROR_CODES[code].meaning)


@pytest.mark.parametrize(
    "text", ["WRONGTYPE Operation", "ERR user_script:1: attempt to index", "NOPERM no", "NEW words"]
)
def test_any_other_error_inside_a_script_has_an_unknown_outcome(text: str) -> None:
    for told in (text + IN_SCRIPT, f"{IN_SCRIPT_OF_6}@user_script: 7: -{text}", IN_SCRIPT_OF_6 + text):
        error = error_of(told, script=True)
        assert type(error) is ScriptFailed
        assert isinstance(error, OutcomeUnknown)
        assert text.split()[0] not in error.text


def test_a_plain_command_that_fails_had_no_effect() -> None:
    error = error_of("WRONGTYPE Operation against a key", script=False)
    assert type(error) is Unavailable
    assert error.report == "Redis answers: WRONGTYPE Operation against a key"
    assert error.text == Unavailable().text


def test_errors_of_the_relay_and_values_pass() -> None:
    errors = ErrorReplies(lambda: None)
    unknown = OutcomeUnknown()
    assert errors.error_of(unknown, script=True) is unknown
    assert errors.error_of(b"value", script=True) is None


def test_each_error_is_counted_and_one_of_each_code_is_logged_in_ten_seconds(caplog) -> None:
    now, counted = [100.0], []
    errors = ErrorReplies(lambda: counted.append(1), clock=lambda: now[0])
    for _ in range(1000):
        errors.error_of(hiredis.ReplyError("WRONGTYPE a\r\nforged line"), script=True)
        errors.error_of(hiredis.ReplyError("OOM b"), script=True)
    assert (len(counted), len(caplog.records)) == (2000, 2)
    assert "forged" in caplog.text
    assert "\nforged" not in caplog.records[0].getMessage()
    now[0] += 10
    errors.error_of(hiredis.ReplyError("OOM c"), script=True)
    assert "(999 more" in caplog.records[-1].getMessage()


def test_long_errors_are_cut(caplog) -> None:
    errors = ErrorReplies(lambda: None, clock=lambda: 0.0)
    for number in range(1000):
        errors.error_of(hiredis.ReplyError(f"CODE{number} " + "x" * 10_000), script=True)
    assert max(len(record.getMessage()) for record in caplog.records) < 500


def test_a_reply_that_no_script_gives_has_an_unknown_outcome_and_is_logged(caplog) -> None:
    error = ErrorReplies(lambda: None).unexpected([b"what"])
    assert isinstance(error, OutcomeUnknown)
    assert "what" not in error.text
    assert "[b'what']" in caplog.text


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("ERR This instance has cluster support disabled", "this Redis is no part of a cluster"),
        ("ERR Unknown subcommand or wrong number of arguments for 'SHARDS'. Try CLUSTER HELP.", "older than 7.0"),
        ("ERR unknown command 'CLUSTER', with args beginning with: 'SHARDS' ", "a sentinel answers so"),
    ],
)
def test_a_redis_that_is_no_cluster_for_the_relay_is_told_as_such(text: str, meaning: str) -> None:
    assert meaning in report_of(text).partition("(")[0]


def test_a_script_that_redis_lacks() -> None:
    assert is_noscript(hiredis.ReplyError("NOSCRIPT No matching script"))
    assert not is_noscript(hiredis.ReplyError("ERR NOSCRIPT"))
    assert not is_noscript(b"NOSCRIPT")


@pytest.mark.parametrize(
    ("code", "anew"),
    [
        *((code, True) for code in ("READONLY", "UNBLOCKED", "MASTERDOWN", "LOADING", "NOAUTH", "WRONGPASS")),
        *((code, False) for code in ("OOM", "MISCONF", "NOREPLICAS", "BUSY", "NOPERM", "TRYAGAIN", "CLUSTERDOWN")),
        ("WRONGTYPE", False),
    ],
)
def test_another_redis_is_looked_for_where_one_may_serve(code: str, anew: bool) -> None:
    for text in (f"{code} words", f"{IN_SCRIPT_OF_6}@user_script: 7: -{code} words"):
        left: list[int] = []
        errors = ErrorReplies(lambda: None, on_leave=lambda left=left: left.append(1))
        errors.error_of(hiredis.ReplyError(text), script=True)
        assert (bool(left), leaves(text)) == (anew, anew)


@pytest.mark.parametrize(
    "text",
    [
        "ERR The user executing the script can't run this command or subcommand script: 5f1d, on @user_script:7.",
        "ERR ACL failure in script: User relay has no permissions to run the 'zadd' command script: 5f1d",
        f"{IN_SCRIPT_OF_6}@user_script: 7: The user executing the script can't run this command or subcommand",
        f"{IN_SCRIPT_OF_6}@user_script: 7: The user executing the script can't access at least one of the keys",
    ],
)
def test_a_script_without_a_permission_is_told_as_such(text: str) -> None:
    error = error_of(text, script=True)
    assert isinstance(error, ScriptFailed)
    assert error.report.startswith(ERROR_CODES["NOPERM"].meaning)
    assert text not in error.text
