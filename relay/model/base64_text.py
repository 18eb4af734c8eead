"""Reads Base64 as Node does: real clients end it with a line break, leave padding out, or use the alphabet of URLs."""

import binascii
from typing import Final

_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
_OTHERS: Final = bytes(sorted(set(range(256)) - set(_ALPHABET)))
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")


def read_base64(text: bytes) -> bytes:
    """Return the bytes that Base64 stands for; takes any text, in time linear in its length.

    Both alphabets of RFC 4648 are read. Characters of neither are skipped, and the text ends at the first `=`. A last
    character that makes no whole byte is left out. So does Node's `Buffer.from(text, 'base64')`, with which the
    reference implementation reads packets.
    """
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        digits = text.partition(b"=")[0].translate(_STANDARD, _OTHERS)
    extra = len(digits) % 4
    return binascii.a2b_base64(digits[:-1] if extra == 1 else digits + b"=" * (-extra % 4))
