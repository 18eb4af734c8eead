"""The settings of the Firebase gateway."""

from typing import Annotated, Literal

from msgspec import Struct

from relay.config.declaring import seconds, setting


class FirebaseSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of an address is the room, and how long clients may be silent that poll."""

    firebase_room: Annotated[
        Literal["path", "namespace"],
        setting(
            "The room of Firebase clients: the first key of the path, or the namespace (the first label of the host, "
            "or ns in the query), so that the whole database is one room"
        ),
    ] = "path"
    firebase_inactivity: Annotated[
        float,
        seconds(
            "Time without a poll after which a Firebase client that polls counts as lost: it leaves its rooms, and the "
            "writes of its onDisconnect are made",
            ge=1,
            le=300,
        ),
    ] = 30.0
