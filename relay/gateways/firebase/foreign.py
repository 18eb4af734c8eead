"""Messages of other protocols as values: a page that gets keys which no value may have throws an error."""

from typing import Any, Final

import msgspec

from relay.gateways.firebase.places import legal_key

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


def as_value(content: bytes) -> bytes:
    """Return a message, in JSON, as a value: characters that keys may not have are percent-encoded.

    Children whose key is empty are left out.
    """
    return _encode(_with_legal_keys(_decode(content))) if b"{" in content else content


def _with_legal_keys(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_legal_keys(child) for child in value]
    if isinstance(value, dict):
        return {legal_key(key.replace("/", "%2F")): _with_legal_keys(child) for key, child in value.items() if key}
    return value
