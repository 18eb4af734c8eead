"""The size of one connection's requests: every byte before the application counts against a bound."""

from typing import Final

MAX_HEAD: Final = 65_536
"""Bytes of a request before its body."""

MAX_HEADERS: Final = 256
"""Headers of a request: small ones cost far more memory than their bytes."""

_FRAMING: Final = 16_384
"""Bytes of chunk sizes, chunk extensions and trailers of one body."""

_BODY_PER_FRAMING: Final = 8
"""So many bytes of the body allow one more; a chunk of 64 bytes takes 8."""

_PIECE: Final = 16_384
"""Bytes that the parser gets at once: as much work is done before the next check."""


class TooMuch(ValueError):
    """A request is too large; `limit` names the limit (`relay.wire.notices`)."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


class RequestSize:
    """Counts the bytes of one connection's requests; its methods raise `TooMuch`.

    `in_head` is True between two requests and while a head arrives, `head` says how many bytes of it have arrived,
    `lines` how many the parser has found, and `body` how many of the body have arrived.

    The parser does not say where in a piece a head ends. So the bytes that it gets are counted, which is exact for a
    request at the start of a piece, and also the lines that it has found, for a request that follows in the same piece.
    """

    __slots__ = ("_begun", "_drained", "_framing", "_headers", "_most_drained", "body", "head", "in_head", "lines")

    def __init__(self, most_drained: int) -> None:
        self._most_drained = most_drained
        self.begin()

    def begin(self) -> None:
        """A request is complete, or the connection is new: a head follows."""
        self.in_head = self._begun = True
        self.head = self.body = self.lines = self._headers = self._framing = self._drained = 0

    def next_piece(self) -> int:
        """How many bytes the parser may get now."""
        return min(_PIECE, MAX_HEAD - self.head) if self.in_head else _PIECE

    def add_line(self, size: int) -> None:
        """Count a header, or a part of the request line."""
        self.lines += size
        if self.lines > MAX_HEAD:
            raise TooMuch("head")

    def add_header(self, size: int) -> None:
        """Count a header."""
        self._headers += 1
        if self._headers > MAX_HEADERS:
            raise TooMuch("head")
        self.add_line(size)

    def add_body(self, size: int, *, drained: bool) -> None:
        """Count bytes of the body; `drained` are those that nobody reads, as the request is answered."""
        self.body += size
        if drained:
            self._drained += size
            if self._drained > self._most_drained:
                raise TooMuch("unread_body")

    def add_piece(self, size: int, *, in_head: bool, body: int) -> None:
        """Count a piece that the parser got while `in_head` and `body` were these.

        A piece in which one body ends and the next one begins counts for neither: the head between them is no framing.
        """
        begun, self._begun = self._begun, False
        if not in_head:
            if not (self.in_head or begun):
                self._framing += size - (self.body - body)
                if self._framing > _FRAMING + self.body // _BODY_PER_FRAMING:
                    raise TooMuch("framing")
        elif self.in_head:
            self.head += size
            if self.head >= MAX_HEAD:
                raise TooMuch("head")
