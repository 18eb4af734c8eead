from relay.gateways.websync.declaration import GATEWAY, PATH


def test_it_alone_serves_its_path_in_each_room() -> None:
    assert GATEWAY.prefixes == (PATH, f"/rooms/{{room}}{PATH}")
    assert GATEWAY.credentials


def test_the_client_has_a_parameter_token_of_its_own() -> None:
    assert GATEWAY.tokens["websync"].query == "access_token"
