"""The Firebase Realtime Database, as other parts of the relay see it."""

from typing import Final

from relay.gateways.base.gateway import Gateway, TokenFields
from relay.gateways.firebase.errors import FIREBASE_ERRORS
from relay.gateways.firebase.settings import FirebaseSettings

NAME: Final = "firebase"
"""The name in metrics."""

SOCKET: Final = "/.ws"
"""The path of the WebSocket, at every host."""

POLLS: Final = "/.lp"
"""The path of long polling."""

REST: Final = "/{path:path}.json"
"""The paths of values: that of the tree, and `.json`."""

TOKENS: Final = TokenFields(bearer=True, query="auth", body="cred")
"""A page gives its token to `authWithCustomToken`, which sends it in a message; requests for values may have `auth`."""

GATEWAY: Final = Gateway(
    name=NAME,
    title="Firebase",
    protocols=(NAME,),
    prefixes=(SOCKET, POLLS),
    paths=(REST,),
    tokens={NAME: TOKENS},
    settings=FirebaseSettings,
    errors=FIREBASE_ERRORS,
)
