"""Parts of the OpenAPI document: the schemas of rooms, their members and their rules."""

from typing import Final

from relay.http.bodies import MAX_ROOMS
from relay.http.rooms import MAX_LIMIT
from relay.http.schemas import BOOLEAN, COUNT, Json, object_of, ref
from relay.http.subjects import MAX_PLACES
from relay.model.channels import MAX_LABEL
from relay.model.envelope_head import MAX_ADDRESSEES, MAX_KEY
from relay.model.member_info import MAX_INFO
from relay.model.names import MAX_NAME
from relay.model.rules import MAX_BAN, MAX_PASSWORD, MAX_REASON, MAX_RULE_MEMBERS, MAX_RULE_TTL

SUBJECT: Final[Json] = {
    "type": "string",
    "description": "The subject of a token (claim `sub`).",
    "minLength": 1,
    "maxLength": MAX_NAME,
}


def _kick(name: str, schema: Json, other: str) -> Json:
    """Describe a kick of the members that one of the two fields names."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name],
        "properties": {
            name: schema,
            other: {"type": "null"},
            "reason": {"type": "string", "maxLength": MAX_REASON, "description": "The members are told."},
            "ban": {
                "type": "integer",
                "minimum": 0,
                "maximum": MAX_BAN,
                "description": "Seconds for which the client may not come back.",
            },
        },
    }


ROOMS: Final[dict[str, Json]] = {
    "Presence": object_of(
        "room present count rules",
        {
            "room": ref("Room"),
            "present": BOOLEAN,
            "count": COUNT,
            "rules": ref("RoomRules"),
            "members": {
                "type": "array",
                "description": "Some members, sorted by name; missing without the admin token.",
                "items": object_of(
                    "peer",
                    {
                        "peer": ref("Peer"),
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
    "RoomList": object_of(
        "rooms next total",
        {
            "rooms": {
                "type": "array",
                "maxItems": MAX_LIMIT,
                "items": object_of("room members", {"room": ref("Room"), "members": COUNT}),
            },
            "next": {
                "description": "The value of `cursor` for the next page; null on the last page. Only null ends the "
                "list: a page may be empty.",
                "anyOf": [ref("Room"), {"type": "null"}],
            },
            "total": COUNT
            | {
                "description": "How many rooms begin with the prefix; where the list has several pages, a room counts "
                "once for each worker that has members of it."
            },
            "incomplete": {
                "const": True,
                "description": "A part of the Redis Cluster did not answer: its rooms are missing, also in `total`.",
            },
            "reason": {"type": "string", "description": "Why rooms are missing, for operators."},
        },
    ),
    "Envelope": object_of(
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
                    ref("Peer"),
                    {"type": "array", "minItems": 1, "maxItems": MAX_ADDRESSEES, "items": ref("Peer")},
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
    "Receipt": object_of(
        "id repeat",
        {
            "id": ref("MessageId"),
            "repeat": {
                "type": "boolean",
                "description": "The envelope was delivered before under this id, and is not delivered again.",
            },
        },
    ),
    "RoomReceipt": {"allOf": [object_of("room", {"room": ref("Room")}), ref("Receipt")]},
    "RoomRules": object_of(
        "max_members locked password ttl history",
        {
            "max_members": {"type": ["integer", "null"], "minimum": 1, "description": "The most members."},
            "locked": {"type": "boolean", "description": "Nobody new comes in; a member that is held may return."},
            "password": {"type": "boolean", "description": "Whether a new member needs a password."},
            "ttl": {
                "type": ["integer", "null"],
                "minimum": 1,
                "description": "Seconds for which the rules outlive the last member.",
            },
            "history": {"type": "boolean", "description": "Whether missed messages are replayed."},
            "owner": {
                "description": "The peer id of the owner; missing where members are not named.",
                "anyOf": [ref("Peer"), {"type": "null"}],
            },
        },
        "The rules of a room; where they say null, the settings of the relay count.",
    ),
    "RuleChange": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "max_members": {"type": ["integer", "null"], "minimum": 0, "maximum": MAX_RULE_MEMBERS},
            "locked": {"type": ["boolean", "null"]},
            "password": {
                "type": ["string", "null"],
                "maxLength": MAX_PASSWORD,
                "description": "Empty text removes it.",
            },
            "ttl": {"type": ["integer", "null"], "minimum": 0, "maximum": MAX_RULE_TTL},
            "history": {"type": ["boolean", "null"]},
            "owner": {
                "description": "A peer id; empty text removes the owner.",
                "anyOf": [ref("Peer"), {"const": ""}, {"type": "null"}],
            },
        },
        "description": "A change of rules. Those that are missing or null stay as they are; with 0, the settings of "
        "the relay count again.",
    },
    "RulesOfRoom": object_of("room rules", {"room": ref("Room"), "rules": ref("RoomRules")}),
    "PartError": {
        "description": "The error about one room; the others are not affected.",
        "allOf": [object_of("room", {"room": ref("Room")}), ref("Error")],
    },
    "Kick": {
        "description": "Whom to put out: one peer, or all members whose tokens have a subject.",
        "oneOf": [_kick("peer", ref("Peer"), "subject"), _kick("subject", SUBJECT, "peer")],
    },
    "Move": {
        "type": "object",
        "additionalProperties": False,
        "required": ["to"],
        "properties": {
            "to": ref("Room"),
            "peers": {
                "description": "Without them, all members are sent.",
                "anyOf": [
                    {"type": "array", "minItems": 1, "maxItems": MAX_ADDRESSEES, "items": ref("Peer")},
                    {"type": "null"},
                ],
            },
        },
    },
    "NewRooms": {
        "type": "object",
        "additionalProperties": False,
        "required": ["rooms"],
        "properties": {
            "rooms": {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_ROOMS,
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["room"],
                    "properties": {"room": ref("Room"), "rules": ref("RuleChange")},
                },
            }
        },
    },
    "Publication": {
        "type": "object",
        "additionalProperties": False,
        "required": ["rooms", "envelope"],
        "properties": {
            "rooms": {"type": "array", "minItems": 1, "maxItems": MAX_ROOMS, "items": ref("Room")},
            "envelope": ref("Envelope"),
        },
    },
    "Places": object_of(
        "subject places more",
        {
            "subject": SUBJECT,
            "places": {
                "type": "array",
                "maxItems": MAX_PLACES,
                "items": object_of("room peer", {"room": ref("Room"), "peer": ref("Peer")}),
            },
            "more": {"type": "boolean", "description": "Whether there are further places."},
        },
        "The rooms in which a subject is connected, and its peer id there.",
    ),
}
