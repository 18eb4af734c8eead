"""Splits SIP messages into start line, header fields and body, and puts them together again.

The bytes of each field are kept, so that everything else is copied as it was written: folded lines, short
names, the order of fields, unknown ones.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Self

from relay.gateways.sip.fields import (
    Address,
    BadField,
    Sequence,
    Uri,
    Via,
    is_token,
    read_address,
    read_number,
    read_sequence,
    read_uri,
    read_via,
    split_list,
)

MOST_HEAD: Final = 32_768
"""Bytes of the start line and the fields of a message."""

MOST_FIELDS: Final = 200
"""Fields of a message."""

DEFAULT_HOPS: Final = 70
"""The value of Max-Forwards of a request that has none (RFC 3261, section 16.6)."""

_VERSION: Final = "SIP/2.0"
_LONG_NAMES: Final = {
    "a": "accept-contact", "b": "referred-by", "c": "content-type", "d": "request-disposition", "e": "content-encoding",
    "f": "from", "i": "call-id", "j": "reject-contact", "k": "supported", "l": "content-length", "m": "contact",
    "o": "event", "r": "refer-to", "s": "subject", "t": "to", "u": "allow-events", "v": "via", "x": "session-expires",
}  # fmt: skip
"""Short name of a field → its name."""

_SINGLE: Final = ("to", "from", "call-id", "cseq", "max-forwards", "content-length", "content-type")
"""Fields that a message has once at most."""

_is_request: Final = re.compile(r"(\S+) (\S+) (SIP/\d+\.\d+)", re.IGNORECASE).fullmatch
_is_response: Final = re.compile(r"SIP/2\.0 ([1-6][0-9]{2})(?: [^\r\n]*)?", re.IGNORECASE).fullmatch


class NotSip(ValueError):
    """The bytes are no SIP message, or one that nobody can answer; the text says why."""


@dataclass(frozen=True, slots=True)
class Field:
    """One header field: its lower-case long name, its value without folds, and its bytes as they were written."""

    name: str
    value: str
    raw: bytes


@dataclass(frozen=True)
class SipMessage:
    """A message. The parts that its properties read may be wrong: they raise `BadField`, and `check` reads them all."""

    start: str
    fields: tuple[Field, ...]
    body: bytes

    def values(self, name: str) -> list[str]:
        """Return the values of all fields of this lower-case name, each as it is written."""
        return [field.value for field in self.fields if field.name == name]

    def value(self, name: str) -> str:
        """Return the value of the first field of this name; "" if there is none."""
        return next((field.value for field in self.fields if field.name == name), "")

    @cached_property
    def via(self) -> Via:
        """The first value of the first Via: the element that is to get the response."""
        return read_via(split_list(self.value("via"))[0])

    @cached_property
    def sender(self) -> Address:
        """The From."""
        return read_address(self.value("from"))

    @cached_property
    def to(self) -> Address:
        """The To."""
        return read_address(self.value("to"))

    @cached_property
    def sequence(self) -> Sequence:
        """The CSeq."""
        return read_sequence(self.value("cseq"))

    @property
    def call(self) -> str:
        """The Call-ID."""
        return self.value("call-id")

    def encode(self) -> bytes:
        """Return the bytes of the message."""
        return b"%b\r\n%b\r\n%b" % (self.start.encode(), b"".join([field.raw for field in self.fields]), self.body)

    def with_via(self, value: str) -> Self:
        """Return the message with one more Via in front of all fields."""
        return replace(self, fields=(new_field("Via", value), *self.fields))

    def without_via(self) -> Self:
        """Return the message without the first value of its first Via."""
        number = next(index for index, field in enumerate(self.fields) if field.name == "via")
        rest = split_list(self.fields[number].value)[1:]
        kept = (new_field("Via", ", ".join(rest)),) if rest else ()
        return replace(self, fields=(*self.fields[:number], *kept, *self.fields[number + 1 :]))

    def only(self, keeps: Callable[[Field], bool]) -> Self:
        """Return the message with those fields alone."""
        return replace(self, fields=tuple(field for field in self.fields if keeps(field)))

    def check(self) -> None:
        """Raise `BadField` unless the message has all that a response to it, or its way, depends on."""
        for name in _SINGLE:
            if len(self.values(name)) > 1:
                raise BadField(f"more than one {name}")
        if not self.call or len(self.call.split()) != 1:
            raise BadField("no Call-ID")
        _read_all(self.via, self.sender, self.to, self.sequence)


class SipRequest(SipMessage):
    """A request."""

    @property
    def method(self) -> str:
        """The method; methods are in capitals."""
        return self.start.partition(" ")[0]

    @cached_property
    def uri(self) -> Uri:
        """The Request-URI."""
        return read_uri(self.start.split(" ")[1])

    @property
    def hops(self) -> int:
        """How many more times the request may be forwarded."""
        text = self.value("max-forwards")
        return read_number(text, 255) if text else DEFAULT_HOPS

    @property
    def transaction(self) -> tuple[str, str, str, int]:
        """The key of the transaction, which an INVITE shares with its CANCEL, and with its ACK after a refusal."""
        return self.via.branch, self.via.host, self.call, self.sequence.number

    def check(self) -> None:
        """As `SipMessage.check`; raises `BadField` as well where the CSeq has another method."""
        super().check()
        if self.sequence.method != self.method:
            raise BadField("the CSeq has another method")
        _read_all(self.uri, self.hops)

    def to_uri(self, uri: str) -> Self:
        """Return the request with another Request-URI."""
        return replace(self, start=f"{self.method} {uri} {_VERSION}")

    def forwarded(self) -> Self:
        """Return the request with one hop less."""
        counted = new_field("Max-Forwards", str(self.hops - 1))
        fields = [counted if field.name == counted.name else field for field in self.fields]
        return replace(self, fields=tuple(fields) if counted in fields else (*fields, counted))


class SipResponse(SipMessage):
    """A response."""

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.start.split(" ", 2)[1])


def _read_all(*_: object) -> None:
    """Do nothing with values that were read for the errors alone."""


def new_field(name: str, value: str) -> Field:
    """Make a field."""
    return Field(name.lower(), value, f"{name}: {value}\r\n".encode())


def request(method: str, uri: str, fields: Iterable[tuple[str, str]], body: bytes = b"") -> SipRequest:
    """Make a request."""
    made = tuple(new_field(name, value) for name, value in (*fields, ("Content-Length", str(len(body)))))
    return SipRequest(f"{method} {uri} {_VERSION}", made, body)


def response(status: int, reason: str, fields: Iterable[Field]) -> SipResponse:
    """Make a response without a body."""
    return SipResponse(f"{_VERSION} {status} {reason}", (*fields, new_field("Content-Length", "0")), b"")


def read_message(data: bytes) -> SipRequest | SipResponse:
    """Split a message; of its fields, only the Content-Length is read. Raises `NotSip`, or `BadField`.

    `BadField` comes with the message itself where a length or a field is wrong, as `BadField.args[1]`.
    """
    data = data.lstrip(b"\r\n")
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        head, body = head.removesuffix(b"\r\n"), b""
    if len(head) > MOST_HEAD:
        raise NotSip(f"its fields have more than {MOST_HEAD} bytes")
    start, _, rest = head.partition(b"\r\n")
    kind, line = _read_start(start)
    fields = _read_fields(rest)
    return _with_body(kind(line, tuple(fields), body))


def _read_start(start: bytes) -> tuple[type[SipRequest] | type[SipResponse], str]:
    try:
        line = start.decode()
    except UnicodeDecodeError:
        raise NotSip("it is not UTF-8") from None
    if _is_response(line):
        return SipResponse, line
    # A request whose first line has white space too much is still answered.
    method, _, after = line.partition(" ")
    uri, _, version = after.strip().rpartition(" ")
    if not is_token(method) or not version.upper().startswith("SIP/"):
        raise NotSip("it does not begin as a SIP message")
    if _is_request(line):
        return SipRequest, line
    return SipRequest, f"{method} <{uri.replace(' ', '')}> {version}"


def _read_fields(text: bytes) -> list[Field]:
    fields: list[Field] = []
    lines = text.split(b"\r\n") if text else []
    number = 0
    while number < len(lines):
        last = number + 1
        while last < len(lines) and lines[last][:1] in (b" ", b"\t"):
            last += 1
        fields.append(_read_field(lines[number:last]))
        if len(fields) > MOST_FIELDS:
            raise NotSip(f"it has more than {MOST_FIELDS} fields")
        number = last
    return fields


def _read_field(lines: list[bytes]) -> Field:
    try:
        name, colon, value = b" ".join([line.strip(b" \t") for line in lines]).decode().partition(":")
    except UnicodeDecodeError:
        raise NotSip("it is not UTF-8") from None
    name = name.rstrip(" \t").lower()
    if not colon or not is_token(name) or "\r" in value or "\n" in value:
        raise NotSip("a line of it is no field")
    return Field(_LONG_NAMES.get(name, name), value.strip(" \t"), b"".join([line + b"\r\n" for line in lines]))


def _with_body(message: SipRequest | SipResponse) -> SipRequest | SipResponse:
    """Return the message with as much of its body as its Content-Length says; the rest is dropped."""
    length = message.value("content-length")
    if not length:
        return message
    try:
        size = read_number(length, 2**31)
        if size > len(message.body):
            raise BadField("the Content-Length is larger than the body")
    except BadField as error:
        raise BadField(str(error), replace(message, body=b"")) from None
    return message if size == len(message.body) else replace(message, body=message.body[:size])
