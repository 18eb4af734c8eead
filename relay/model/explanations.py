"""The reasons, in words of the relay, for which JSON from a client is refused.

The errors of the parser have the names of Python's types, and other words with each of its versions.
"""

import re
from typing import Final

import msgspec

_TYPES: Final = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_UNITS: Final = {"str": "characters", "array": "items"}
_EXPECTED: Final = re.compile(
    r"Expected `([a-z| ]{1,60})`(?: of length (<=|>=) (\d+)| (<=|>=) (-?\d+))?(?:, got `([a-z]{1,10})`)?"
)
_PLACE: Final = re.compile(r" - at `\$\.?([^`]{0,100})`\Z")
_MISSING: Final = re.compile(r"Object missing required field `([A-Za-z_]{1,40})`")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `([A-Za-z0-9_.-]{1,40})`")
_BYTE: Final = re.compile(r"\(byte (\d{1,12})\)")
_OTHERWISE: Final = "it does not have the form that the protocol asks for"


def explain(error: msgspec.MsgspecError) -> str:
    """Return the reason why a value was refused, such as "key is text or null, and not a whole number".

    Texts of the parser that are not known get a general one.
    """
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return _explain_malformed(text)
    place = _PLACE.search(text)
    name = place[1] if place else ""
    missing = _MISSING.match(text)
    if missing:
        return f"{name}.{missing[1]} is missing" if name else f"{missing[1]} is missing"
    unknown = _UNKNOWN.match(text)
    if unknown:
        return f"{name or 'the value'} has no field {unknown[1]}"
    expected = _EXPECTED.match(text)
    if not expected:
        return _OTHERWISE
    kinds, direction, length, bound, limit, got = expected.groups()
    allowed = " or ".join([_TYPES.get(kind, kind) for kind in kinds.split(" | ")])
    text = f"{name or 'the value'} is {allowed}"
    if length:
        unit = _UNITS.get(kinds, "items")
        return f"{text} of {_amount(direction, length)} {unit.removesuffix('s') if length == '1' else unit}"
    if limit:
        return f"{text}, {_amount(bound, limit)}"
    return f"{text}, and not {_TYPES.get(got, got)}" if got else text


def explain_encoding(error: UnicodeDecodeError) -> str:
    """Return the reason why a text is not UTF-8."""
    return f"it is not UTF-8 at byte {error.start}"


def _explain_malformed(text: str) -> str:
    at = _BYTE.search(text)
    if at:
        return f"it is not valid JSON at byte {at[1]}"
    return "the JSON is not complete" if "truncated" in text else "it is not valid JSON"


def _amount(direction: str, number: str) -> str:
    return f"at {'most' if direction == '<=' else 'least'} {number}"
