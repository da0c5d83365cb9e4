import re

import pytest

from dps_simulator.common.hub_links import HubLink
from dps_simulator.process.store import Store
from dps_simulator.provisioning.registration.linked_hubs import LinkedHubs

HUB_1, HUB_2, HUB_3 = (f"hub-{number}.azure-devices.test" for number in (1, 2, 3))


def hosts(links):
    return [link.host for link in links.all()]


def test_a_link_has_the_documented_defaults_and_its_host_in_lower_case():
    link = HubLink(HUB_1.upper())
    assert (link.host, link.apply_allocation_policy, link.allocation_weight, link.latency) == (HUB_1, True, 1, None)


@pytest.mark.parametrize(
    "fields", [{"allocation_weight": 1_000}, {"latency": 0}, {"latency": 12.5}, {"apply_allocation_policy": False}]
)
def test_what_a_link_may_be(fields):
    assert HubLink(HUB_1, **fields) == HubLink(HUB_1, **fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"allocation_weight": 0}, "allocationWeight is 0; it must be a whole number from 1 to 1000"),
        ({"allocation_weight": 1_001}, "allocationWeight is 1001"),
        ({"allocation_weight": -1}, "allocationWeight is -1"),
        ({"allocation_weight": 1.5}, "allocationWeight is 1.5"),
        ({"allocation_weight": True}, "allocationWeight is True"),
        ({"allocation_weight": None}, "allocationWeight is None"),
        ({"allocation_weight": "2"}, "allocationWeight is '2'"),
        ({"latency": -1}, "latency is -1; it must be a number of milliseconds from 0"),
        ({"latency": 3_600_001}, "latency is 3600001"),
        ({"latency": float("nan")}, "latency is nan"),
        ({"latency": float("inf")}, "latency is inf"),
        ({"latency": "5"}, "latency is '5'"),
        ({"latency": True}, "latency is True"),
        ({"apply_allocation_policy": 1}, "applyAllocationPolicy is 1; it must be true or false"),
    ],
)
def test_what_a_link_cannot_be(fields, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        HubLink(HUB_1, **fields)


def test_linking_changing_and_unlinking():
    links = LinkedHubs(Store(), [HubLink(HUB_1), HubLink(HUB_2, latency=3)])
    assert hosts(links) == [HUB_1, HUB_2]
    links.put(HubLink(HUB_1, allocation_weight=7))
    assert links.find(HUB_1.upper()) == HubLink(HUB_1, allocation_weight=7)
    assert hosts(links) == [HUB_1, HUB_2]
    assert links.remove(HUB_1.upper()) is True
    assert links.remove(HUB_1) is False
    assert links.remove(HUB_3) is False
    assert links.find(HUB_1) is links.find(HUB_3) is None
    links.put(HubLink(HUB_1))
    assert links.all() == (HubLink(HUB_2, latency=3), HubLink(HUB_1))


def test_what_was_changed_outlives_a_restart(tmp_path):
    initial = [HubLink(HUB_1), HubLink(HUB_2)]
    store = Store(tmp_path)
    links = LinkedHubs(store, initial)
    links.remove(HUB_1)
    links.put(HubLink(HUB_2, allocation_weight=9))
    links.put(HubLink(HUB_3, latency=1.5))
    links.allocation_policy = "geoLatency"
    store.close()
    again = LinkedHubs(Store(tmp_path), initial)
    assert again.all() == (HubLink(HUB_2, allocation_weight=9), HubLink(HUB_3, latency=1.5))
    assert again.allocation_policy == "geoLatency"


def test_a_hub_that_does_not_exist_any_more_leaves_nothing_behind():
    store = Store()
    links = LinkedHubs(store, [HubLink(HUB_1), HubLink(HUB_2)])
    links.remove(HUB_1)
    links.forget(HUB_1.upper())
    links.forget(HUB_3)
    assert hosts(links) == [HUB_2]
    # one that comes again under its name begins anew
    links = LinkedHubs(store, [HubLink(HUB_1)])
    assert hosts(links) == [HUB_2, HUB_1]
    links.restore()
    assert hosts(links) == [HUB_1, HUB_2]


def test_the_links_of_the_beginning_can_be_restored():
    links = LinkedHubs(Store(), [HubLink(HUB_1, latency=2), HubLink(HUB_2)], "static")
    links.remove(HUB_1)
    links.put(HubLink(HUB_2, allocation_weight=9))
    links.put(HubLink(HUB_3, allocation_weight=9))
    links.allocation_policy = "hashed"
    links.restore()
    assert links.all() == (HubLink(HUB_1, latency=2), HubLink(HUB_2), HubLink(HUB_3))
    assert links.allocation_policy == "static"


def test_the_policy_of_the_service():
    links = LinkedHubs(Store())
    assert links.allocation_policy == "hashed"
    for wrong in ("custom", "Hashed", "", None):
        with pytest.raises(ValueError, match="it must be one of hashed, geoLatency, static"):
            links.allocation_policy = wrong
    with pytest.raises(ValueError, match="allocationPolicy is 'custom'"):
        LinkedHubs(Store(), policy="custom")
    links.allocation_policy = "static"
    links.put(HubLink(HUB_1))
    assert links.allocation_policy == "static"


def test_what_is_undone_was_never_linked():
    store = Store()
    links = LinkedHubs(store, [HubLink(HUB_1)])

    def fail():
        with store.transaction():
            links.put(HubLink(HUB_2))
            links.allocation_policy = "static"
            assert hosts(links) == [HUB_1, HUB_2]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (hosts(links), links.allocation_policy) == ([HUB_1], "hashed")
    links.put(HubLink(HUB_3))
    assert hosts(links) == hosts(LinkedHubs(store)) == [HUB_1, HUB_3]


def test_reading_the_links_costs_the_store_nothing(monkeypatch):
    store = Store()
    links = LinkedHubs(store, [HubLink(HUB_1)])
    with store.transaction():
        links.put(HubLink(HUB_2))
    before = links.all()
    monkeypatch.setattr(links, "_documents", None)
    assert links.all() is before
    assert links.find(HUB_2) == HubLink(HUB_2)
    assert links.allocation_policy == "hashed"
