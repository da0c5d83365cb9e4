"""Modules in the registry of a hub, and what the hub reads from its store to answer."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from query_steps import finished

from dps_simulator.common.clock import ManualClock
from dps_simulator.common.ports import DeviceCredentials
from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.hub.cloud_to_device import CloudToDeviceMessage
from dps_simulator.hub.devices import new_device
from dps_simulator.hub.hub import IotHub
from dps_simulator.hub.hub_records import HubRecords
from dps_simulator.hub.modules import EDGE_MODULES, MAX_MODULES
from dps_simulator.process.store import Store

HOST = "contoso-hub-1.azure-devices.test"


class FakeConnection:
    def __init__(self):
        self.dropped = []
        self.patches = []

    def drop(self, error):
        self.dropped.append(error.reason)

    def desired_changed(self, patch):
        self.patches.append(patch)

    def message_waiting(self):
        pass


class CountingStore(Store):
    """Counts the documents that are read."""

    read = 0

    def collection(self, name):
        documents = super().collection(name)
        get, page = documents.get, documents.page

        def counting_get(key):
            self.read += 1
            return get(key)

        def counting_page(**named):
            found = page(**named)
            self.read += len(found)
            return found

        documents.get, documents.page = counting_get, counting_page
        return documents


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store():
    store = CountingStore()
    yield store
    store.close()


@pytest.fixture
def hub(store, clock):
    return IotHub(host=HOST, storage=store, clock=clock)


def refused(kind, function, *arguments, **named):
    with pytest.raises(ServiceError) as caught:
        function(*arguments, **named)
    assert caught.value.kind is kind
    return caught.value


def test_create_read_update_delete(hub):
    hub.put_device("d", {})
    before = hub.device("d")
    created = hub.put_device("d/m", {"managedBy": "me"})
    assert hub.device("d/m") == created
    assert hub.modules("d") == [created]
    assert hub.device("d") == before
    changed = hub.put_device("d/m", {"managedBy": "you"}, f'"{created["etag"]}"')
    assert changed["managedBy"] == "you"
    assert changed["authentication"] == created["authentication"]
    refused(Hub.PRECONDITION_FAILED, hub.put_device, "d/m", {}, created["etag"])
    refused(Hub.PRECONDITION_FAILED, hub.delete_device, "d/m", created["etag"])
    hub.delete_device("d/m", '"*"')
    assert hub.modules("d") == []
    assert "no module 'm'" in refused(Hub.MODULE_NOT_FOUND, hub.device, "d/m").message
    refused(Hub.MODULE_NOT_FOUND, hub.delete_device, "d/m")
    refused(Hub.MODULE_NOT_FOUND, hub.put_device, "d/m", {}, "*")


def test_what_exists_or_does_not(hub):
    for call in (
        lambda: hub.modules("d"),
        lambda: hub.device("d/m"),
        lambda: hub.put_device("d/m", {}),
        lambda: hub.delete_device("d/m"),
        lambda: hub.twin("d/m"),
    ):
        assert "'d' is not registered" in refused(Hub.DEVICE_NOT_FOUND, call).message
    hub.put_device("d", {})
    hub.put_device("d/m", {})
    error = refused(Hub.MODULE_EXISTS, hub.put_device, "d/m", {})
    assert "no If-Match" in error.reason
    for body in (None, [], "x"):
        refused(Hub.ARGUMENT_INVALID, hub.put_device, "d/n", body)
    for module_id in ("", "a b", "a/b"):
        refused(Hub.ARGUMENT_INVALID, hub.put_device, f"d/{module_id}", {})
        refused(Hub.ARGUMENT_INVALID, hub.device, f"d/{module_id}")
        refused(Hub.ARGUMENT_INVALID, hub.delete_device, f"d/{module_id}")
    assert [module["moduleId"] for module in hub.modules("d")] == ["m"]


def test_a_device_has_a_limited_number_of_modules(hub):
    hub.put_device("d", {})
    for number in range(MAX_MODULES):
        hub.put_device(f"d/m{number}", {})
    refused(Hub.TOO_MANY_MODULES, hub.put_device, "d/one-more", {})
    hub.put_device("d/m1", {}, "*")
    hub.delete_device("d/m1")
    hub.put_device("d/one-more", {})
    assert [module["moduleId"] for module in hub.modules("d")][-2:] == ["m49", "one-more"]


def test_twins_of_modules_are_their_own(hub, store, clock):
    hub.put_device("d", {})
    hub.put_device("d/m", {}, initial_twin={"tags": {"kind": "camera"}})
    hub.patch_twin("d/m", {"properties": {"desired": {"x": 1}}})
    hub.replace_twin("d", {"tags": {"a": 1}})
    assert hub.report("d/m", {"r": 1}) == 2
    hub.keep_subscriptions("d/m", {"a/#": 1})
    again = IotHub(host=HOST, storage=store, clock=clock)
    assert again.device_twin("d/m") == {"desired": {"x": 1, "$version": 2}, "reported": {"r": 1, "$version": 2}}
    assert again.twin("d/m")["tags"] == {"kind": "camera"}
    assert again.twin("d")["tags"] == {"a": 1}
    assert again.subscriptions("d/m") == {"a/#": 1}
    assert again.subscriptions("d") == {}
    refused(Hub.PRECONDITION_FAILED, hub.patch_twin, "d/m", {"tags": {}}, "AAAA")


def test_modules_are_admitted_with_the_status_of_their_device(hub):
    hub.put_device("d", {})
    hub.put_device("d/m", {})
    assert hub.identity("d/m").status == "enabled"
    hub.put_device("d", {"status": "disabled"}, "*")
    assert hub.identity("d/m").status == "disabled"
    assert hub.identity("d/n") is None
    # a state that lost the device but not its module
    hub._storage.collection("device").clear()
    assert hub.identity("d/m") is None


def test_connections_of_modules_end_with_their_device(hub):
    hub.put_device("d", {})
    hub.put_device("d/m", {})
    device, module = FakeConnection(), FakeConnection()
    hub.connections.opened("d", device)
    hub.connections.opened("d/m", module)
    hub.patch_twin("d/m", {"properties": {"desired": {"x": 1}}})
    assert (device.patches, module.patches) == ([], [{"x": 1, "$version": 2}])
    assert hub.device("d/m")["connectionState"] == "Connected"
    hub.put_device("d", {"status": "disabled"}, "*")
    assert [each.dropped for each in (device, module)] == [["the device 'd' was disabled"]] * 2
    module = FakeConnection()
    hub.connections.opened("d/m", module)
    hub.delete_device("d")
    assert module.dropped == ["'d' was deleted"]
    hub.put_device("d", {})
    assert hub.modules("d") == []
    assert hub.put_device("d/m", {})["lastActivityTime"].startswith("0001")


def test_a_module_that_is_deleted_is_dropped(hub):
    hub.put_device("d", {})
    hub.put_device("d/m", {})
    device, module = FakeConnection(), FakeConnection()
    hub.connections.opened("d", device)
    hub.connections.opened("d/m", module)
    hub.delete_device("d/m")
    assert (device.dropped, module.dropped) == ([], ["'d/m' was deleted"])


def test_messages_are_counted_and_go_with_the_device(hub):
    hub.put_device("d", {})
    hub.cloud_to_device.send("d", CloudToDeviceMessage(b"x"))
    assert hub.device("d")["cloudToDeviceMessageCount"] == 1
    assert hub.twin("d")["cloudToDeviceMessageCount"] == 1
    hub.delete_device("d")
    hub.put_device("d", {})
    assert hub.device("d")["cloudToDeviceMessageCount"] == 0
    hub.cloud_to_device.send("d", CloudToDeviceMessage(b"x"))
    hub.clear()
    assert hub.cloud_to_device.waiting("d") == 0


def test_nothing_of_a_module_moves_to_another_hub(hub):
    hub.provision_device("d", DeviceCredentials(), iot_edge=False, initial_twin={}, reset=False)
    hub.put_device("d/m", {})
    hub.provision_device("d", DeviceCredentials(), iot_edge=False, initial_twin={"tags": {"a": 1}}, reset=True)
    assert len(hub.modules("d")) == 1
    assert hub.twin_content("d") == hub.remove_device("d")
    assert hub.twin_content("d") is None
    assert finished(hub.query("SELECT * FROM devices.modules")).items == []


def test_hubs_do_not_share_modules(hub, store, clock):
    other = IotHub(host="contoso-hub-2.azure-devices.test", storage=store, clock=clock)
    for each in (hub, other):
        each.put_device("d", {"status": "disabled"})
        each.put_device("d/m", {})
    hub.clear()
    assert len(other.modules("d")) == 1
    assert other.statistics()["disabledDeviceCount"] == 1
    assert hub.statistics()["totalDeviceCount"] == 0


def test_a_failed_change_changes_nothing(hub):
    hub.put_device("d", {})

    def fail_at_last():
        with hub.transaction():
            hub.put_device("e", {"status": "disabled"})
            hub.put_device("d/m", {})
            hub.put_device("d/m", {})

    refused(Hub.MODULE_EXISTS, fail_at_last)
    assert hub.modules("d") == []
    assert hub.statistics() == {"totalDeviceCount": 1, "enabledDeviceCount": 1, "disabledDeviceCount": 0}


# ---- Edge devices

EDGE = {"capabilities": {"iotEdge": True}}


def modules_of(hub, device_id):
    return [each["moduleId"] for each in hub.modules(device_id)]


def test_an_edge_device_has_the_modules_of_its_runtime(hub):
    hub.put_device("e", EDGE)
    assert modules_of(hub, "e") == ["$edgeAgent", "$edgeHub"]
    assert hub.device("e/$edgeAgent")["authentication"]["type"] == "sas"
    assert hub.twin("e/$edgeHub")["moduleId"] == "$edgeHub"
    hub.put_device("e/m", {})
    hub.put_device("e", {}, "*")
    assert modules_of(hub, "e") == ["$edgeAgent", "$edgeHub", "m"]
    connection = FakeConnection()
    hub.connections.opened("e/$edgeAgent", connection)
    hub.put_device("e", {"capabilities": {"iotEdge": False}}, "*")
    assert modules_of(hub, "e") == ["m"]
    assert connection.dropped
    hub.put_device("e", EDGE, "*")
    assert modules_of(hub, "e") == ["m", "$edgeAgent", "$edgeHub"]
    hub.delete_device("e")
    assert finished(hub.query("SELECT * FROM devices.modules")).items == []


def test_edge_devices_of_an_older_state_have_them_from_the_start():
    """One was made before, one after its hub had learnt of modules, and one is none."""
    with closing(Store()) as storage:
        for number in range(3):
            host = f"hub-{number}.azure-devices.test"
            older = IotHub(host=host, storage=storage, clock=ManualClock())
            for device_id in ("e", "with-module"):
                older.put_device(device_id, EDGE)
            older.put_device("d", {})
            older.put_device("with-module/m", {})
            etags = {name: older.device(name)["etag"] for name in ("e", "with-module", "d")}
            for device_id, kept in (("e", ()), ("with-module", ("m",))):
                device = older._records.device(device_id)
                for module_id in EDGE_MODULES:
                    storage.collection("module").delete(f"{host}\n{device_id}/{module_id}")
                older._records.save(replace(device, modules=kept))
            storage.collection("hub index").put(host, {}, parent=host)
            newer = IotHub(host=host, storage=storage, clock=ManualClock())
            assert len(finished(newer.query("SELECT * FROM devices.modules")).items) == 5
            assert newer.twin("e/$edgeHub")["moduleId"] == "$edgeHub"
            assert newer.identity("e/$edgeAgent").authentication.primary_key
            assert (modules_of(newer, "e"), modules_of(newer, "d")) == (["$edgeAgent", "$edgeHub"], [])
            assert modules_of(newer, "with-module") == ["m", "$edgeAgent", "$edgeHub"]
            assert {name: newer.device(name)["etag"] for name in etags} == etags
            # once: the next start reads no device
            again = IotHub(host=host, storage=storage, clock=ManualClock())
            key = newer.device("e/$edgeAgent")["authentication"]
            assert again.device("e/$edgeAgent")["authentication"] == key


def test_the_modules_of_the_runtime_count_in_no_limit(hub):
    hub.put_device("e", EDGE)
    for number in range(MAX_MODULES):
        hub.put_device(f"e/m{number}", {})
    refused(Hub.TOO_MANY_MODULES, hub.put_device, "e/one-more", {})


def test_provisioning_makes_them_too(hub):
    keys = DeviceCredentials(primary_key="", secondary_key="")
    hub.provision_device("e", keys, iot_edge=False, initial_twin={}, reset=False)
    assert modules_of(hub, "e") == []
    hub.provision_device("e", keys, iot_edge=True, initial_twin={}, reset=False)
    assert modules_of(hub, "e") == ["$edgeAgent", "$edgeHub"]
    hub.provision_device("new", keys, iot_edge=True, initial_twin={}, reset=False)
    assert modules_of(hub, "new") == ["$edgeAgent", "$edgeHub"]


@pytest.mark.parametrize(
    "scope",
    [
        "ms-azure-iot-edge://nobody-1",
        "ms-azure-iot-edge://e-1",
        "ms-azure-iot-edge://leaf-1",
        "ms-azure-iot-edge://e",
        "ms-azure-iot-edge://a/b-1",
        "http://e",
        "e",
    ],
)
@pytest.mark.parametrize("fields", [{"deviceScope": ""}, {"parentScopes": []}, {"parentScopes": [], **EDGE}])
def test_a_scope_is_that_of_an_edge_device_or_refused(hub, scope, fields):
    hub.put_device("e", EDGE)
    hub.put_device("leaf", {})
    body = {name: ([scope] if value == [] else scope if value == "" else value) for name, value in fields.items()}
    assert "an Edge device in this hub" in refused(Hub.ARGUMENT_INVALID, hub.put_device, "d", body).message
    hub.put_device("d", {name: value for name, value in fields.items() if name == "capabilities"})
    refused(Hub.ARGUMENT_INVALID, hub.put_device, "d", body, "*")
    assert hub.device("d")["parentScopes"] == []


def test_children_of_an_edge_device_are_found_and_outlive_it(hub):
    scope = hub.put_device("e", EDGE)["deviceScope"]
    assert hub.put_device("leaf", {"deviceScope": scope})["parentScopes"] == [scope]
    assert hub.put_device("inner", {**EDGE, "parentScopes": [scope]})["parentScopes"] == [scope]
    refused(Hub.ARGUMENT_INVALID, hub.put_device, "e", {"parentScopes": [scope]}, "*")  # its own
    text = f"SELECT deviceId FROM devices WHERE array_contains(parentScopes, '{scope}')"  # noqa: S608 - no SQL
    assert ids(finished(hub.query(text))) == ["leaf", "inner"]
    hub.delete_device("e")
    # what is there may stay, and nothing new may come
    assert hub.put_device("leaf", {"status": "disabled"}, "*")["deviceScope"] == scope
    refused(Hub.ARGUMENT_INVALID, hub.put_device, "late", {"deviceScope": scope})


def test_the_model_that_a_device_announces_stays_in_its_twin(hub):
    hub.put_device("d", {})
    hub.put_device("d/m", {})
    for address in ("d", "d/m"):
        assert "modelId" not in hub.twin(address)
        hub.announce_model(address, "dtmi:com:example:Pump;1")
        hub.announce_model(address, "dtmi:com:example:Pump;1")
        hub.announce_model(address, "")
        assert hub.twin(address)["modelId"] == "dtmi:com:example:Pump;1"
        hub.replace_twin(address, {})
        assert hub.twin(address)["modelId"] == "dtmi:com:example:Pump;1"
    hub.announce_model("nobody", "dtmi:com:example:Pump;1")
    found = finished(hub.query("SELECT deviceId FROM devices WHERE modelId = 'dtmi:com:example:Pump;1'"))
    assert ids(found) == ["d"]


# ---- what is read


@pytest.fixture
def crowd(hub):
    for number in range(300):
        hub.put_device(f"d{number}", {"status": "disabled" if number % 100 == 7 else "enabled"})
    hub.put_device("d1/m1", {}, initial_twin={"tags": {"a": 1}})
    hub.put_device("d1/m2", {})
    hub.put_device("d2/m1", {})
    return hub


def ids(page):
    return [(row["deviceId"], row["moduleId"]) if "moduleId" in row else row["deviceId"] for row in page.items]


@pytest.mark.parametrize(
    ("where", "found", "most"),
    [
        ("devices WHERE deviceId = 'd5'", ["d5"], 2),
        ("devices WHERE deviceId IN ['d9', 'nobody', 'd5']", ["d5", "d9"], 6),
        ("devices WHERE deviceId = 'd5' AND status = 'disabled'", [], 2),
        ("devices WHERE status = 'disabled'", ["d7", "d107", "d207"], 8),
        ("devices WHERE status IN ['disabled'] AND deviceId != 'd7'", ["d107", "d207"], 8),
        ("devices.modules WHERE deviceId = 'd1'", [("d1", "m1"), ("d1", "m2")], 6),
        ("devices.modules WHERE devices.modules.moduleId = 'm1'", [("d1", "m1"), ("d2", "m1")], 4),
        ("devices.modules WHERE tags.a = 1", [("d1", "m1")], 4),
        ("devices.modules WHERE status = 'enabled' AND deviceId IN ['d2', 'd3']", [("d2", "m1")], 4),
    ],
)
def test_a_query_reads_what_it_has_to(crowd, store, where, found, most):
    store.read = 0
    page = finished(crowd.query(f"SELECT * FROM {where}"))  # noqa: S608 - no SQL, and nobody's input
    assert (ids(page), page.continuation) == (found, None)
    assert store.read <= most


def test_counting_reads_nothing(crowd, store):
    store.read = 0
    assert crowd.statistics() == {"totalDeviceCount": 300, "enabledDeviceCount": 297, "disabledDeviceCount": 3}
    assert finished(crowd.query("SELECT COUNT() AS n FROM devices")).items == [{"n": 300}]
    grouped = finished(crowd.query("SELECT status, COUNT() AS n FROM devices GROUP BY status"))
    assert grouped.items == [{"status": "enabled", "n": 297}, {"status": "disabled", "n": 3}]
    assert store.read == 0
    assert finished(crowd.query("SELECT COUNT() AS n FROM devices WHERE status = 'disabled' AND NOT false")).items == [
        {"n": 3}
    ]
    assert store.read <= 8


def test_forgetting_everything_reads_nothing_and_leaves_other_hubs_alone(crowd, store, clock):
    other = IotHub(host="contoso-hub-2.azure-devices.test", storage=store, clock=clock)
    other.put_device("d", {"status": "disabled"})
    store.read = 0
    crowd.clear()
    assert store.read == 0
    assert (crowd.statistics()["totalDeviceCount"], crowd.statistics()["disabledDeviceCount"]) == (0, 0)
    assert other.statistics()["disabledDeviceCount"] == 1
    assert finished(crowd.query("SELECT * FROM devices.modules")).items == []


def test_a_list_reads_what_it_shows(crowd, store):
    store.read = 0
    assert len(crowd.devices(10)) == 10
    assert store.read == 10


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM devices",
        "SELECT * FROM devices WHERE deviceId IN ['d2', 'd1', 'd7', 'd0', 'd3']",
        "SELECT * FROM devices WHERE status = 'disabled'",
        "SELECT * FROM devices.modules",
        "SELECT * FROM devices.modules WHERE deviceId IN ['d2', 'd1']",
        "SELECT TOP 2 * FROM devices.modules WHERE deviceId IN ['d2', 'd1']",
    ],
)
def test_pages_of_every_kind_make_up_the_whole(crowd, text):
    whole = ids(finished(crowd.query(text)))
    pages, token = [], None
    while token is not None or not pages:
        page = finished(crowd.query(text, page_size=2, continuation=token))
        token = page.continuation
        pages.append(ids(page))
        if len(pages) == 200:
            break
    assert [each for page in pages for each in page] == whole
    assert all(len(page) == 2 for page in pages[:-1])


def test_the_list_of_disabled_devices_follows_every_change(hub):
    hub.put_device("d", {"status": "disabled"})
    assert ids(finished(hub.query("SELECT * FROM devices WHERE status = 'disabled'"))) == ["d"]
    hub.put_device("d", {"status": "disabled"}, "*")
    hub.put_device("d", {"status": "enabled"}, "*")
    assert ids(finished(hub.query("SELECT * FROM devices WHERE status = 'disabled'"))) == []
    hub.put_device("d", {"status": "disabled"}, "*")
    hub.delete_device("d")
    assert hub.statistics()["disabledDeviceCount"] == 0


def test_a_state_without_that_list_gets_one(hub, store, clock):
    hub.put_device("d", {"status": "disabled"})
    hub.put_device("e", {})
    for name in ("disabled device", "hub index"):
        store.collection(name).clear()
    assert IotHub(host=HOST, storage=store, clock=clock).statistics()["disabledDeviceCount"] == 1


def test_devices_and_modules_are_counted_together(crowd, store):
    assert HubRecords(store, HOST).total() == 303


def test_entries_without_a_record_are_skipped(store):
    records = HubRecords(store, HOST)
    records.list_status("gone", "disabled")
    assert list(records.disabled()) == []
    device = replace(new_device("d", {}, datetime(2026, 1, 1, tzinfo=timezone.utc)), modules=("gone",))
    assert list(records.modules_of(device)) == []


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "disable", "enable", "delete", "put module", "delete module", "undo"]),
        st.sampled_from("ab"),
        st.sampled_from("xy"),
    ),
    max_size=25,
)


def do(hub, step, device_id, module_id):
    steps = {
        "put": lambda: hub.put_device(device_id, {}),
        "disable": lambda: hub.put_device(device_id, {"status": "disabled"}, "*"),
        "enable": lambda: hub.put_device(device_id, {"status": "enabled"}, "*"),
        "delete": lambda: hub.delete_device(device_id),
        "put module": lambda: hub.put_device(f"{device_id}/{module_id}", {}),
        "delete module": lambda: hub.delete_device(f"{device_id}/{module_id}"),
        "undo": lambda: undo(hub, device_id),
    }
    steps[step]()


def undo(hub, device_id):
    with hub.transaction():
        hub.put_device(device_id, {"status": "disabled"}, "*")
        hub.put_device(f"{device_id}/z", {})
        hub.delete_device(device_id)
        hub.delete_device(device_id)


@given(STEPS)
def test_indexes_and_counters_agree_with_what_there_is(steps):
    store = Store()
    hub = IotHub(host=HOST, storage=store, clock=ManualClock())
    model = {}
    for step, device_id, module_id in steps:
        modules = model.get(device_id, ("", set()))[1]
        try:
            do(hub, step, device_id, module_id)
        except ServiceError:
            continue
        if step == "put":
            model[device_id] = "enabled", set()
        elif step == "delete":
            del model[device_id]
        elif step in ("disable", "enable"):
            model[device_id] = f"{step}d", modules
        elif step == "put module":
            modules.add(module_id)
        else:
            modules.remove(module_id)
    shown = {each["deviceId"]: each["status"] for each in hub.devices()}
    assert shown == {name: status for name, (status, _) in model.items()}
    disabled = [name for name, (status, _) in model.items() if status == "disabled"]
    assert hub.statistics() == {
        "totalDeviceCount": len(model),
        "enabledDeviceCount": len(model) - len(disabled),
        "disabledDeviceCount": len(disabled),
    }
    assert sorted(ids(finished(hub.query("SELECT * FROM devices WHERE status = 'disabled'")))) == sorted(disabled)
    everything = {(name, module) for name, (_, modules) in model.items() for module in modules}
    assert set(ids(finished(hub.query("SELECT * FROM devices.modules")))) == everything
    for name in "ab":
        found = ids(finished(hub.query(f"SELECT * FROM devices.modules WHERE deviceId = '{name}'")))  # noqa: S608 - no SQL
        assert set(found) == {each for each in everything if each[0] == name}
    store.close()
