"""What the domain does where nothing can be changed: it says so, and remembers nothing that is not kept."""

import pytest

from dps_simulator.common.clock import ManualClock
from dps_simulator.common.hub_links import HubLink
from dps_simulator.common.ports import StorageError
from dps_simulator.hub.hub import IotHub
from dps_simulator.process.store import Store
from dps_simulator.provisioning.registration.linked_hubs import LinkedHubs

HOST = "hub-1.azure-devices.test"


@pytest.fixture
def store():
    store = Store()
    yield store
    store.close()


def lock(store):
    store.rows("PRAGMA query_only=1", ())


def test_changes_of_a_hub_that_are_not_kept(store):
    hub = IotHub(host=HOST, storage=store, clock=ManualClock())
    hub.put_device("d", {})
    lock(store)
    for change in (
        lambda: hub.report("d", {"a": 1}),
        lambda: hub.patch_twin("d", {"tags": {"a": 1}}),
        lambda: hub.put_device("e", {}),
        lambda: hub.delete_device("d"),
        lambda: hub.keep_subscriptions("d", {"a": 1}),
    ):
        with pytest.raises(StorageError) as caught:
            change()
        assert "state is read-only" in caught.value.brief
    assert [device["deviceId"] for device in hub.devices()] == ["d"]
    assert "a" not in hub.twin("d")["properties"]["reported"]
    assert hub.subscriptions("d") == {}


def test_links_that_are_not_kept(store):
    links = LinkedHubs(store, [HubLink(HOST)])
    lock(store)
    for change in (
        lambda: links.put(HubLink("hub-2.azure-devices.test")),
        lambda: links.remove(HOST),
        lambda: links.forget(HOST),
    ):
        with pytest.raises(StorageError):
            change()
    assert [link.host for link in links.all()] == [HOST]


def test_an_error_of_a_storage_has_words_for_clients():
    assert "its log says more" in StorageError("the file x is gone").brief
