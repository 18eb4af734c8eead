"""The tables of docs/gateways/rtcmulticonnection.md."""

import re

from relay.gateways.socketio.apps.rmc3 import arguments, contacts, early_events, events, lookups
from relay.gateways.socketio.apps.rmc3.broadcasting import BROADCAST_EVENTS
from relay.gateways.socketio.apps.rmc3.requests import NAMES
from relay.model.rules import MAX_PASSWORD
from tests.browser.test_rmc3_demos import CHECKED_OUT
from tests.documentation import marked, rows

PAGE = "docs/gateways/rtcmulticonnection.md"


def test_every_event_has_a_row() -> None:
    shown = " ".join(cells[0] for cells in rows(marked(PAGE, "rmc3-events")))
    assert set(re.findall(r"`([a-z]+[:-][a-z-]+)`", shown)) == NAMES
    assert events.DEFAULT_MESSAGE_EVENT in shown


def test_every_event_of_broadcasts_has_a_row() -> None:
    shown = " ".join(cells[0] for cells in rows(marked(PAGE, "rmc3-broadcast")))
    assert set(re.findall(r"`([a-z-]+)`", shown)) == BROADCAST_EVENTS | {events.BROADCAST_MESSAGE}


def test_the_limits_are_those_of_the_code() -> None:
    shown = [int(cells[1]) for cells in rows(marked(PAGE, "rmc3-limits"))]
    assert shown == [
        arguments.MAX_EXTRA,
        arguments.MAX_SESSION,
        MAX_PASSWORD,
        arguments.MAX_IDENTIFIER,
        events.MOST_REGISTERED,
        early_events.MOST,
        lookups.MOST_LISTED,
        contacts.MOST,
    ]


def test_the_demos_that_run_are_those_of_the_browser_test() -> None:
    shown = {
        cells[0].strip("`").removesuffix(".html") for cells in rows(marked(PAGE, "rmc3-demos")) if cells[1] == "yes"
    }
    assert shown == set(CHECKED_OUT)
