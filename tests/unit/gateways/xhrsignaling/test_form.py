import pytest

from relay.gateways.xhrsignaling.form import read_message
from relay.model.errors import Refused
from tests.unit.gateways.xhrsignaling.site import BOUNDARY, FORM, form


def part(name: str, value: str = "x", boundary: str = BOUNDARY) -> str:
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'


def test_the_form_of_a_browser() -> None:
    assert read_message(FORM, form('{"a":"é\r\n"}')) == '{"a":"é\r\n"}'.encode()
    assert read_message(FORM, form("")) == b""


def test_boundaries_may_be_quoted_and_followed_by_more() -> None:
    body = (part("message", "hello", "a b") + "--a b--").encode()
    assert read_message('Multipart/Form-Data; Boundary="a b"; charset=utf-8', body) == b"hello"


def test_other_fields_are_left_out() -> None:
    body = part("other") + part("message", "hello") + part("messages") + f"--{BOUNDARY}--\r\n"
    assert read_message(FORM, body.encode()) == b"hello"


def test_a_field_may_have_more_headers() -> None:
    head = f"--{BOUNDARY}\r\nContent-Type: text/plain\r\ncontent-disposition: form-data; x=y; name=message\r\n\r\n"
    assert read_message(FORM, f"{head}hello\r\n--{BOUNDARY}--".encode()) == b"hello"


def test_a_url_encoded_form() -> None:
    assert read_message("application/x-www-form-urlencoded", b"a=b&message=%7B%22a%22%3A+1%7D") == b'{"a": 1}'


END = f"--{BOUNDARY}--"


@pytest.mark.parametrize(
    ("content_type", "body", "code"),
    [
        ("", form("x"), "bad_content_type"),
        ("application/json", b"{}", "bad_content_type"),
        ("multipart/form-data", form("x"), "bad_body"),
        ("multipart/form-data; boundary=" + "b" * 71, form("x"), "bad_body"),
        ("multipart/form-data; boundary=\x1b[31m", form("x"), "bad_body"),
        (FORM, b"", "bad_body"),
        (FORM, b"hello", "bad_body"),
        (FORM, END.encode(), "bad_body"),
        (FORM, part("message").encode(), "bad_body"),
        (FORM, f"preamble\r\n{part('message')}{END}".encode(), "bad_body"),
        (FORM, f"{part('other')}{END}".encode(), "bad_body"),
        (FORM, f"{part('message')}{part('message')}{END}".encode(), "bad_body"),
        (FORM, f"{part('other') * 16}{part('message')}{END}".encode(), "bad_body"),
        (FORM, f"--{BOUNDARY}\r\nno head\r\n{END}".encode(), "bad_body"),
        (FORM, f"--{BOUNDARY}\r\n{'x' * 2000}\r\n\r\n\r\n{END}".encode(), "bad_body"),
        (FORM, f"--{BOUNDARY}junk\r\n\r\n\r\n{END}".encode(), "bad_body"),
        ("application/x-www-form-urlencoded", b"message=\xff", "bad_body"),
        ("application/x-www-form-urlencoded", b"message=%ff", "bad_body"),
        ("application/x-www-form-urlencoded", b"a=1&" * 17 + b"message=x", "bad_body"),
        ("application/x-www-form-urlencoded", b"message=a&message=b", "bad_body"),
    ],
)
def test_a_form_that_is_none(content_type: str, body: bytes, code: str) -> None:
    with pytest.raises(Refused) as refused:
        read_message(content_type, body)
    assert refused.value.code == code
