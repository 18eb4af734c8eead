"""Socket.IO, as other parts of the relay see it."""

from typing import Final

from relay.config import OldName
from relay.gateways.base.gateway import Gateway, Stickiness, TokenFields
from relay.gateways.socketio.errors import SOCKETIO_ERRORS
from relay.gateways.socketio.settings import SocketIOSettings

NAME: Final = "socketio"
V09_NAME: Final = "socketio-0.9"
"""The names of the protocols in metrics: of the versions 1 to 4, which are one, and of version 0.9."""

PATH: Final = "/socket.io"

HEALTHCHECK: Final = "/healthcheck"
"""The path by which the load balancers of a SignalMaster ask for its health."""

SID_HEADER: Final = "x-engine-sid"
"""The session id, in the responses to a session's requests: a load balancer learns from it which worker has it."""

CREDENTIALS: Final = True
"""Pages may send requests with credentials: the session id in the URL proves the session, and cookies mean nothing.

Clients of the versions 1 and 2 always poll with credentials.
"""

TOKENS: Final = TokenFields(bearer=True, query="token", body="auth.token of the packet CONNECT (versions 3 and 4)")
V09_TOKENS: Final = TokenFields(bearer=True, query="token")

GATEWAY: Final = Gateway(
    name=NAME,
    title="Socket.IO",
    protocols=(NAME, V09_NAME),
    prefixes=(PATH,),
    credentials=CREDENTIALS,
    paths=(HEALTHCHECK,),
    tokens={NAME: TOKENS, V09_NAME: V09_TOKENS},
    settings=SocketIOSettings,
    old_names=(OldName("socketio_client", "socketio_client_url"),),
    errors=SOCKETIO_ERRORS,
    # Version 0.9 names the session in the path; a closing page asks without a transport, hence the empty segment.
    stickiness=Stickiness(SID_HEADER, query="sid", paths=(f"{PATH}/1/xhr-polling/", f"{PATH}/1//")),
)
