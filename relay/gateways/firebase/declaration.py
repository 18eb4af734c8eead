"""The Firebase Realtime Database, as other parts of the relay see it."""

from typing import Final

from relay.gateways.base.gateway import Gateway, TokenFields
from relay.gateways.firebase.errors import FIREBASE_ERRORS
from relay.gateways.firebase.settings import FirebaseSettings

NAME: Final = "firebase"
"""The name in metrics."""

SOCKET: Final = "/.ws"
"""The path of the WebSocket, at every host."""

TOKENS: Final = TokenFields(bearer=True, body="cred")
"""A page gives its token to `authWithCustomToken`, which sends it in a message."""

GATEWAY: Final = Gateway(
    name=NAME,
    title="Firebase",
    protocols=(NAME,),
    prefixes=(SOCKET,),
    tokens={NAME: TOKENS},
    settings=FirebaseSettings,
    errors=FIREBASE_ERRORS,
)
