"""The tables and programs in docs/ that repeat other files: `python -m tests.tables` (`make docs`) writes them anew.

Each table stands in its page between two comments, `<!-- NAME -->` and `<!-- /NAME -->`.
tests/unit/test_docs_tables.py checks that no table is out of date.
"""

import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from relay.backend import waiting
from relay.backend.redis.error_codes import ERROR_CODES
from relay.cli.options import GROUPS, every_old_name, every_setting
from relay.cli.text import plain
from relay.config import Setting
from relay.config.declaring import to_flag
from relay.gateways import GATEWAYS, error_tables
from relay.gateways.firebase import segments
from relay.gateways.native import streams
from relay.gateways.plainhttp import posts
from relay.gateways.signalr import connection_token, handshake, polled
from relay.gateways.signalr import messages as hub_messages
from relay.gateways.signalrclassic import invocations, polls, request
from relay.gateways.sip import location, message, nonce_counts, transactions
from relay.gateways.sip import session as sip_session
from relay.gateways.socketio import engine
from relay.gateways.websync import channels as websync_channels
from relay.gateways.websync import messages as websync_messages
from relay.gateways.xhrsignaling import form, readers
from relay.gateways.xmpp import checkpoint, occupancies, reading, requests, stream_session
from relay.gateways.xmpp import session as xmpp_session
from relay.gateways.xmpp.bosh import session as bosh_session
from relay.gateways.xmpp.bosh import window
from relay.http.metrics import WORKER_UP
from relay.http_request import MAX_PARAMETERS, MAX_QUERY
from relay.metrics import API, Metrics
from relay.model import channels, commands, envelope_head, json_text, member_info, tree, tree_changes
from relay.model.errors import CLOSE_REASONS, ERRORS, ErrorTable
from relay.model.names import MAX_ESCAPED, MAX_NAME
from relay.pages.folder import LONGEST_PATH, MOST_OPEN
from relay.wire import refusals, request_size
from tests import redis_user
from tests.abuse.table import compare, load
from tests.unit.gateways.sip.torture import ANSWERS

DOCS: Final = Path(__file__).parents[1] / "docs"

BOUNDS: Final[Sequence[tuple[str, int, str]]] = (
    ("Bytes of the head of a request", request_size.MAX_HEAD, "HTTP 431, and the connection is closed"),
    ("Requests of one connection that wait for their answers", refusals.MAX_WAITING, "HTTP 429, and it is closed"),
    ("Bytes of a query", MAX_QUERY, "HTTP 400 bad_query"),
    ("Parameters of a query", MAX_PARAMETERS, "HTTP 400 bad_query"),
    ("Levels of arrays and objects in JSON", json_text.MAX_NESTING, "error bad_json"),
    ("Characters of the name of a room or peer", MAX_NAME, "error bad_room or bad_peer"),
    ("Bytes of such a name when it is escaped", MAX_ESCAPED, "error bad_room or bad_peer"),
    ("Bytes of the label of a channel", channels.MAX_LABEL, "error bad_envelope or bad_command"),
    ("Characters of the key of a message", envelope_head.MAX_KEY, "error bad_envelope or bad_command"),
    ("Receivers of a direct message", envelope_head.MAX_ADDRESSEES, "error bad_envelope or bad_command"),
    ("Bytes of a member info", member_info.MAX_INFO, "error bad_info"),
    ("Envelopes in one post over plain HTTP", posts.MAX_BATCH, "HTTP 400 bad_body"),
    ("Frames in one post of the native protocol over HTTP", streams.MAX_FRAMES, "HTTP 400 bad_body"),
    ("Bytes of a tree of Firebase, each value with its path", tree.MAX_BYTES, "error tree_full"),
    ("Values of such a tree", tree.MAX_LEAVES, "error tree_full or too_large"),
    ("Keys of a path in it", tree.MAX_DEPTH, "error bad_path"),
    ("Bytes of a key in it", tree.MAX_KEY, "error bad_path"),
    ("Writes that a Firebase client prepares for its end", tree_changes.MOST_PREPARED, "error too_many_disconnects"),
    ("Bytes of these writes", tree_changes.MOST_PREPARED_BYTES, "error too_many_disconnects"),
    ("Segments of Firebase's polls that wait for others", segments.MOST_EARLY, "HTTP 400 bad_query"),
    ("Fields of a form of XHR-Signaling", form.MAX_FIELDS, "HTTP 400 bad_body"),
    (
        "Late acknowledgements of Socket.IO that wait for a pong",
        engine.MOST_ECHOES,
        "an event that its client emits again may count as a new one",
    ),
    (
        "Messages in one frame or post of SignalR",
        hub_messages.MAX_MESSAGES,
        "error bad_packet, and the connection ends",
    ),
    ("Arguments of one invocation of SignalR", hub_messages.MAX_ARGUMENTS, "as above"),
    ("Characters of an invocation id of SignalR", hub_messages.MAX_ID, "as above"),
    ("Characters of a hub method's name of SignalR", hub_messages.MAX_NAME, "as above"),
    ("Bytes of a handshake of SignalR", handshake.MAX_HANDSHAKE, "as above"),
    ("Posts of one client of SignalR at a time", polled.MAX_POSTS, "HTTP 400 poll_overlap, and it is closed"),
    ("Milliseconds for which a connection token of SignalR opens a connection", connection_token.FRESH, "HTTP 404"),
    ("Polls of one place of XHR-Signaling that wait", readers.MAX_PAGES, "the answer is false, at once"),
    ("Levels of elements in XMPP", reading.MAX_DEPTH, "stream error policy-violation"),
    ("Elements of a frame of XMPP", reading.MAX_ELEMENTS, "the same"),
    ("Attributes of an element of XMPP", reading.MAX_ATTRIBUTES, "the same"),
    ("Attributes of all of them", reading.MAX_ALL_ATTRIBUTES, "the same"),
    ("Bytes of a tag of XMPP", reading.MAX_TAG, "the same"),
    ("Frames of a login by XMPP", stream_session.MOST_STEPS, "the same"),
    ("Bytes of one of them", stream_session.MOST_LOGIN, "the same"),
    ("Seconds of such a login", int(stream_session.LOGIN_TIMEOUT), "stream error connection-timeout"),
    (
        "Stanzas of XMPP that wait for an acknowledgement",
        checkpoint.MOST_UNACKNOWLEDGED,
        "a client that needs an older one begins anew",
    ),
    ("Bytes of these stanzas, without messages of a history", checkpoint.MOST_BYTES, "the same"),
    ("Characters of the id of a stanza of XMPP", xmpp_session.MAX_ID, "error bad_stanza"),
    ("IQs of a client of XMPP to occupants that wait", occupancies.MOST_ASKED, "answers to older ones are dropped"),
    ("Events that are looked through for the history of XMPP", occupancies.MOST_HISTORY, "older ones are not shown"),
    ("Bytes of events that wait for the end of a join by XMPP", occupancies.MOST_BYTES_BEFORE, "close slow"),
    ("Requests of a client over BOSH at a time", window.REQUESTS, "it is ended: item-not-found"),
    ("Seconds for which a request over BOSH waits", bosh_session.MAX_WAIT, "it is answered"),
    ("Seconds of a pause over BOSH", bosh_session.MAX_PAUSE, "the client is ended: policy-violation"),
    ("Occupants in a list of XMPP (disco#items)", requests.MOST_ITEMS, "the others are not listed"),
    ("Arguments of a call of SignalR 2.x", invocations.MAX_ARGUMENTS, "error bad_command"),
    ("Hubs that a page of SignalR 2.x uses", request.MAX_HUBS, "HTTP 400 bad_query"),
    ("Fields of a form of SignalR 2.x", request.MAX_FIELDS, "HTTP 400 bad_body"),
    ("Bytes of the form of a poll of SignalR 2.x", polls.MAX_BODY, "HTTP 413 too_large"),
    ("Bytes of the fields of a SIP message", message.MOST_HEAD, "close 4503"),
    ("Fields of a SIP message", message.MOST_FIELDS, "close 4503"),
    ("Bindings of one SIP user", location.MOST_BINDINGS, "403, error too_many_bindings"),
    ("Targets of one SIP request", transactions.MOST_BRANCHES, "it goes to so many devices"),
    (
        "Nonces of SIP logins that a worker remembers, for each of 64 groups of addresses",
        nonce_counts.MOST_NONCES,
        "older ones are stale",
    ),
    (
        "Requests of one SIP client without an answer",
        transactions.MOST_TRANSACTIONS,
        "error too_many_transactions",
    ),
    ("Bytes of these requests, if there is more than one", transactions.MOST_BYTES, "the same"),
    (
        "Seconds in which a SIP client registers first, if auth is on",
        int(sip_session.LOGIN_TIMEOUT),
        "close 4504",
    ),
    ("Messages in one request of WebSync", websync_messages.MAX_MESSAGES, "601 bad_json"),
    ("Records in one message of WebSync", websync_messages.MAX_RECORDS, "error bad_command"),
    ("Channels in one message of WebSync", websync_messages.MAX_SUBSCRIPTIONS, "error bad_command"),
    ("Characters of the tag of a subscription of WebSync", websync_messages.MAX_TAG, "error bad_command"),
    ("Bytes of the name of a channel of WebSync", websync_channels.MAX_CHANNEL, "error bad_channel or bad_command"),
    ("Members in one list", commands.MAX_LISTED, "error bad_command or bad_query"),
    ("Messages in Redis that wait in a room for absent peers", waiting.MOST_WAITING, "they wait in the worker alone"),
    ("Bytes of these", waiting.MOST_WAITING_BYTES, "the same"),
    ("Characters of the path of a file (setting static)", LONGEST_PATH, "HTTP 404 not_found"),
    ("Such files that a worker has open at the same time", MOST_OPEN, "further ones are read afterwards"),
)
"""Bounds that no setting changes: the meaning, the bound, and the consequence."""


def table(head: str, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    columns = head.split(", ")
    yield "| " + " | ".join(columns) + " |"
    yield "| " + " | ".join(["---"] * len(columns)) + " |"
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def settings() -> Iterator[str]:
    """One table for each group that the help shows."""
    by_name = {one.name: one for one in every_setting()}
    for number, (title, names) in enumerate(GROUPS.items()):
        if number:
            yield ""
        yield f"## {title}"
        yield ""
        yield from table(
            "Flag and variable, Default, Meaning, Allowed, When exceeded",
            [_setting(by_name[name]) for name in names.split()],
        )


def _setting(one: Setting) -> list[str]:
    names = "<br>".join(code(name) for name in (one.flag, one.variable, one.file_variable) if name)
    return [names, code(plain(one.default)), one.description, one.allowed, one.consequence]


def limits() -> Iterator[str]:
    """The settings that are numbers and say what happens beyond them, in the groups of the help."""
    by_name = {one.name: one for one in every_setting()}
    rows = [
        (_beginning(title.removeprefix("Limits of ")), one)
        for title, names in GROUPS.items()
        for one in (by_name[name] for name in names.split())
        if one.consequence and isinstance(one.default, int | float)
    ]
    yield from table("Of, Limit, By default, Bounds, When exceeded", [_limit(of, one) for of, one in rows])


def _beginning(text: str) -> str:
    """Return the text with a capital at its beginning; other capitals, as in SIP, stay."""
    return text[:1].upper() + text[1:]


def _limit(of: str, one: Setting) -> list[str]:
    limit = code(to_flag(one.name).removeprefix("--"))
    return [of, limit, f"{one.default:,}".removesuffix(".0"), one.description, one.consequence]


def bounds() -> Iterator[str]:
    """The bounds that no setting changes."""
    yield from table("Bound on, At most, When exceeded", [[item, f"{most:,}", then] for item, most, then in BOUNDS])


def redis_commands() -> Iterator[str]:
    """The commands of the relay's user of Redis."""
    any_redis, one, cluster = map(redis_user.listed, redis_user.LISTS)
    for title, listed in (
        ("Any Redis", any_redis),
        ("Also one Redis, and a master with replicas", one),
        ("Also the nodes of a Redis Cluster", cluster),
        ("Sentinels, for the user that asks them", redis_user.OF_SENTINELS),
    ):
        text = f"- {title}: `{' '.join(listed)}`"
        yield from textwrap.wrap(text, 120, subsequent_indent="  ", break_on_hyphens=False)


def redis_errors() -> Iterator[str]:
    """The codes of Redis's error replies that the relay knows."""
    rows = [
        [code(name), one.meaning, "connects anew" if one.leaves else "tries again", one.remedy]
        for name, one in ERROR_CODES.items()
    ]
    yield from table("Redis answers, Meaning, The relay, What to do", rows)


def old_settings() -> Iterator[str]:
    rows = []
    for old in every_old_name():
        now = f"part of {code(to_flag(old.new))}" if old.folded else code(to_flag(old.new))
        rows.append([code(old.flag), now if old.new else f"no effect: {old.now}"])
    yield from table("Old name, Today", rows)


def errors() -> Iterator[str]:
    """One table of the codes that gateways share, and one for each gateway that has codes of its own."""
    yield from _errors(ERRORS)
    for title, own in error_tables().items():
        yield ""
        yield f"Only {title}:"
        yield ""
        yield from _errors(own)


def _errors(codes: ErrorTable) -> Iterator[str]:
    yield from table("Code, HTTP, Meaning", [[code(name), str(status), text] for name, (status, text) in codes.items()])


def closes() -> Iterator[str]:
    rows = [[str(one.code), code(one.name), "yes" if one.reconnect else "no", one.text] for one in CLOSE_REASONS]
    yield from table("Code, Reason, Reconnect?, Meaning", rows)


def metrics() -> Iterator[str]:
    rows = [
        [code(one.name), one.kind, ", ".join(map(code, one.labels)), one.help, one.advice]
        for one in (*Metrics().declarations, WORKER_UP)
    ]
    yield from table("Metric, Type, Labels, Meaning, What to do", rows)


def protocols() -> Iterator[str]:
    """The values of the label `protocol`."""
    rows = [[code(name), gateway.title] for gateway in GATEWAYS.values() for name in gateway.protocols]
    yield from table("Protocol, Gateway", [*rows, [code(API), "none: the HTTP interface of the relay; errors alone"]])


def faults() -> Iterator[str]:
    """The counts of the last run of `make chaos`."""
    results = (DOCS.parent / "tests" / "chaos" / "results" / "faults.md").read_text()
    yield from results[results.index("| Fault") :].strip().splitlines()


def attacks() -> Iterator[str]:
    """The last runs of `make abuse`."""
    yield from compare(load("before"), load("after"))


def shown(file: str, name: str, language: str) -> Callable[[], Iterator[str]]:
    """A file of docs/ as a snippet of a page."""

    def lines() -> Iterator[str]:
        yield f"<!-- snippet: {name} -->"
        yield f"```{language}"
        yield from (DOCS / file).read_text().splitlines()
        yield "```"

    return lines


def torture() -> Iterator[str]:
    answers: dict[str, list[str]] = {}
    for name, answer in ANSWERS.items():
        answers.setdefault(answer, []).append(code(name))
    return table("Answer, Messages", [(answer, ", ".join(names)) for answer, names in sorted(answers.items())])


TABLES: Final[dict[tuple[str, str], Callable[[], Iterator[str]]]] = {
    ("settings.md", "settings"): settings,
    ("settings.md", "old-settings"): old_settings,
    ("errors.md", "errors"): errors,
    ("errors.md", "closes"): closes,
    ("metrics.md", "metrics"): metrics,
    ("metrics.md", "protocols"): protocols,
    ("guarantees.md", "faults"): faults,
    ("operations.md", "redis-commands"): redis_commands,
    ("operations.md", "redis-errors"): redis_errors,
    ("security.md", "limits"): limits,
    ("security.md", "bounds"): bounds,
    ("security.md", "attacks"): attacks,
    ("gateways/sip.md", "torture"): torture,
    ("your-own-client.md", "python"): shown("clients/client.py", "reference-python", "python"),
    ("your-own-client.md", "javascript"): shown("clients/client.mjs", "reference-javascript", "js"),
}
"""(Page, name of the table) → its lines."""


def updated(page: str, text: str) -> str:
    """A page with its tables made anew; ValueError if a table has no place in it."""
    for (name, table_name), lines in TABLES.items():
        if name == page:
            begin, end = f"<!-- {table_name} -->\n", f"\n<!-- /{table_name} -->"
            pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
            if not pattern.search(text):
                raise ValueError(f"docs/{page} has no place for the table {table_name}")
            content = begin + "\n".join(lines()) + end
            text = pattern.sub(lambda _, content=content: content, text)  # type: ignore[misc]
    return text


def main() -> None:
    for page in sorted({page for page, _ in TABLES}):
        path = DOCS / page
        path.write_text(updated(page, path.read_text()))


if __name__ == "__main__":
    main()
