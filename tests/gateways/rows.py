"""The rows of the behaviour table: one line for each kind of client."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from tests.gateways.driver import ClientDriver
from tests.gateways.drivers.bosh import BoshDriver
from tests.gateways.drivers.firebase import FirebaseDriver
from tests.gateways.drivers.native import NativeDriver
from tests.gateways.drivers.native_http import NativeHttpDriver
from tests.gateways.drivers.over_nodejs import SocketIOOverNodejsDriver, WebSocketOverNodejsDriver
from tests.gateways.drivers.peerjs import PeerJSDriver
from tests.gateways.drivers.plain_http import EventsDriver, PollDriver
from tests.gateways.drivers.rmc3 import Rmc3Driver
from tests.gateways.drivers.signalmaster import SignalMasterDriver
from tests.gateways.drivers.signalr import SignalRDriver
from tests.gateways.drivers.signalr_classic import ClassicEventsDriver, ClassicPollDriver, ClassicSocketDriver
from tests.gateways.drivers.sip import SipDriver
from tests.gateways.drivers.socketio import SocketIODriver
from tests.gateways.drivers.v09 import V09Driver
from tests.gateways.drivers.websync import WebSyncDriver
from tests.gateways.drivers.xhr_signaling import XhrDriver
from tests.gateways.drivers.xmpp import XmppDriver
from tests.gateways.drivers.y_webrtc import YWebrtcDriver


class Row(NamedTuple):
    """A kind of client: its name, its protocol as a gateway declares it for metrics, and its driver.

    `make test` runs the rows that are `quick`; the others are much like one of these on the wire, and run in
    `make test-gateways`.
    """

    name: str
    protocol: str
    driver: Callable[[], ClientDriver]
    quick: bool = True


ROWS = [
    Row("native", "native", NativeDriver),
    Row("native-http", "native", NativeHttpDriver, quick=False),
    Row("y-webrtc", "native", YWebrtcDriver, quick=False),
    Row("websocket-over-nodejs", "native", WebSocketOverNodejsDriver, quick=False),
    Row("socketio-4-websocket", "socketio", partial(SocketIODriver, 4, polling=False)),
    Row("socketio-4-polling", "socketio", partial(SocketIODriver, 4, polling=True)),
    Row("socketio-3-websocket", "socketio", partial(SocketIODriver, 3, polling=False), quick=False),
    Row("socketio-3-polling", "socketio", partial(SocketIODriver, 3, polling=True), quick=False),
    Row("socketio-2-websocket", "socketio", partial(SocketIODriver, 2, polling=False), quick=False),
    Row("socketio-2-polling", "socketio", partial(SocketIODriver, 2, polling=True), quick=False),
    Row("socketio-0.9-websocket", "socketio-0.9", partial(V09Driver, polling=False), quick=False),
    Row("socketio-0.9-polling", "socketio-0.9", partial(V09Driver, polling=True), quick=False),
    Row("socketio-over-nodejs", "socketio-0.9", SocketIOOverNodejsDriver, quick=False),
    Row("rtcmulticonnection-3", "socketio", Rmc3Driver, quick=False),
    Row("peerjs", "peerjs", PeerJSDriver),
    Row("signalmaster-websocket", "socketio", SignalMasterDriver),
    Row("signalmaster-polling", "socketio", partial(SignalMasterDriver, polling=True), quick=False),
    Row("plainhttp-events", "plainhttp", EventsDriver, quick=False),
    Row("plainhttp-polling", "plainhttp", PollDriver),
    Row("firebase-websocket", "firebase", FirebaseDriver),
    Row("firebase-polling", "firebase", partial(FirebaseDriver, polls=True)),
    Row("xhr-signaling", "xhrsignaling", XhrDriver, quick=False),
    Row("signalr-classic-websocket", "signalr-classic", ClassicSocketDriver, quick=False),
    Row("signalr-classic-events", "signalr-classic", ClassicEventsDriver, quick=False),
    Row("signalr-classic-polling", "signalr-classic", ClassicPollDriver),
    Row("xmpp-websocket", "xmpp", XmppDriver),
    Row("xmpp-bosh", "xmpp", BoshDriver, quick=False),
    Row("signalr-websocket", "signalr", SignalRDriver),
    Row("signalr-websocket-messagepack", "signalr", partial(SignalRDriver, packed=True, named=True), quick=False),
    Row("signalr-sse", "signalr", partial(SignalRDriver, "sse", named=True), quick=False),
    Row("signalr-polling", "signalr", partial(SignalRDriver, "polling", packed=True), quick=False),
    Row("signalr-polling-json", "signalr", partial(SignalRDriver, "polling"), quick=False),
    Row("sip", "sip", SipDriver),
    Row("websync", "websync", WebSyncDriver),
]
