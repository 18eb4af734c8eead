from relay.backend.presence import LeaseName


def test_each_incarnation_of_a_lease_has_another_name() -> None:
    lease = LeaseName("w")
    first = str(lease)
    lease.renew()
    assert first.startswith("w/")
    assert str(lease).startswith("w/")
    assert str(lease) != first
    assert str(LeaseName("w")) != str(LeaseName("w"))
