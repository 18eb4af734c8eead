"""The OpenAPI document of the HTTP edge.

It is written by hand; tests/integration/openapi_requests.py sends generated requests and compares the responses with
it. Error codes, limits and patterns come from the declarations of the code.
"""

from collections.abc import Mapping
from typing import Final

from relay import __version__
from relay.http.room_paths import ROOM_PATHS
from relay.http.room_schemas import ROOMS
from relay.http.schemas import (
    HEALTH,
    NAMES,
    STRING,
    TEXT,
    TOKEN,
    TOKENS,
    TOO_MANY,
    Json,
    errors,
    json_response,
    object_of,
    ref,
)
from relay.model.errors import ERRORS, ErrorTable
from relay.model.ice import MAX_SERVERS, MAX_URLS
from relay.model.names import MAX_NAME


def _scope(subject: str) -> Json:
    return {
        "name": "scope",
        "in": "query",
        "description": f"The {subject} of all workers behind this port, or of the one that got the request.",
        "schema": {"enum": ["all", "worker"], "default": "all"},
    }


_TURN: Final[dict[str, Json]] = {
    "IceServers": object_of(
        "iceServers ttl",
        {
            "iceServers": {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_SERVERS + 1,
                "items": object_of(
                    "urls",
                    {
                        "urls": {
                            "anyOf": [
                                STRING,
                                {"type": "array", "minItems": 1, "maxItems": MAX_URLS, "items": STRING},
                            ]
                        },
                        "username": STRING,
                        "credential": STRING,
                    },
                ),
            },
            "ttl": {"type": "integer", "minimum": 1, "description": "Seconds until the credential of TURN ends."},
        },
        "STUN and TURN servers, as `RTCPeerConnection` takes them.",
    ),
}

_SCHEMAS: Final[dict[str, Json]] = {
    **NAMES,
    **_TURN,
    **HEALTH,
    **ROOMS,
    "Service": object_of(
        "name version websocket health openapi",
        {
            "name": {"const": "relay"},
            "version": STRING,
            "websocket": {"type": "array", "items": STRING},
            "health": STRING,
            "openapi": STRING,
        },
    ),
}

_ANY_HEALTH: Final[Json] = {"anyOf": [ref("PublicHealth"), ref("WorkerHealth"), ref("PortHealth")]}

_ABOUT_PATHS: Final[dict[str, Json]] = {
    "/": {
        "get": {
            "operationId": "about",
            "summary": "Description of the service; as a WebSocket, the default room",
            "responses": {
                "200": {
                    "description": "A short description; browsers, which accept HTML, get a page.",
                    "content": {"application/json": {"schema": ref("Service")}, "text/html": {"schema": STRING}},
                },
                **errors(TOO_MANY),
            },
        }
    },
    "/openapi.json": {
        "get": {
            "operationId": "openapi",
            "summary": "This document",
            "responses": {"200": json_response({"type": "object"}, "OpenAPI 3.1."), **errors(TOO_MANY)},
        }
    },
    "/health": {
        "get": {
            "operationId": "health",
            "summary": "Whether clients may be sent here: readiness, for load balancers; with details for operators",
            "security": [{}, *TOKEN],
            "parameters": [_scope("health")],
            "responses": {
                "200": json_response(_ANY_HEALTH, "Ready."),
                "503": json_response(_ANY_HEALTH, "Not ready; the checks say why."),
                **errors("bad_query"),
            },
        }
    },
    "/health/live": {
        "get": {
            "operationId": "live",
            "summary": "Whether the process answers: liveness, for container engines",
            "responses": {
                "200": json_response(object_of("status", {"status": {"const": "alive"}}), "The process answers.")
            },
        }
    },
    "/metrics": {
        "get": {
            "operationId": "metrics",
            "summary": "Metrics in Prometheus format, for operators; only on the admin port, if there is one",
            "security": [{}, *TOKEN],
            "parameters": [_scope("metrics")],
            "responses": {
                "200": {"description": "Metrics.", "content": {"text/plain": {"schema": STRING}}},
                **errors("bad_query", *TOKENS, "forbidden", "not_found", TOO_MANY),
            },
        }
    },
}

_TURN_PATHS: Final[dict[str, Json]] = {
    "/turn": {
        "get": {
            "operationId": "turn",
            "summary": "STUN and TURN servers with a credential that ends by itself; for holders of tokens",
            "security": TOKEN,
            "parameters": [
                {
                    "name": "peer",
                    "in": "query",
                    "description": "The peer id in the credential's username, as text; without it, a random one.",
                    "schema": {"type": "string", "maxLength": MAX_NAME, "pattern": TEXT.replace("{1,", "{0,")},
                }
            ],
            "responses": {
                "200": json_response(ref("IceServers"), "The servers."),
                **errors("bad_peer", "bad_query", *TOKENS, "wrong_peer", "forbidden", "not_found", TOO_MANY),
            },
        }
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
        "paths": {**_ABOUT_PATHS, **_TURN_PATHS, **ROOM_PATHS},
        "components": {
            "schemas": {**_SCHEMAS, "Error": _error_schema(gateway_errors)},
            "securitySchemes": {
                "adminToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The setting `admin-token`; if auth is on, also a client's.",
                }
            },
        },
    }


def _error_schema(gateway_errors: Mapping[str, ErrorTable]) -> Json:
    codes: list[Json] = [{"enum": list(ERRORS)}]
    codes += [{"title": f"Only {title}", "enum": list(table)} for title, table in gateway_errors.items()]
    return object_of(
        "error",
        {
            "error": object_of(
                "code text",
                {"code": {"anyOf": codes}, "text": {"type": "string", "description": "For people."}},
                "Some codes have further fields: `no_such_peer` lists the `peers`.",
            )
        },
        "Every error has this format, for all paths and methods.",
    )
