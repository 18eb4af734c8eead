"""The tables with the result of every case of a client's own test suite."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.conformance.sio import HERE
from tests.fleet import require

NOT_RUN = "not run"
_NESTED = " \u203a "
CHROMIUM = "in Chromium"
"""Node's result for a case that a page plays."""

Found = Mapping[str, Any]
"""A case as it was played: suite, name, outcome, and the error of one that failed."""


@dataclass(frozen=True)
class Row:
    """One case, as it stands in a table."""

    suite: str
    name: str
    outcome: str
    remark: str

    @property
    def key(self) -> tuple[str, str]:
        return self.suite, self.name


@dataclass(frozen=True)
class CaseTable:
    """A file in `results/`. Remarks go by a case's name, or by its suite; only of a case in `fails` may fail."""

    file: str
    title: str
    about: str
    fails: Mapping[str, str]
    remarks: Mapping[str, str]

    def agree(self, found: Sequence[Found]) -> None:
        """Compare with Node's results; for the cases of a page, the table is believed. Written if it is not there."""
        self._check(found)
        before = {row.key: row.outcome for row in self._read()}
        first: dict[str, int] = {}
        for one in sorted(found, key=lambda one: one["number"]):
            first.setdefault(one["suite"], one["number"])
        rows = [self._row(one, before) for one in sorted(found, key=lambda one: (first[one["suite"]], one["name"]))]
        if not before:
            self._write(rows)
        assert self._path.read_text() == self._text(rows), f"{self.file} is out of date; remove it and run this again"

    def agree_in_page(self, found: Sequence[Found]) -> None:
        """Compare with the results of a page; report a table that was written anew."""
        self._check(found)
        outcomes = {(one["suite"], one["name"]): one["outcome"] for one in found}
        rows = self._read()
        if all(row.outcome == NOT_RUN for row in rows if row.key in outcomes):
            rows = [replace(row, outcome=outcomes.get(row.key, row.outcome)) for row in rows]
            self._write(rows)
        told = {row.key: row.outcome for row in rows if row.remark.startswith(CHROMIUM)}
        assert told == outcomes, f"{self.file} is out of date: {told.items() ^ outcomes.items()}"

    @property
    def _path(self) -> Any:
        return HERE / "results" / self.file

    def _check(self, found: Sequence[Found]) -> None:
        errors = {one["name"]: one["error"] for one in found if one["outcome"] == "failed"}
        unexpected = {name: error for name, error in errors.items() if name not in self.fails}
        assert not unexpected, unexpected

    def _row(self, one: Found, before: Mapping[tuple[str, str], str]) -> Row:
        suite, name, outcome = one["suite"], one["name"], one["outcome"]
        remark = self.fails.get(name) or self.remarks.get(name) or self.remarks.get(suite.split(_NESTED)[0], "")
        if outcome == CHROMIUM:
            remark = CHROMIUM + (", " + remark if remark else "")
            outcome = before.get((suite, name), NOT_RUN)
        return Row(suite, name, outcome, remark)

    def _read(self) -> list[Row]:
        if not self._path.exists():
            return []
        lines = self._path.read_text().splitlines()
        return [Row(*line[2:-2].split(" | ")) for line in lines[lines.index("| --- | --- | --- | --- |") + 1 :]]

    def _text(self, rows: Sequence[Row]) -> str:
        passed = sum(row.outcome == "passed" for row in rows)
        lines = [
            f"# {self.title}: its own test cases against a relay",
            "",
            f"{passed} of {len(rows)} passed. {self.about}",
            "",
            "| Suite | Case | Outcome | Remark |",
            "| --- | --- | --- | --- |",
            *[f"| {row.suite} | {row.name} | {row.outcome} | {row.remark} |" for row in rows],
        ]
        return "\n".join(lines) + "\n"

    def _write(self, rows: Sequence[Row]) -> None:
        self._path.write_text(self._text(rows))


async def play_in_node(script: str, *arguments: str) -> Sequence[Found]:
    """The output of a file of cases."""
    command = [require("node"), str(HERE / script), *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert process.returncode == 0, f"{script} ended with {process.returncode}"
    return [json.loads(line) for line in said.splitlines()]


SOCKETIO = CaseTable(
    "socketio-client.md",
    "socket.io-client 4.8",
    "Their server's handlers are played by another client in the same room;\n"
    "if a case looks at its server's acknowledgement, it looks for the relay's acknowledgement here.",
    fails={
        "should change socket.id upon reconnection": (
            "a client is recovered also before its first event, and keeps its id"
        ),
        "should prepend listener (onAny)": "a listener for all events hears `relay:position` as well",
        "should work with acks": (
            "its server asks the client for an acknowledgement; an event that a relay passes on asks for none"
        ),
    },
    remarks={
        "should get base64 data as a last resort": "in a page without ArrayBuffer and Blob",
        "should timeout when the server does not acknowledge the event": "Redis stands still meanwhile",
        "should timeout when the server does not acknowledge the event (promise)": "Redis stands still meanwhile",
        "should use the default timeout value": "Redis stands still meanwhile",
        "should fail when the server does not acknowledge the packet": "Redis stands still meanwhile",
    },
)

_LIMIT = "with so much that the limit of this relay, 3,840 bytes, asks for it"
_COOKIES = "the cookies are a proxy's before the relay, which has none"
_REFUSED = "refused as its query has no version"
ENGINEIO = CaseTable(
    "engineio-client.md",
    "engine.io-client 6",
    "Their server sends back each message; here the messages are Socket.IO's\n"
    "events, which another client in the same room sends back, and the greeting is the answer to a CONNECT.",
    fails={
        "provides details when maxHttpBufferSize is reached (websocket)": (
            "all is as expected but the reason of the close, which a relay gives (`too_large`) and its server does not"
        ),
    },
    remarks={
        "WebTransport": "of a transport over HTTP/3, which a relay does not speak",
        "XMLHttpRequest": "of Internet Explorer 8 to 11, and of a function that the package keeps to itself",
        "should merge packets according to maxPayload value": _LIMIT,
        "should merge binary packets according to maxPayload value": _LIMIT,
        "should send cookies with withCredentials: true": _COOKIES,
        "should not send cookies with withCredentials: false": _COOKIES,
        "should connect with the 2nd transport if tryAllTransports is `true` (polling)": _REFUSED,
        "should connect with the 2nd transport if tryAllTransports is `true` (websocket)": _REFUSED,
        "should not connect with the 2nd transport if tryAllTransports is `false`": _REFUSED,
        "uses custom timeout when provided": "left out by the suite itself",
        "should be able to receive binary data when ArrayBuffer not available (polling)": "in a page without it",
    },
)

_MOCKED = "against a relay in place of the suite's mocked server"
PEERJS = CaseTable(
    "peerjs-client.md",
    "PeerJS 1.5",
    "The library runs unmodified in Chromium, and the\ntwo peers of a case are on different workers.",
    fails={},
    remarks={
        "connect to server => disconnect => reconnect => destroy": _MOCKED,
        "disconnect => reconnect => destroy": _MOCKED,
        "destroy peer if no id and no connection": _MOCKED,
        "Peer#1 should has id #1": "left out by the suite itself",
    },
)
