"""Parts of the OpenAPI document: the paths of rooms, and of their members."""

from typing import Final

from relay.http.bodies import MAX_ROOMS
from relay.http.room_schemas import SUBJECT
from relay.http.rooms import DEFAULT_LIMIT, MAX_LIMIT
from relay.http.schemas import (
    BOOLEAN,
    COUNT,
    TEXT,
    TOKEN,
    TOKENS,
    TOO_MANY,
    UNAVAILABLE,
    Json,
    errors,
    json_response,
    object_of,
    ref,
)
from relay.model.names import MAX_NAME
from relay.model.rules import MAX_REASON

_ROOM: Final[Json] = {"name": "room", "in": "path", "required": True, "schema": ref("RoomText")}

_NEW_ROOM: Final = ("too_many_new_rooms", "memory_low")


def _body(schema: str) -> Json:
    return {"required": True, "content": {"application/json": {"schema": ref(schema)}}}


def _cursor(name: str, description: str) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": ref("Room")}


def _outcomes(schema: str) -> Json:
    """Describe an answer about several rooms."""
    items = {"anyOf": [ref(schema), ref("PartError")]}
    return object_of("rooms", {"rooms": {"type": "array", "minItems": 1, "maxItems": MAX_ROOMS, "items": items}})


def _errors(*codes: str) -> dict[str, Json]:
    """Describe the errors of a request that changes something."""
    return errors(*codes, "bad_origin", *TOKENS, "forbidden", TOO_MANY, *UNAVAILABLE)


def _changing(*codes: str) -> dict[str, Json]:
    """Describe the errors of a request that changes something, and has a body."""
    return _errors("bad_room", "bad_query", "bad_json", "bad_body", *codes, "too_large", "bad_content_type")


ROOM_PATHS: Final[dict[str, Json]] = {
    "/rooms": {
        "get": {
            "operationId": "listRooms",
            "summary": "All rooms with members, sorted by name; off if there are no tokens",
            "security": TOKEN,
            "parameters": [
                {
                    "name": "limit",
                    "in": "query",
                    "description": "Rooms on a page.",
                    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
                },
                {
                    "name": "prefix",
                    "in": "query",
                    "description": "Only rooms whose names begin with this text.",
                    "schema": {"type": "string", "maxLength": MAX_NAME, "pattern": TEXT.replace("{1,", "{0,")},
                },
                _cursor("cursor", "Only rooms whose escaped name sorts after this one: the last answer's `next`."),
                _cursor("after", "An older name of `cursor`, which counts where both are given."),
            ],
            "responses": {
                "200": json_response(ref("RoomList"), "One page."),
                **errors("bad_query", *TOKENS, "forbidden", TOO_MANY, *UNAVAILABLE),
            },
        },
        "post": {
            "operationId": "makeRooms",
            "summary": f"Make up to {MAX_ROOMS} rooms with their rules, or change the rules of those that exist",
            "security": TOKEN,
            "requestBody": _body("NewRooms"),
            "responses": {
                "200": json_response(_outcomes("RulesOfRoom"), "The rules of each room, or its error, in order."),
                **_changing("bad_peer"),
            },
        },
    },
    "/rooms/{room}": {
        "parameters": [_ROOM],
        "get": {
            "operationId": "describeRoom",
            "summary": "The number of members of a room, with the token their names; as a WebSocket, the room",
            "security": [{}, *TOKEN],
            "parameters": [
                {
                    "name": "limit",
                    "in": "query",
                    "description": "Members to list; by default as many as the setting presence-list-limit says.",
                    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
                }
            ],
            "responses": {
                "200": json_response(ref("Presence"), "A room without members has `present: false`."),
                **errors("bad_room", "bad_query", *TOKENS, TOO_MANY, *UNAVAILABLE),
            },
        },
        "post": {
            "operationId": "publish",
            "summary": "Publish an envelope to a room from a server; off if there are no tokens",
            "security": TOKEN,
            "requestBody": {"required": True, "content": {"application/json": {"schema": ref("Envelope")}}},
            "responses": {
                "200": json_response(ref("Receipt"), "The envelope has its position in the room."),
                **errors(
                    "bad_room",
                    "bad_query",
                    "bad_json",
                    "bad_envelope",
                    "bad_peer",
                    "reserved_field",
                    "bad_origin",
                    *TOKENS,
                    "forbidden",
                    "banned",
                    "no_such_room",
                    *_NEW_ROOM,
                    TOO_MANY,
                    "no_such_peer",
                    "too_large",
                    "bad_content_type",
                    *UNAVAILABLE,
                ),
            },
        },
        "put": {
            "operationId": "changeRules",
            "summary": "Change the rules of a room, which need not have members; off if there are no tokens",
            "security": TOKEN,
            "requestBody": _body("RuleChange"),
            "responses": {
                "200": json_response(ref("RulesOfRoom"), "All rules of the room, as they are now."),
                **_changing("bad_peer", *_NEW_ROOM),
            },
        },
        "delete": {
            "operationId": "closeRoom",
            "summary": "Put all members out of a room, and forget its rules; off if there are no tokens",
            "security": TOKEN,
            "parameters": [
                {
                    "name": "reason",
                    "in": "query",
                    "description": "The members are told.",
                    "schema": {"type": "string", "maxLength": MAX_REASON},
                }
            ],
            "responses": {
                "200": json_response(
                    object_of("room members", {"room": ref("Room"), "members": COUNT}),
                    "The number of members that were put out; 0 also for a room that does not exist.",
                ),
                **_errors("bad_room", "bad_query"),
            },
        },
    },
    "/rooms/{room}/kick": {
        "parameters": [_ROOM],
        "post": {
            "operationId": "kick",
            "summary": "Put members out of a room, and keep them out for a while; off if there are no tokens",
            "security": TOKEN,
            "requestBody": _body("Kick"),
            "responses": {
                "200": json_response(
                    object_of("room kicked", {"room": ref("Room"), "kicked": BOOLEAN}),
                    "Whether somebody was put out; with `ban`, nobody need have been there.",
                ),
                **_changing("bad_peer", "no_such_peer", *_NEW_ROOM),
            },
        },
    },
    "/rooms/{room}/move": {
        "parameters": [_ROOM],
        "post": {
            "operationId": "move",
            "summary": "Send members of a room to another one; off if there are no tokens",
            "security": TOKEN,
            "requestBody": _body("Move"),
            "responses": {
                "200": json_response(
                    object_of("room to moved", {"room": ref("Room"), "to": ref("Room"), "moved": COUNT}),
                    "The number of members that are sent.",
                ),
                **_changing("bad_peer", "already_joined"),
            },
        },
    },
    "/publish": {
        "post": {
            "operationId": "publishToMany",
            "summary": f"Publish an envelope to up to {MAX_ROOMS} rooms; off if there are no tokens",
            "security": TOKEN,
            "requestBody": _body("Publication"),
            "responses": {
                "200": json_response(
                    _outcomes("RoomReceipt"),
                    "The receipt of each room, or its error; a room that is named twice has one.",
                ),
                **_changing("bad_envelope", "bad_peer", "reserved_field"),
            },
        },
    },
    "/subjects/{subject}": {
        "parameters": [{"name": "subject", "in": "path", "required": True, "schema": SUBJECT}],
        "get": {
            "operationId": "findSubject",
            "summary": "The rooms in which the holder of a token is connected; off without auth",
            "security": TOKEN,
            "responses": {
                "200": json_response(ref("Places"), "A subject that is not connected has no places."),
                **errors("bad_query", *TOKENS, "forbidden", TOO_MANY, *UNAVAILABLE),
            },
        },
    },
}
