import json
from typing import Any

from relay.gateways.websync.subscribers import (
    ChannelSubscriber,
    OtherMembers,
    SubscriberChange,
    read_subscriber,
    restored,
    write_info,
)
from relay.model.envelope import MessageId
from relay.model.events import PresenceChange, PresenceList, Present, Roster, Welcome

ID = MessageId(1, 1)
CHAT = b'{"websync":{"channels":["/chat"],"records":{"k":"v"}}}'
NOWHERE = b'{"websync":{"channels":[],"records":{}}}'


def others(*members: Present) -> OtherMembers:
    known = OtherMembers("/chat")
    own = known.begin(Welcome("r", "me", ID, "", roster=Roster(len(members), members, ID)))
    assert own == next((one.info for one in members if one.peer == "me"), b"")
    return known


def changed(**fields: Any) -> PresenceChange:
    return PresenceChange("r", ID, **fields)


def test_a_websync_member_has_the_channels_and_records_of_its_info() -> None:
    info = write_info({"/chat": None, "/b": None}, {})
    assert read_subscriber("p", info, "/chat") == ChannelSubscriber(("/chat", "/b"), b"{}")
    assert read_subscriber("p", CHAT, "/chat") == ChannelSubscriber(("/chat",), b'{"k":"v"}')
    assert restored(CHAT)[0] == ["/chat"]


def test_members_of_other_protocols_are_users_of_the_shared_channel() -> None:
    for info, name in ((b"", "a b"), (b'{"name":"Ann"}', "Ann"), (b'{"name":5}', "a b"), (b'{"name":""}', "a b")):
        channels, records = read_subscriber("a%20b", info, "/lobby")
        assert channels == ("/lobby",)
        assert json.loads(records) == {"fm.chat.userId/lobby": "a b", "fm.chat.userNickname/lobby": name}


def test_infos_of_other_clients_that_look_alike() -> None:
    for info in (b'{"websync":1}', b'{"websync":{"channels":[1]}}', b'{"websync":null}', b"[]"):
        assert read_subscriber("p", info, "/chat").channels == ("/chat",)
    reserved = b'{"websync":{"channels":["/meta/connect","/fm/subscribers/chat","x","/chat","/chat"]}}'
    assert read_subscriber("p", reserved, "/chat").channels == ("/chat",)
    assert restored(b"") == ([], {})
    assert restored(reserved)[0] == ["/chat", "/chat"]


def test_changes_are_told_with_the_records_that_they_are_about() -> None:
    known = others(Present("me", info=CHAT), Present("ann", info=CHAT))
    assert [peer for peer, one in known.all() if "/chat" in one.channels] == ["ann"]
    assert not [*known.apply(changed(joined=["ben"], info={"ben": NOWHERE}))]
    assert [*known.apply(changed(changed=["ben"], info={"ben": CHAT}))] == [
        SubscriberChange("ben", "/chat", b'{"k":"v"}', subscribes=True)
    ]
    # Unsubscribed and unbound in one step: the records are those from before.
    assert [*known.apply(changed(changed=["ben"], info={"ben": NOWHERE}))] == [
        SubscriberChange("ben", "/chat", b'{"k":"v"}', subscribes=False)
    ]
    assert [*known.apply(changed(left=["ann", "ben", "nobody"]))] == [
        SubscriberChange("ann", "/chat", b'{"k":"v"}', subscribes=False)
    ]
    assert not any("/chat" in one.channels for _, one in known.all())


def test_the_own_client_is_none_of_the_others() -> None:
    known = others()
    assert not [*known.apply(changed(joined=["me"], changed=["me"], left=["me"], info={"me": CHAT}))]


def test_a_list_replaces_the_known_subscribers() -> None:
    known = others(Present("ann", info=CHAT), Present("ben", info=CHAT))
    members = (Present("ben", info=CHAT), Present("carl", info=CHAT))
    told = [*known.apply(PresenceList("r", Roster(2, members, ID)))]
    assert [(one.peer, one.subscribes) for one in told] == [("ann", False), ("carl", True)]


def test_a_list_that_is_cut_says_of_nobody_that_it_has_left() -> None:
    known = others(Present("ann", info=CHAT), Present("ben", info=NOWHERE))
    members = (Present("ben", info=CHAT), Present("carl", info=CHAT))
    told = [*known.apply(PresenceList("r", Roster(150, members, ID)))]
    assert [(one.peer, one.subscribes) for one in told] == [("ben", True), ("carl", True)]
    assert [*known.apply(changed(left=["ann"]))] == [SubscriberChange("ann", "/chat", b'{"k":"v"}', subscribes=False)]


def test_a_member_that_is_not_known_has_no_channels() -> None:
    known = others(Present("ann", info=CHAT))
    assert known.subscriber("ann").channels == ("/chat",)
    assert known.subscriber("nobody") == ChannelSubscriber()
