"""The receipt of a change of a tree."""

from relay.backend.trees import WriteReceipt
from relay.model.envelope import MembershipVersion, MessageId
from relay.model.publication import Receipt


def test_the_receipt_of_a_change_is_one_of_a_publication_with_a_part() -> None:
    receipt = WriteReceipt(b"3-4", MembershipVersion(1, 3))
    assert isinstance(receipt, Receipt)
    assert (receipt.id, receipt.version, receipt.repeat, receipt.part) == (MessageId(3, 4), (1, 3), False, None)
