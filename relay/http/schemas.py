"""Parts of the OpenAPI document: how schemas and responses are written, and those of names and of health."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from relay.model.errors import ERRORS
from relay.model.names import MAX_ESCAPED, MAX_NAME

Json = dict[str, Any]

CHECKS: Final = ("answer", "bus", "draining", "fleet_key", "heartbeat", "memory", "redis", "subscription")
"""The checks of health; `answer` is that of a worker that did not answer the worker that got the request."""


def ref(schema: str) -> Json:
    """Refer to a schema of the document by its name."""
    return {"$ref": f"#/components/schemas/{schema}"}


def object_of(required: str, properties: Mapping[str, Json | bool], description: str = "") -> Json:
    """Describe an object; `required` are the names of the fields that it must have, with spaces between."""
    schema: Json = {"type": "object", "required": required.split(), "properties": properties}
    return schema | ({"description": description} if description else {})


_STATUS_HEADERS: Final[dict[int, Json]] = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}}},
    429: {"Retry-After": {"required": True, "description": "Seconds.", "schema": {"type": "string"}}},
    503: {"Retry-After": {"required": True, "description": "Seconds.", "schema": {"type": "string"}}},
}


def json_response(schema: Json, description: str) -> Json:
    """Describe a response in JSON."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def errors(*codes: str) -> dict[str, Json]:
    """Describe the responses with these error codes, one for each HTTP status."""
    responses: dict[str, Json] = {}
    for status in sorted({ERRORS[code][0] for code in codes}):
        texts = {code: ERRORS[code][1] for code in codes if ERRORS[code][0] == status}
        code_schema = {"properties": {"error": {"properties": {"code": {"enum": list(texts)}}}}}
        response = json_response(
            {"allOf": [ref("Error"), code_schema]},
            "\n".join([f"{HTTPStatus(status).phrase}:", "", *(f"- `{code}`: {text}" for code, text in texts.items())]),
        )
        responses[str(status)] = response | ({"headers": _STATUS_HEADERS[status]} if status in _STATUS_HEADERS else {})
    return responses


BOOLEAN: Final[Json] = {"type": "boolean"}
COUNT: Final[Json] = {"type": "integer", "minimum": 0}
STRING: Final[Json] = {"type": "string"}
UNAVAILABLE: Final = ("unavailable", "outcome_unknown")
TOKENS: Final = (
    "unauthorized",
    "too_many_attempts",
    "token_required",
    "bad_token",
    "token_expired",
    "token_not_yet_valid",
    "not_granted",
    "keys_unavailable",
)
"""The errors of a token: the admin token, or if auth is on that of a client."""

TOO_MANY: Final = "too_many_requests"
TOKEN: Final[list[Json]] = [{"adminToken": []}]
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
TEXT: Final = rf"^[^\x00-\x1F\x7F-\x9F\uFFFD]{{1,{MAX_NAME}}}$"

NAMES: Final[dict[str, Json]] = {
    "RoomText": {
        "type": "string",
        "description": f"The text of a room's name; percent-encoded in the path, at most {MAX_ESCAPED} bytes.",
        "minLength": 1,
        "maxLength": MAX_NAME,
        "pattern": TEXT,
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

HEALTH: Final[dict[str, Json]] = {
    "Check": object_of("ok text seconds", {"ok": BOOLEAN, "text": STRING, "seconds": {"type": ["number", "null"]}}),
    "Readiness": object_of(
        "status ready",
        {"status": {"enum": ["ready", "not_ready"]}, "ready": BOOLEAN},
        "Whether clients may be sent here.",
    ),
    "PublicHealth": {
        "description": "The public state of a port.",
        "allOf": [
            ref("Readiness"),
            object_of("reasons", {"reasons": {"type": "array", "items": {"enum": list(CHECKS)}}}),
        ],
    },
    "WorkerHealth": {
        "description": "One worker, for operators.",
        "allOf": [
            ref("Readiness"),
            object_of(
                "worker version build uptime_seconds rooms connections draining checks",
                {
                    "worker": STRING,
                    "version": STRING,
                    "build": {"enum": ["compiled", "pure Python"]},
                    "uptime_seconds": {"type": "number", "minimum": 0},
                    "rooms": COUNT,
                    "connections": COUNT,
                    "draining": BOOLEAN,
                    "checks": {"type": "object", "additionalProperties": ref("Check")},
                },
            ),
        ],
    },
    "SilentWorker": {
        "description": "A worker that did not answer the worker that got the request.",
        "allOf": [
            ref("Readiness"),
            object_of("checks", {"ready": {"const": False}, "checks": object_of("answer", {"answer": ref("Check")})}),
        ],
    },
    "PortHealth": {
        "description": "Several workers behind one port, for operators.",
        "allOf": [
            ref("Readiness"),
            object_of(
                "version connections draining workers",
                {
                    "version": STRING,
                    "connections": COUNT,
                    "draining": BOOLEAN,
                    "workers": {
                        "type": "array",
                        "minItems": 1,
                        "items": {"anyOf": [ref("WorkerHealth"), ref("SilentWorker")]},
                    },
                },
            ),
        ],
    },
}
