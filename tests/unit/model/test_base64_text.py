import base64
import random

import pytest

from relay.model.base64_text import read_base64


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (b"AQID", b"\1\2\3"),
        (b"AQID\n", b"\1\2\3"),
        (b"AQID\r\n", b"\1\2\3"),
        (b"AQ\r\nID", b"\1\2\3"),
        (b" A Q\tI D ", b"\1\2\3"),
        (b"AQ==", b"\1"),
        (b"AQ", b"\1"),
        (b"AQ=", b"\1"),
        (b"AQ==\n", b"\1"),
        (b"AQ\n==", b"\1"),
        (b"AQI", b"\1\2"),
        (b"AQIDB", b"\1\2\3"),
        (b"+/8=", b"\xfb\xff"),
        (b"-_8", b"\xfb\xff"),
        (b"-/8", b"\xfb\xff"),
        (b"AQ==AQ==", b"\1"),
        (b"=AQ", b""),
        (b"A!Q\xc3\xa9I*D", b"\1\2\3"),
        (b"A", b""),
        (b"", b""),
        (b"*", b""),
        (b"AR==", b"\1"),
    ],
)
def test_it_reads_the_same_texts_as_node(text: bytes, data: bytes) -> None:
    assert read_base64(text) == data


def test_every_way_to_write_the_same_bytes_is_read() -> None:
    source = random.Random(12)
    for size in range(300):
        data = source.randbytes(size)
        for text in (base64.b64encode(data), base64.urlsafe_b64encode(data), base64.encodebytes(data)):
            assert read_base64(text) == read_base64(text.rstrip(b"=\n")) == data
