"""The settings of the Firebase gateway."""

from typing import Annotated, Literal

from msgspec import Struct

from relay.config.declaring import setting


class FirebaseSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of an address is the room."""

    firebase_room: Annotated[
        Literal["path", "namespace"],
        setting(
            "The room of Firebase clients: the first key of the path, or the namespace (the first label of the host, "
            "or ns in the query), so that the whole database is one room"
        ),
    ] = "path"
