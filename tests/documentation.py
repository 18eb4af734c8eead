"""The documentation as data: its pages, the commands and snippets in them, and which test runs each.

Every fenced block of a page is one of these:

- `sh`: commands, one a line. Each is run by a test, or listed in `ELSEWHERE` with the test or stage that runs it.
- `mermaid`: a diagram.
- anything else: a snippet, with its name in a comment on the line before (`<!-- snippet: NAME -->`). `SNIPPETS` says
  which test runs it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]

PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "deploy/README.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
)

ELSEWHERE = {
    "make run": "tests/unit/test_readme.py checks the target; tests/integration runs the command behind it",
    "make test": "the stage that runs this",
    "make lint": ".ci/run",
    "docker compose up --build --scale worker=3": "make test-deploy",
    "RELAY_TURN_HOST=192.168.1.10 RELAY_TURN_ALLOWED_PEERS=192.168.1.10 docker compose --profile turn up --build":
        "by hand; tests/browser/test_turn.py has the configuration, tests/unit/test_deployment.py the compose file",
    "export RELAY_TURN_SECRET=$(openssl rand -hex 32)": "by hand; tests/browser/test_turn.py starts both servers so",
    "turnserver -n --no-cli --listening-ip 192.168.1.10 --realm relay --use-auth-secret --static-auth-secret"
    " $RELAY_TURN_SECRET": "by hand",
    ".venv/bin/relay serve --turn-servers turn:192.168.1.10:3478": "by hand",
    ".venv/bin/relay serve --static site": "tests/integration/test_same_origin.py",
    ".venv/bin/relay serve --workers 2 --redis-url redis://localhost:6379 --trusted-proxies 127.0.0.1":
        "tests/integration/test_same_origin.py",
    ".venv/bin/relay serve --workers 2 --redis-url redis://localhost:6379 --trusted-proxies 127.0.0.1"
    " --static /srv/page":
        "tests/integration/test_same_origin.py",
    ".venv/bin/relay token --sip --room demo --sub alice --ttl 1h": "tests/unit/cli/test_token.py",
    "make bench": "by hand, before a release",
    "make bench-quick": "by hand; tests/unit/bench tests the parts",
    "make bench-parts": "by hand; tests/unit/bench tests the parts",
}  # fmt: skip
"""Commands that tests/integration/test_readme.py does not run, and the tests that run them."""

DEPLOYMENT = "deploy/README.md"
"""All commands of this page are run, or listed, by tests/deploy/test_page.py."""

SNIPPETS = {
    "page": "tests/browser/test_readme.py",
    "websocket": "tests/browser/test_readme.py",
    "socketio": "tests/browser/test_readme.py",
    "join": "tests/browser/test_readme.py",
    "call": "tests/browser/test_readme.py",
    "library": "tests/browser/test_readme.py",
    "firebase-rest": "tests/browser/test_firebase.py",
    "token": "tests/browser/test_tokens.py",
    "move": "tests/browser/test_tokens.py",
    "http": "tests/browser/test_plain_http.py",
    "http-php": "tests/integration/test_http_page.py",
    "http-sh": "tests/integration/test_http_page.py",
    "xhr-signaling": "tests/browser/test_xhr_signaling.py",
    "signalr": "tests/conformance/test_signalr.py",
    "signalr-classic": "tests/browser/test_signalr_classic.py",
    "websync": "tests/browser/test_websync.py",
    "websync-users": "tests/browser/test_websync.py",
    "websync-token": "tests/browser/test_websync.py",
    "websocket-over-nodejs": "tests/browser/test_over_nodejs.py",
    "socketio-over-nodejs": "tests/browser/test_over_nodejs.py",
    "signalmaster": "tests/browser/test_simplewebrtc.py",
    "signalmaster-relay": "tests/browser/test_simplewebrtc.py",
    "signalmaster-return": "tests/browser/test_simplewebrtc.py",
    "y-webrtc": "tests/browser/test_y_webrtc.py",
    "rtcmulticonnection3": "tests/browser/test_rmc3.py",
    "rtcmulticonnection3-chat": "tests/browser/test_rmc3.py",
    "peerjs": "tests/browser/test_peerjs.py",
    "peerjs-relay": "tests/browser/test_peerjs.py",
    "sip-jssip": "tests/conformance/test_sip.py",
    "sip-sipjs": "tests/conformance/test_sip.py",
    "sip-text": "tests/conformance/test_sip.py",
    "same-origin-page": "tests/browser/test_same_origin.py",
    "same-origin-nginx": "tests/integration/test_same_origin.py",
    "same-origin-haproxy": "tests/integration/test_same_origin.py",
    "peerjs-native": "tests/browser/test_peerjs.py",
    "python": "tests/integration/test_readme.py",
    "program": "tests/integration/test_readme.py",
    "restart": "tests/integration/test_readme.py",
    "token-program": "tests/integration/test_client_tokens.py",
    "transcript": "tests/integration/test_readme.py",
    "infos": "tests/integration/test_readme.py",
    "order": "tests/integration/test_readme.py",
    "reference-python": "tests/integration/test_reference_clients.py",
    "reference-javascript": "tests/integration/test_reference_clients.py",
    "own-python": "tests/integration/test_reference_clients.py",
    "own-javascript": "tests/integration/test_reference_clients.py",
    "webhook-body": "tests/integration/test_webhooks.py",
    "webhook-python": "tests/integration/test_webhooks.py",
    "webhook-node": "tests/integration/test_webhooks.py",
    "token-page": "tests/browser/test_readme.py",
    "token-chat": "tests/integration/test_tokens_page.py",
    "token-teacher": "tests/integration/test_tokens_page.py",
    "token-student": "tests/integration/test_tokens_page.py",
    "token-guest": "tests/integration/test_tokens_page.py",
    "xmpp-strophe": "tests/conformance/test_xmpp.py",
    "xmpp-client": "tests/conformance/test_xmpp.py",
    "xmpp-channel": "tests/browser/test_xmpp.py",
}

_FENCE = re.compile(
    r"(?:^<!-- snippet: (?P<name>[\w-]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


class Block(NamedTuple):
    """A fenced block; `name` is "" for a block without one."""

    language: str
    name: str
    text: str


def read(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(page: str) -> Iterator[Block]:
    for found in _FENCE.finditer(read(page)):
        yield Block(found["language"], found["name"] or "", found["text"])


def commands(page: str) -> list[str]:
    return [line for block in blocks(page) if block.language == "sh" for line in block.text.strip().splitlines()]


def snippet(name: str) -> str:
    (text,) = [block.text for page in PAGES for block in blocks(page) if block.name == name]
    return text


def anchors(text: str) -> set[str]:
    """Where links into a page can lead, as GitHub names them."""
    titles = re.findall(r"^#+ (.*)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: str) -> list[str]:
    """Targets of links and pictures within the project."""
    targets = re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", read(page)))
    return [target for target in targets if not re.match(r"https?://", target)]


def prose(page: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", read(page))


def marked(page: str, name: str) -> str:
    """The part of a page between two comments."""
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", read(page), re.DOTALL)
    assert found, f"{page} has no part {name}"
    return found[1]


def rows(table: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
