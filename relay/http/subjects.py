"""`/subjects/{subject}`: the rooms in which the holder of a token is connected, and as which peers."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from relay.http.request import read_query, require_admin, worker_of
from relay.http.responses import ApiResponse
from relay.model.errors import Refused
from relay.model.names import MAX_NAME

MAX_PLACES: Final = 100
"""Rooms that one answer lists."""


class SubjectEndpoint:
    """Tells where a subject is; it needs the admin token, and is off without tokens."""

    async def get(self, request: Request) -> Response:
        """Answer with the rooms and peers, of which `more` says that the list is not complete."""
        await require_admin(request, "asking for subjects")
        worker = worker_of(request.scope)
        if worker.authority.is_off:
            raise Refused("forbidden", "no client has a subject, as the setting auth (RELAY_AUTH) is off")
        read_query(request)
        subject: str = request.path_params["subject"]
        if not 1 <= len(subject) <= MAX_NAME or "\ufffd" in subject:
            raise Refused("bad_query", f"a subject is text of 1 to {MAX_NAME} characters, percent-encoded as UTF-8")
        places = await worker.subjects.find(subject, MAX_PLACES + 1)
        listed = [{"room": one.room, "peer": one.peer} for one in places[:MAX_PLACES]]
        return ApiResponse({"subject": subject, "places": listed, "more": len(places) > MAX_PLACES})
