"""`relay watch`: the printed lines. tests/integration/test_client.py runs it in a real room."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from relay import cli
from relay.cli.watch import line, reason, watch
from relay.client import (
    Changed,
    Closed,
    Counted,
    Envelope,
    Event,
    Interrupted,
    Joined,
    Left,
    Lost,
    MemberKicked,
    MoveAsked,
    NewRules,
    NoToken,
    Resumed,
    RoomEnded,
    RoomRules,
)
from relay.model.envelope import MessageId


def said(**data: Any) -> Envelope:
    return Envelope(MessageId(1, 2), "bob", {**data, "from": "bob", "id": "1-2"})


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (said(message="hi"), "bob  hi"),
        (said(channel="c", sender="me", message="hi"), "bob  [c]  hi"),
        (said(channel=5, message={"sdp": "v=0"}), 'bob  [5]  {"sdp":"v=0"}'),
        (said(message="hi", to="x"), 'bob  {"message":"hi","to":"x"}'),
        (said(), "bob  {}"),
        (Joined("eve"), "+ eve"),
        (Joined("eve", {"a": "b"}), '+ eve  {"a":"b"}'),
        (Changed("eve", {"a": 1}), '~ eve  {"a":1}'),
        (Changed("eve", None), "~ eve  no info"),
        (Left("eve"), "- eve"),
        (Joined("%D0%90%D0%BD%D0%BD%D0%B0"), "+ 'Анна'"),
        (Joined("eve%20%20%5Bc%5D%20%20hi"), "+ 'eve  [c]  hi'"),
        (Left("%E2%80%AEeve"), r"- '\u202eeve'"),
        (Counted(3), "= 3 members"),
        (Interrupted("going_away", "stopping"), "… stopping (going_away); reconnecting"),
        (Resumed(3), "… reconnected; nothing was missed, 3 messages were replayed"),
        (Lost("trimmed"), "! messages were missed and cannot be replayed (trimmed)"),
        (NoToken("token_failed", "no answer"), "! there is no new token (no answer)"),
        (MemberKicked("eve", "rude"), "* eve is put out  rude"),
        (MemberKicked("eve"), "* eve is put out"),
        (RoomEnded("late"), "* the room is closed  late"),
        (MoveAsked("main hall"), "* members are sent to 'main hall'"),
    ],
)
def test_each_event_has_its_line(event: Event, shown: str) -> None:
    assert line(event) == shown


@pytest.mark.parametrize(("by", "said_by"), [("eve", " by eve"), ("", "")])
async def test_rules_are_shown_as_json_has_them(by: str, said_by: str) -> None:
    event = NewRules(RoomRules(locked=True), by)
    text, lines = line(event), []
    assert text.startswith(f"* rules changed{said_by}: {{")
    with pytest.raises(Closed):
        await watch(Scripted(event), as_json=True, out=lines.append, note=lambda _: None)  # type: ignore[arg-type]
    shown = json.loads(lines[0])
    assert shown["rules"] == json.loads(text.partition(": ")[2])
    assert (shown["type"], shown["rules"]["locked"], shown["rules"]["owner"]) == ("newrules", True, None)


class Scripted:
    """A room with these events."""

    name, peer, members = "r", "w", frozenset({"w", "a\x1b"})

    def __init__(self, *events: Event) -> None:
        self._events = list(events)

    async def __aenter__(self) -> "Scripted":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def __aiter__(self) -> "Scripted":
        return self

    async def __anext__(self) -> Event:
        if not self._events:
            raise Closed("replaced", "")
        return self._events.pop(0)


HOSTILE = ["\x1b]0;title\x07", "a\nb\r", "\x9b2J", "\u202etxt", "\u2028", "\x7f", "\x00"]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("text", HOSTILE)
async def test_control_characters_of_clients_are_escaped(text: str, as_json: bool) -> None:
    lines: list[str] = []
    events = [said(message=text), said(channel=text, **{text: text}), said(message=[text]), Interrupted(text, text)]
    with pytest.raises(Closed):
        await watch(Scripted(*events), as_json=as_json, out=lines.append, note=lines.append)  # type: ignore[arg-type]
    assert len(lines) == 5
    assert not set(text) & set("".join(lines)) & set("\x1b\x07\n\r\x9b\u202e\u2028\x7f\x00")


async def test_json_names_the_type_of_an_event() -> None:
    lines: list[str] = []
    with pytest.raises(Closed):
        await watch(
            Scripted(said(n=1), Joined("a"), Changed("a", None), Resumed(2)),
            as_json=True,
            out=lines.append,
            note=lambda _: None,
        )  # type: ignore[arg-type]
    assert [json.loads(text) for text in lines] == [
        {"type": "envelope", "n": 1, "from": "bob", "id": "1-2"},
        {"type": "joined", "peer": "a"},
        {"type": "changed", "peer": "a", "info": None},
        {"type": "resumed", "replayed": 2},
    ]


def test_an_end_has_a_reason_and_a_hint() -> None:
    assert reason(Closed("replaced", "elsewhere")) == "elsewhere (replaced)"
    assert "choose another --peer" in reason(Closed("peer_taken", "bob is in use"))


@pytest.mark.parametrize(
    ("arguments", "environment", "used"),
    [
        ([], {}, "join"),
        ([], {"RELAY_ADMIN_TOKEN": "s3cret-s3cret-s3cret"}, "observe"),
        (["--admin-token", "s3cret-s3cret-s3cret"], {}, "observe"),
        (["--peer", "w"], {"RELAY_ADMIN_TOKEN": "s3cret-s3cret-s3cret"}, "join"),
    ],
)
def test_with_the_admin_token_the_room_is_observed(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], environment: dict[str, str], used: str
) -> None:
    monkeypatch.setattr("relay.logs.configure", lambda *_: None)
    calls: list[tuple[str, object]] = []

    def called(name: str) -> Callable[..., Scripted]:
        def call(*_: object, **options: object) -> Scripted:
            calls.append((name, options["token"], options.get("peer", "")))
            return Scripted()

        return call

    for name in ("join", "observe"):
        monkeypatch.setattr(f"relay.cli.watch.{name}", called(name))
    CliRunner().invoke(cli.main, ["watch", "room", *arguments], env=environment)
    token = "s3cret-s3cret-s3cret" if environment or "--admin-token" in arguments else ""
    assert calls == [(used, token, "w" if "--peer" in arguments else "")]


async def test_an_observer_has_no_peer_id_to_note() -> None:
    class Observed(Scripted):
        peer, members = "", frozenset[str]()

    notes: list[str] = []
    with pytest.raises(Closed):
        await watch(Observed(), as_json=False, out=notes.append, note=notes.append)  # type: ignore[arg-type]
    assert notes == ["observing r; members: none"]


@pytest.mark.parametrize(
    ("code", "hint"),
    [("unauthorized", "--peer NAME"), ("forbidden", "--peer NAME"), ("token_required", "admin token"),
     ("bad_token", "admin token")],
)  # fmt: skip
def test_a_token_that_is_refused_has_a_hint(code: str, hint: str) -> None:
    assert hint in reason(Closed(code, "no"))


def test_a_wrong_address_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.logs.configure", lambda *_: None)
    done = CliRunner().invoke(cli.main, ["watch", "room", "--url", "http//x\x1b"])
    assert done.exit_code == 2
    assert "--url" in done.stderr
    assert "\x1b" not in done.stderr


def test_characters_that_the_terminal_lacks_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.logs.configure", lambda *_: None)
    monkeypatch.setattr(
        "relay.cli.watch.join", lambda *_, **__: Scripted(said(message="naïve 🙂"), Interrupted("lost", "gone"))
    )
    done = CliRunner(charset="latin-1").invoke(cli.main, ["watch", "room"])
    first, second = done.stdout.splitlines()
    assert first[12:] == r"  bob  naïve \U0001f642"
    assert "reconnecting" in second
    assert "(replaced)" in done.stderr
