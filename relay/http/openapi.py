"""The OpenAPI document of the HTTP edge.

It is written by hand; tests/integration/test_openapi.py sends generated requests and compares the responses with it.
Error codes, limits and patterns come from the declarations of the code.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from relay import __version__
from relay.http.rooms import DEFAULT_LIMIT, MAX_LIMIT
from relay.model.channels import MAX_LABEL
from relay.model.envelope import MAX_ADDRESSEES, MAX_KEY
from relay.model.errors import ERRORS, ErrorTable
from relay.model.member_info import MAX_INFO
from relay.model.names import MAX_ESCAPED, MAX_NAME

Json = dict[str, Any]

_NEXT: Final = "%[89AB][0-9A-F]"
_CHARACTER: Final = "|".join(
    (
        r"[A-Za-z0-9\-._~!*()+;=:@]",
        "%(?:2[02-7CF]|3[CEF]|5[B-E]|60|7[B-D])",
        f"%C2%[AB][0-9A-F]|%(?:C[3-9A-F]|D[0-9A-F]){_NEXT}",
        f"%E0%[AB][0-9A-F]{_NEXT}|%E[1-9A-CE]{_NEXT}{_NEXT}|%ED%[89][0-9A-F]{_NEXT}",
        f"%EF%(?:[89A][0-9A-F]|B[0-9A-E]){_NEXT}|%EF%BF%(?:[89A][0-9A-F]|B[0-9A-CEF])",
        f"%F0%[9AB][0-9A-F]{_NEXT}{_NEXT}|%F[1-3]{_NEXT}{_NEXT}{_NEXT}|%F4%8[0-9A-F]{_NEXT}{_NEXT}",
    )
)
"""One character of an escaped name: of the alphabet, or its UTF-8 (RFC 3629, section 4) percent-encoded."""

_ESCAPED: Final = f"^(?:{_CHARACTER}){{1,{MAX_NAME}}}$"
_TEXT: Final = rf"^[^\x00-\x1F\x7F-\x9F\uFFFD]{{1,{MAX_NAME}}}$"
_UNAVAILABLE: Final = ("unavailable", "outcome_unknown")
_STATUS_HEADERS: Final[dict[int, Json]] = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}}},
    503: {"Retry-After": {"required": True, "description": "Seconds.", "schema": {"type": "string"}}},
}


def _ref(schema: str) -> Json:
    return {"$ref": f"#/components/schemas/{schema}"}


def _object(required: str, properties: Mapping[str, Json | bool], description: str = "") -> Json:
    schema: Json = {"type": "object", "required": required.split(), "properties": properties}
    return schema | ({"description": description} if description else {})


def _json(schema: Json, description: str) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _errors(*codes: str) -> dict[str, Json]:
    """Describe the responses with these error codes, one for each HTTP status."""
    responses: dict[str, Json] = {}
    for status in sorted({ERRORS[code][0] for code in codes}):
        texts = {code: ERRORS[code][1] for code in codes if ERRORS[code][0] == status}
        code_schema = {"properties": {"error": {"properties": {"code": {"enum": list(texts)}}}}}
        response = _json(
            {"allOf": [_ref("Error"), code_schema]},
            "\n".join([f"{HTTPStatus(status).phrase}:", "", *(f"- `{code}`: {text}" for code, text in texts.items())]),
        )
        responses[str(status)] = response | ({"headers": _STATUS_HEADERS[status]} if status in _STATUS_HEADERS else {})
    return responses


def _scope(subject: str) -> Json:
    return {
        "name": "scope",
        "in": "query",
        "description": f"The {subject} of all workers behind this port, or of the one that got the request.",
        "schema": {"enum": ["all", "worker"], "default": "all"},
    }


_BOOLEAN: Final[Json] = {"type": "boolean"}
_COUNT: Final[Json] = {"type": "integer", "minimum": 0}
_STRING: Final[Json] = {"type": "string"}
_ROOM: Final[Json] = {"name": "room", "in": "path", "required": True, "schema": _ref("RoomText")}
_TOKEN: Final[list[Json]] = [{"adminToken": []}]

_NAMES: Final[dict[str, Json]] = {
    "RoomText": {
        "type": "string",
        "description": f"The text of a room's name; percent-encoded in the path, at most {MAX_ESCAPED} bytes.",
        "minLength": 1,
        "maxLength": MAX_NAME,
        "pattern": _TEXT,
        "not": {"enum": [".", ".."]},
        "examples": ["lobby", "main hall"],
    },
    "Room": {
        "type": "string",
        "description": "The escaped name of a room: the text, percent-encoded as in a path.",
        "minLength": 1,
        "maxLength": MAX_ESCAPED,
        "pattern": _ESCAPED,
        "not": {"enum": [".", ".."]},
        "examples": ["lobby", "main%20hall"],
    },
    "Peer": {
        "type": "string",
        "description": "The escaped name of a member.",
        "minLength": 1,
        "maxLength": MAX_ESCAPED,
        "pattern": _ESCAPED,
        "not": {"const": "%24server"},
        "examples": ["alice"],
    },
    "MessageId": {
        "type": "string",
        "description": "Position in the order of a room: epoch and number.",
        "pattern": "^[0-9]+-[0-9]+$",
    },
}

_HEALTH: Final[dict[str, Json]] = {
    "Check": _object("ok text seconds", {"ok": _BOOLEAN, "text": _STRING, "seconds": {"type": ["number", "null"]}}),
    "Readiness": _object(
        "status ready",
        {"status": {"enum": ["ready", "not_ready"]}, "ready": _BOOLEAN},
        "Whether clients may be sent here.",
    ),
    "WorkerHealth": {
        "allOf": [
            _ref("Readiness"),
            _object(
                "worker version uptime_seconds rooms connections draining checks",
                {
                    "worker": _STRING,
                    "version": _STRING,
                    "uptime_seconds": {"type": "number", "minimum": 0},
                    "rooms": _COUNT,
                    "connections": _COUNT,
                    "draining": _BOOLEAN,
                    "checks": {"type": "object", "additionalProperties": _ref("Check")},
                },
            ),
        ]
    },
    "SilentWorker": {
        "description": "A worker that did not answer the worker that got the request.",
        "allOf": [
            _ref("Readiness"),
            _object("checks", {"ready": {"const": False}, "checks": _object("answer", {"answer": _ref("Check")})}),
        ],
    },
    "PortHealth": {
        "description": "Several workers behind one port.",
        "allOf": [
            _ref("Readiness"),
            _object(
                "version connections draining workers",
                {
                    "version": _STRING,
                    "connections": _COUNT,
                    "draining": _BOOLEAN,
                    "workers": {
                        "type": "array",
                        "minItems": 1,
                        "items": {"anyOf": [_ref("WorkerHealth"), _ref("SilentWorker")]},
                    },
                },
            ),
        ],
    },
}

_ROOMS: Final[dict[str, Json]] = {
    "Presence": _object(
        "room present count",
        {
            "room": _ref("Room"),
            "present": _BOOLEAN,
            "count": _COUNT,
            "members": {
                "type": "array",
                "description": "Some members, sorted by name; missing without the admin token, if one is set.",
                "items": _object(
                    "peer",
                    {
                        "peer": _ref("Peer"),
                        "held": {"const": True, "description": "The member lost its connection and may still return."},
                        "info": {
                            "type": "object",
                            "description": f"The member info: at most {MAX_INFO} bytes of JSON.",
                        },
                    },
                ),
            },
        },
    ),
    "RoomList": _object(
        "rooms next total",
        {
            "rooms": {
                "type": "array",
                "maxItems": MAX_LIMIT,
                "items": _object("room members", {"room": _ref("Room"), "members": _COUNT}),
            },
            "next": {
                "description": "The value of `after` for the next page; null on the last page.",
                "anyOf": [_ref("Room"), {"type": "null"}],
            },
            "total": _COUNT,
        },
    ),
    "Envelope": _object(
        "",
        {
            "sender": {"description": "Any name that the sender gives itself."},
            "channel": {
                "description": "Receivers can ask for some channels only. An object or an array names no channel.",
                "type": ["string", "number", "boolean", "object", "array", "null"],
                "maxLength": MAX_LABEL,
            },
            "message": {"description": "Anything."},
            "to": {
                "description": "The peer ids of the receivers; without it, all members.",
                "anyOf": [
                    _ref("Peer"),
                    {"type": "array", "minItems": 1, "maxItems": MAX_ADDRESSEES, "items": _ref("Peer")},
                    {"type": "null"},
                ],
            },
            "key": {
                "description": "A second envelope with the same key is not delivered.",
                "type": ["string", "null"],
                "maxLength": MAX_KEY,
            },
            "from": False,
            "id": False,
            "room": False,
        },
        "The relay forwards it byte for byte and adds `from` and `id` at its end; it must not have these, nor `room`.",
    ),
    "Receipt": _object(
        "id repeat",
        {
            "id": _ref("MessageId"),
            "repeat": {
                "type": "boolean",
                "description": "The envelope was delivered before under this id, and is not delivered again.",
            },
        },
    ),
}

_SCHEMAS: Final[dict[str, Json]] = {
    **_NAMES,
    **_HEALTH,
    **_ROOMS,
    "Service": _object(
        "name version websocket health openapi",
        {
            "name": {"const": "relay"},
            "version": _STRING,
            "websocket": {"type": "array", "items": _STRING},
            "health": _STRING,
            "openapi": _STRING,
        },
    ),
}

_ABOUT_PATHS: Final[dict[str, Json]] = {
    "/": {
        "get": {
            "operationId": "about",
            "summary": "Description of the service; as a WebSocket, the default room",
            "responses": {
                "200": {
                    "description": "A short description; browsers, which accept HTML, get a page.",
                    "content": {"application/json": {"schema": _ref("Service")}, "text/html": {"schema": _STRING}},
                }
            },
        }
    },
    "/openapi.json": {
        "get": {
            "operationId": "openapi",
            "summary": "This document",
            "responses": {"200": _json({"type": "object"}, "OpenAPI 3.1.")},
        }
    },
    "/health": {
        "get": {
            "operationId": "health",
            "summary": "Whether clients may be sent here: readiness, for load balancers",
            "parameters": [_scope("health")],
            "responses": {
                "200": _json({"anyOf": [_ref("WorkerHealth"), _ref("PortHealth")]}, "Ready."),
                "503": _json({"anyOf": [_ref("WorkerHealth"), _ref("PortHealth")]}, "Not ready; the checks say why."),
                **_errors("bad_query"),
            },
        }
    },
    "/health/live": {
        "get": {
            "operationId": "live",
            "summary": "Whether the process answers: liveness, for container engines",
            "responses": {"200": _json(_object("status", {"status": {"const": "alive"}}), "The process answers.")},
        }
    },
    "/metrics": {
        "get": {
            "operationId": "metrics",
            "summary": "Metrics in Prometheus format; only on the admin port, if there is one",
            "parameters": [_scope("metrics")],
            "responses": {
                "200": {"description": "Metrics.", "content": {"text/plain": {"schema": _STRING}}},
                **_errors("bad_query", "not_found"),
            },
        }
    },
}

_ROOM_PATHS: Final[dict[str, Json]] = {
    "/rooms": {
        "get": {
            "operationId": "listRooms",
            "summary": "All rooms with members, sorted by name; off if no admin token is set",
            "security": _TOKEN,
            "parameters": [
                {
                    "name": "limit",
                    "in": "query",
                    "description": "Rooms on a page.",
                    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
                },
                {
                    "name": "after",
                    "in": "query",
                    "description": "Only rooms whose escaped name sorts after this one: the last answer's `next`.",
                    "schema": _ref("Room"),
                },
            ],
            "responses": {
                "200": _json(_ref("RoomList"), "One page."),
                **_errors("bad_query", "unauthorized", "forbidden", *_UNAVAILABLE),
            },
        }
    },
    "/rooms/{room}": {
        "parameters": [_ROOM],
        "get": {
            "operationId": "describeRoom",
            "summary": "The members of a room; as a WebSocket, the room",
            "security": [{}, *_TOKEN],
            "parameters": [
                {
                    "name": "limit",
                    "in": "query",
                    "description": "Members to list; by default as many as the setting presence-list-limit says.",
                    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
                }
            ],
            "responses": {
                "200": _json(_ref("Presence"), "A room without members has `present: false`."),
                **_errors("bad_room", "bad_query", "unauthorized", *_UNAVAILABLE),
            },
        },
        "post": {
            "operationId": "publish",
            "summary": "Publish an envelope to a room from a server; off if no admin token is set",
            "security": _TOKEN,
            "requestBody": {"required": True, "content": {"application/json": {"schema": _ref("Envelope")}}},
            "responses": {
                "200": _json(_ref("Receipt"), "The envelope has its position in the room."),
                **_errors(
                    "bad_room",
                    "bad_query",
                    "bad_json",
                    "bad_envelope",
                    "bad_peer",
                    "reserved_field",
                    "bad_origin",
                    "unauthorized",
                    "forbidden",
                    "no_such_peer",
                    "too_large",
                    "bad_content_type",
                    *_UNAVAILABLE,
                ),
            },
        },
    },
}


def document(gateway_errors: Mapping[str, ErrorTable]) -> Json:
    """Return the document; `gateway_errors` are the error codes that only one gateway uses, by its title."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Relay",
            "version": __version__,
            "description": "The HTTP side of a relay for WebRTC signaling and other small room messages.",
        },
        "paths": {**_ABOUT_PATHS, **_ROOM_PATHS},
        "components": {
            "schemas": {**_SCHEMAS, "Error": _error_schema(gateway_errors)},
            "securitySchemes": {
                "adminToken": {"type": "http", "scheme": "bearer", "description": "The setting `admin-token`."}
            },
        },
    }


def _error_schema(gateway_errors: Mapping[str, ErrorTable]) -> Json:
    codes: list[Json] = [{"enum": list(ERRORS)}]
    codes += [{"title": f"Only {title}", "enum": list(table)} for title, table in gateway_errors.items()]
    return _object(
        "error",
        {
            "error": _object(
                "code text",
                {"code": {"anyOf": codes}, "text": {"type": "string", "description": "For people."}},
                "Some codes have further fields: `no_such_peer` lists the `peers`.",
            )
        },
        "Every error has this format, for all paths and methods.",
    )
