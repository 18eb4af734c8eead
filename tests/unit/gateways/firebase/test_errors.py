"""The words of Firebase for refusals."""

from relay.gateways.firebase.errors import FIREBASE_ERRORS, FirebaseRefused, status_of


def test_refusals_have_a_status_and_every_code_an_explanation() -> None:
    assert [status_of(code) for code in ("not_granted", "stale_value", "tree_full")] == [
        "permission_denied",
        "datastale",
        "tree_full",
    ]
    assert {code: FirebaseRefused(code).status for code in FIREBASE_ERRORS} == {
        "query_unsupported": 400,
        "too_many_listens": 409,
        "too_many_disconnects": 409,
    }
