"""`relay watch`: follows a room in the terminal, one line for each event."""

import asyncio
import contextlib
import json
import shlex
import signal
from collections.abc import Callable, Coroutine
from datetime import datetime
from functools import partial
from typing import Any

import click
import msgspec

from relay import logs
from relay.cli.options import GroupedCommand, settings_options
from relay.cli.settings import fail, load_settings
from relay.cli.text import shell_word
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
    Options,
    Resumed,
    Room,
    RoomEnded,
    Unreadable,
    join,
    observe,
)
from relay.client.events import Notice
from relay.model.rules import shown_rules

_json = msgspec.json.Encoder()
_ADDED = frozenset({"from", "id", "sender", "channel"})

Print = Callable[[str], None]


@click.command("watch", cls=GroupedCommand)
@click.argument("room")
@settings_options("admin_token")
@click.option("--url", default="ws://localhost:8888", show_default=True, help="Address of the relay (ws:// or wss://).")
@click.option("--peer", default="", help="Join with this peer id, also if an admin token is set.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def watch_room(room: str, url: str, peer: str, as_json: bool, **flags: str | None) -> None:
    """Print what happens in a room.

    Messages, joins and leaves are printed until Ctrl-C. ROOM is any text.

    With the relay's admin token, the command observes the room: no member sees it, and messages to some members only
    are printed, too. Without the token, or with --peer, it joins the room as a member.

    The command reconnects by itself after a lost connection. A member prints the messages that it missed.
    """
    logs.configure("error", "text")
    note = partial(click.echo, err=True)
    options = Options(proxy=True)
    token = load_settings(flags).settings.admin_token
    try:
        if token and not peer:
            watched = observe(url, room, token=token, options=options)
        else:
            # If the relay asks for tokens, the admin token is one.
            watched = join(url, room, peer=peer, presence=True, token=token, options=options)
    except ValueError as error:
        fail([f"--url: {error}"], status=2)
    note(f"connecting to {logs.escape(logs.without_password(url))} (for at most {options.connect_timeout:g} s)")
    try:
        asyncio.run(until_stopped(watch(watched, as_json=as_json, out=click.echo, note=note)))
    except Closed as closed:
        fail([reason(closed)], status=1)
    except BrokenPipeError:
        return


async def until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Run this until it ends, or a signal cancels it; it then leaves the room, so that others see that at once."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        # A shell that starts a command in the background makes it ignore SIGINT; this handler is set nevertheless.
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def watch(room: Room, *, as_json: bool, out: Print, note: Print) -> None:
    """Follow a room until the relay closes it for good (`Closed`); `out` gets the events, `note` the state."""
    async with room:
        name = logs.escape(shlex.quote(room.name))
        members = ", ".join(map(shell_word, sorted(room.members))) or "none"
        note(f"{f'in {name} as {shell_word(room.peer)}' if room.peer else f'observing {name}'}; members: {members}")
        async for event in room:
            if as_json:
                out(_as_json(event))
            else:
                out(f"{datetime.now():%H:%M:%S.%f}"[:12] + "  " + logs.escape(line(event)))


def line(event: Event) -> str:
    """An event as a line of text for people; control characters are not escaped yet."""
    match event:
        case Envelope():
            channel = event.data.get("channel")
            labels = [] if channel is None else [f"[{channel}]"]
            return "  ".join([shell_word(event.sender), *labels, _content(event.data)])
        case Joined():
            return "  ".join([f"+ {shell_word(event.peer)}", *_info(event.info)])
        case Changed():
            return "  ".join([f"~ {shell_word(event.peer)}", *(_info(event.info) or ["no info"])])
        case Left():
            return f"- {shell_word(event.peer)}"
        case Counted():
            return f"= {event.count} members"
        case Interrupted():
            return f"… {event.text} ({event.code}); reconnecting"
        case Resumed():
            return f"… reconnected; nothing was missed, {event.replayed} messages were replayed"
        case Lost():
            return f"! messages were missed and cannot be replayed ({event.reason})"
        case NoToken():
            return f"! there is no new token ({event.text})"
        case Unreadable():
            return f"! a frame came that cannot be read ({event.reason})"
        case NewRules() | MemberKicked() | RoomEnded() | MoveAsked():
            return _notice(event)


def _notice(event: Notice) -> str:
    match event:
        case NewRules():
            by = f" by {shell_word(event.by)}" if event.by else ""
            return f"* rules changed{by}: {_json.encode(shown_rules(event.rules)).decode()}"
        case MemberKicked():
            return "  ".join([f"* {shell_word(event.peer)} is put out", *([event.reason] if event.reason else [])])
        case RoomEnded():
            return "  ".join(["* the room is closed", *([event.reason] if event.reason else [])])
        case MoveAsked():
            return f"* members are sent to {shell_word(event.to)}"


def _content(data: dict[str, Any]) -> str:
    rest = {name: value for name, value in data.items() if name not in _ADDED}
    if rest.keys() == {"message"}:
        message = rest["message"]
        return message if isinstance(message, str) else _json.encode(message).decode()
    return _json.encode(rest).decode()


def _info(info: dict[str, Any] | None) -> list[str]:
    return [] if info is None else [_json.encode(info).decode()]


def _as_json(event: Event) -> str:
    if isinstance(event, Envelope):
        return json.dumps({"type": "envelope", **event.data})
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    if isinstance(event, Joined) and event.info is None:
        del fields["info"]
    if isinstance(event, NewRules):
        fields["rules"] = shown_rules(event.rules)
    return json.dumps({"type": type(event).__name__.lower(), **fields})


def reason(closed: Closed) -> str:
    """The reason why the command ended, and a hint about what to do."""
    hints = {
        "unreachable": "is a relay running there? `relay serve` starts one; --url is its address",
        "peer_taken": "choose another --peer, or leave it out",
        "unauthorized": "the relay has another admin token; with --peer NAME the command joins the room as a member",
        "forbidden": "the relay has no admin token; with --peer NAME the command joins the room as a member",
        "token_required": "the admin token is one as well; set it (RELAY_ADMIN_TOKEN)",
        "bad_token": "the relay has another admin token",
    }
    hint = hints.get(closed.code, "")
    return f"{closed.text} ({closed.code})" + (f"; {hint}" if hint else "")
