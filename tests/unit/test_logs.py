"""The format of the log; no client can forge a line of it."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import logs

HOSTILE = "evil\r\n2026-01-01 error relay: all is lost\x1b[2J\x9b2J\u2028\u202e\x00\ud800"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    quiet = {
        name: logging.getLogger(name).level for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
    }
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, old in quiet.items():
        logging.getLogger(name).setLevel(old)


def written(form: str, level: str = "info", worker: str = "") -> io.StringIO:
    stream = io.StringIO()
    logs.configure(level, form, worker=worker, stream=stream)
    return stream


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ws://user:a/b?c#d@e@host/x", "ws://host/x"),
        ("user:a@host/x", "host/x"),
        ("ws://host/x", "ws://host/x"),
        ("ws://host:8888/x", "ws://host:8888/x"),
        ("http://[::1]:8888", "http://[::1]:8888"),
        ("http://[::1]", "http://[::1]"),
        ("localhost:8888", "localhost:8888"),
        ("nonsense", "nonsense"),
        ("", ""),
        ("http://user:Secret", "http://user:***"),
        ("http://user:Secret/and/more", "http://user:***"),
        ("http://user:123456789", "http://user:***"),
        ("user:Secret", "user:***"),
        ("http://user:1:Secret", "http://user:***"),
        ("http://:Secret", "http://:***"),
        ("http://host:Secret@host:Secret", "http://host:***"),
        ("ws://host/rooms/a?token=Secret", "ws://host/rooms/a?***"),
        ("ws://host?Secret", "ws://host?***"),
        ("http://[Secret", "http://:***"),
        ("ws://host/x#Secret", "ws://host/x#***"),
    ],
)
def test_a_url_is_shown_without_possible_secrets(url: str, shown: str) -> None:
    assert logs.without_password(url) == shown


def test_text_names_time_level_area_and_message() -> None:
    stream = written("text")
    logging.getLogger("relay.area").warning("%d things", 3)
    time, rest = stream.getvalue().split(" ", 1)
    assert time.endswith("Z")
    assert len(time) == len("2026-11-23T04:26:20.749Z")
    assert rest == "warning relay.area: 3 things\n"


def test_text_names_the_worker_where_there_are_several() -> None:
    stream = written("text", worker="w-1")
    logging.getLogger("relay.area").info("here")
    assert " info    [w-1] relay.area: here\n" in stream.getvalue()


def test_json_is_one_object_per_line() -> None:
    stream = written("json", worker="w-1")
    logging.getLogger("relay.area").info(HOSTILE)
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert entry.pop("time").endswith("Z")
    assert entry.pop("message").startswith("evil\\x0d\\x0a2026")
    assert entry == {"level": "info", "area": "relay.area", "worker": "w-1"}


@pytest.mark.parametrize("form", ["text", "json"])
def test_tracebacks_are_logged_and_escaped(form: str) -> None:
    stream = written(form)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger("relay").exception("it failed")
    assert "ValueError: evil" in stream.getvalue()
    assert not set("\r\x1b\x9b\u2028\u202e\x00") & set(stream.getvalue())
    assert all(line.startswith("    ") for line in stream.getvalue().splitlines()[1:])


@given(st.text(st.characters()))
def test_no_text_breaks_a_line(text: str) -> None:
    escaped = logs.escape(text)
    assert len(escaped.splitlines()) <= 1
    assert not any(ord(char) < 32 or 126 < ord(char) < 160 for char in escaped)
    escaped.encode()


def test_no_character_turns_the_direction_of_the_text_after_it() -> None:
    marks = [chr(code) for code in (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))]
    assert [mark for mark in marks if logs.escape(mark) == mark] == []


def test_records_below_the_level_are_dropped() -> None:
    stream = written("text", level="warning")
    logging.getLogger("relay").info("too much")
    logging.getLogger("relay").warning("enough")
    assert "too much" not in stream.getvalue()
    assert "enough" in stream.getvalue()


def test_uvicorn_never_logs_urls() -> None:
    stream = written("text", level="debug")
    for name in ("uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).info('"WebSocket /?token=secret" [accepted]')
    assert stream.getvalue() == ""


def test_configuring_again_replaces() -> None:
    first, second = written("text"), written("text")
    logging.getLogger("relay").info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


# Intervals.


def test_of_each_kind_one_event_in_the_interval_gets_a_line_and_tells_how_many_had_none() -> None:
    now = [0.0]
    lines = logs.LogIntervals(10, lambda: now[0])
    assert [lines.due("a"), lines.due("a"), lines.due("b"), lines.due("a")] == [0, None, 0, None]
    now[0] = 9.9
    assert lines.due("a") is None
    now[0] = 10.0
    assert [lines.due("a"), lines.due("a"), lines.due("b")] == [3, None, 0]
    now[0] = 30.0
    assert [lines.due("a"), lines.due()] == [1, 0]


def test_many_kinds_of_events_do_not_fill_the_memory() -> None:
    lines = logs.LogIntervals(10, lambda: 0.0)
    for number in range(1000):
        assert lines.due(str(number)) == 0
    assert len(lines._next) <= 100
    assert len(lines._unlogged) <= 100
