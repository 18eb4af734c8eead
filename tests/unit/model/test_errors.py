from relay.model import errors


def test_close_codes_are_distinct_and_their_range_says_whether_to_reconnect() -> None:
    codes = [reason.code for reason in errors.CLOSE_REASONS]
    assert len(set(codes)) == len(codes)
    for reason in errors.CLOSE_REASONS:
        assert len(reason.name.encode()) <= 123
        if reason.code >= 4000:
            assert reason.reconnect == (reason.code < 4500)


def test_every_close_for_a_failed_join_and_every_exception_has_a_declared_code() -> None:
    assert set(errors.JOIN_CLOSES) <= set(errors.ERRORS)
    for kind in (errors.Unavailable, errors.OutcomeUnknown, errors.Replaced, errors.NotMember):
        assert kind.code in errors.ERRORS
        assert str(kind()).startswith(kind.code)


def test_a_membership_that_was_taken_over_has_a_code_of_its_own() -> None:
    assert (errors.Replaced().code, errors.Replaced().status) == ("replaced", 409)
    assert errors.NotMember().code == "not_joined"


def test_the_text_of_an_error_is_by_default_that_of_its_code() -> None:
    assert errors.Refused("room_full").text == errors.ERRORS["room_full"][1]
    assert errors.Refused("room_full").status == 409


def test_the_body_of_an_http_response_has_code_text_and_detail() -> None:
    assert errors.Refused("not_joined", "t", room="r").body == {
        "error": {"code": "not_joined", "text": "t", "room": "r"}
    }
    assert errors.RelayError().body == {"error": {"code": "internal", "text": errors.ERRORS["internal"][1]}}
