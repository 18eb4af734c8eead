"""`/publish`: one envelope for the members of many rooms."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from relay.config import Settings
from relay.http.bodies import MAX_BODY, PublishBody, checked_rooms, read_body
from relay.http.request import read_query, require_token, worker_of
from relay.http.responses import ApiResponse, failed
from relay.http_request import check_origin, counted_client
from relay.identity.grants import Grants, Right
from relay.model.envelope import read_envelope
from relay.model.errors import Refused, RelayError
from relay.model.json_text import read_leniently
from relay.model.names import SERVER
from relay.model.publication import Receipt
from relay.rooms.worker import Worker


class PublishEndpoint:
    """Publishes an envelope to rooms, each of which gets its id for it, or its error."""

    def __init__(self, settings: Settings) -> None:
        self._max_message = settings.max_message

    async def serve(self, request: Request) -> Response:
        """Answer with the outcome for each room, in the order of the request; a room that is named twice counts once.

        An envelope that cannot be read is an error of the whole request.
        """
        worker = worker_of(request.scope)
        check_origin(request.scope, worker.origins)
        grants = await require_token(request, "publishing over HTTP")
        read_query(request)
        body = await read_body(request, PublishBody, self._max_message + MAX_BODY)
        envelope = bytes(body.envelope)
        if len(envelope) > self._max_message:
            raise Refused("too_large", f"the envelope has {len(envelope)} bytes; at most {self._max_message}")
        rooms = checked_rooms(dict.fromkeys(body.rooms))
        right = right_to_send(envelope)
        granted = [room for room in rooms if grants.allow(right, room)]
        outcomes = await worker.publish_to_rooms(
            granted, envelope, sender_of(worker, grants), grants=grants, address=counted_client(request.scope)
        )
        by_room = dict(zip(granted, outcomes, strict=True))
        results = [_result(request, room, by_room.get(room) or _refusal(right, room)) for room in rooms]
        return ApiResponse({"rooms": results})


def right_to_send(envelope: bytes) -> Right:
    """Return the right that it takes to send an envelope; raises `BadFrame` for one that cannot be read."""
    return Right.SEND_DIRECT if read_leniently(read_envelope, envelope).to else Right.PUBLISH


def sender_of(worker: Worker, grants: Grants) -> str:
    """Return the sender of an envelope: the server, or the holder of a token, which has no server's name."""
    return SERVER if grants.admin else grants.peer("", worker.random.peer_id)


def _refusal(right: Right, room: str) -> Refused:
    return Refused("not_granted", f"the token does not grant {right} in this room", room=room)


def _result(request: Request, room: str, outcome: Receipt | RelayError) -> dict[str, Any]:
    if isinstance(outcome, RelayError):
        return {"room": room, **failed(request, outcome)}
    return {"room": room, "id": str(outcome.id), "repeat": outcome.repeat}
