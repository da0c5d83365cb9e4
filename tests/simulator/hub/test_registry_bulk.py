from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dps_simulator.common.clock import ManualClock
from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.hub.hub import IotHub
from dps_simulator.hub.registry_bulk import MAX_OPERATIONS, MODES, apply_operations
from dps_simulator.process.store import Store

HOST = "contoso-hub-1.azure-devices.test"
DONE = {"isSuccessful": True, "errors": [], "warnings": []}


@pytest.fixture
def hub():
    store = Store()
    yield IotHub(host=HOST, storage=store, clock=ManualClock())
    store.close()


def apply(hub, *operations):
    return apply_operations(hub, list(operations))


def failed(hub, *operations):
    """The code and the text of the only error."""
    result = apply(hub, *operations)
    assert not result["isSuccessful"]
    (error,) = result["errors"]
    return error["errorCode"], error["errorStatus"]


def ids(hub):
    return [device["deviceId"] for device in hub.devices()]


def test_devices_are_created_with_their_fields_and_twins(hub):
    twin = {"tags": {"a": 1}, "properties": {"desired": {"x": 1}, "reported": {"r": 1}}}
    assert (
        apply(
            hub,
            {"id": "d", "importMode": "create", "status": "disabled", "statusReason": "new", **twin},
            {"id": "e", "authentication": {"type": "certificateAuthority"}, "capabilities": {"iotEdge": True}},
            {"id": "f", "importMode": None, "tags": None, "eTag": None, "moduleId": None},
        )
        == DONE
    )
    assert (hub.device("d")["status"], hub.device("d")["statusReason"]) == ("disabled", "new")
    assert hub.twin_content("d") == twin
    assert hub.device("e")["authentication"]["type"] == "certificateAuthority"
    assert hub.device("e")["capabilities"] == {"iotEdge": True}
    assert all(hub.device("f")["authentication"]["symmetricKey"].values())


#: For a device that exists and one that does not: the code of what goes wrong, or 0.
OUTCOMES = {
    "create": (409001, 0),
    "createOrUpdate": (0, 0),
    "createOrUpdateIfMatchETag": (400004, 0),
    "update": (0, 404001),
    "updateIfMatchETag": (400004, 404001),
    "delete": (0, 404001),
    "deleteIfMatchETag": (400004, 404001),
    "updateTwin": (0, 404001),
    "updateTwinIfMatchETag": (400004, 404001),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("spelt", [str, str.upper, str.capitalize])
def test_every_mode(hub, mode, spelt):
    assert OUTCOMES.keys() == MODES.keys()
    for device_id, code in zip(("there", "nowhere"), OUTCOMES[mode], strict=True):
        hub.clear()
        hub.put_device("there", {})
        result = apply(hub, {"id": device_id, "importMode": spelt(mode)})
        assert [error["errorCode"] for error in result["errors"]] == ([code] if code else [])


@pytest.mark.parametrize(("etag", "code"), [("*", 0), ('"*"', 0), ("old", 412001)])
@pytest.mark.parametrize("mode", [name for name in MODES if name.endswith("ETag")])
def test_etags(hub, mode, etag, code):
    hub.put_device("d", {})
    result = apply(hub, {"id": "d", "importMode": mode, "eTag": etag, "twinETag": etag})
    assert [error["errorCode"] for error in result["errors"]] == ([code] if code else [])


def test_the_etag_that_was_read_fits(hub):
    device = hub.put_device("d", {})
    update = {"id": "d", "importMode": "updateIfMatchETag", "eTag": device["etag"], "status": "disabled"}
    assert apply(hub, update) == DONE
    assert hub.device("d")["status"] == "disabled"
    twin = {"id": "d", "importMode": "updateTwinIfMatchETag", "twinETag": hub.twin("d")["etag"], "tags": {"a": 1}}
    assert apply(hub, twin) == DONE
    assert failed(hub, twin)[0] == 412001


def test_updates_keep_what_they_do_not_mention(hub):
    before = hub.put_device("d", {"statusReason": "new"}, initial_twin={"tags": {"a": 1}})
    assert apply(hub, {"id": "d", "status": "disabled"}) == DONE
    after = hub.device("d")
    assert (after["authentication"], after["statusReason"]) == (before["authentication"], "new")
    assert hub.twin("d")["tags"] == {"a": 1}


def test_twins_that_come_with_an_update_replace_and_others_merge(hub):
    hub.put_device("d", {}, initial_twin={"tags": {"a": 1}, "properties": {"desired": {"x": 1}}})
    assert apply(hub, {"id": "d", "importMode": "updateTwin", "tags": {"b": 2}}) == DONE
    assert hub.twin("d")["tags"] == {"a": 1, "b": 2}
    assert apply(hub, {"id": "d", "importMode": "update", "tags": {"c": 3}}) == DONE
    assert hub.twin_content("d")["tags"] == {"c": 3}
    assert hub.twin_content("d")["properties"]["desired"] == {}
    stale = {"id": "d", "importMode": "update", "tags": {"d": 4}, "twinETag": "old", "statusReason": "moved"}
    assert failed(hub, stale)[0] == 412001
    # and then nothing of the entry is done
    assert hub.device("d")["statusReason"] is None


def test_modules(hub):
    hub.put_device("d", {})
    entry = {"id": "d", "moduleId": "m"}
    assert apply(hub, {**entry, "managedBy": "me", "tags": {"a": 1}}, {"id": "d", "status": "disabled"}) == DONE
    assert hub.device("d/m")["managedBy"] == "me"
    assert hub.twin("d/m")["tags"] == {"a": 1}
    assert apply(hub, {**entry, "importMode": "updateTwin", "tags": {"a": None}}) == DONE
    assert "tags" not in hub.twin("d/m")
    assert apply(hub, {**entry, "importMode": "update", "tags": {"b": 1}, "managedBy": "you"}) == DONE
    assert (hub.device("d/m")["managedBy"], hub.twin("d/m")["tags"]) == ("you", {"b": 1})
    assert failed(hub, {**entry, "importMode": "create"})[0] == 409301
    assert apply(hub, {**entry, "importMode": "delete"}) == DONE
    result = apply(hub, {**entry, "importMode": "delete"})
    (error,) = result["errors"]
    assert (error["deviceId"], error["moduleId"], error["errorCode"]) == ("d", "m", 404010)
    assert failed(hub, {"id": "x", "moduleId": "m"})[0] == 404001


def test_one_failure_does_not_stop_the_others(hub):
    hub.put_device("b", {})
    result = apply(hub, {"id": "a"}, {"id": "b", "importMode": "create"}, {"id": "c"})
    assert not result["isSuccessful"]
    assert result["errors"] == [{"deviceId": "b", "errorCode": 409001, "errorStatus": "Conflict"}]
    assert ids(hub) == ["b", "a", "c"]


def test_an_entry_that_fails_leaves_nothing_behind(hub):
    code, text = failed(hub, {"id": "d", "tags": {"a.b": 1}})
    assert code == 400004
    assert "'a.b'" in text
    assert ids(hub) == []


def test_a_device_that_stands_in_the_list_twice_stops_everything(hub):
    result = apply(hub, {"id": "a"}, {"id": "b"}, {"id": "a", "importMode": "delete"})
    assert [(error["deviceId"], error["errorCode"]) for error in result["errors"]] == [("a", 400011)]
    assert "2 times" in result["errors"][0]["errorStatus"]
    assert ids(hub) == []
    # a device and its module are two things, and IDs know case
    assert apply(hub, {"id": "a"}, {"id": "A"}, {"id": "a", "moduleId": "m"}) == DONE


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (None, "The body is None"),
        ({}, "The body is an object"),
        ([], "The body is an empty array"),
        ([{"id": "d"}, 5], r"The entry \[1\] is 5"),
        ([{"id": "d"}, ["x"]], r"The entry \[1\] is an array"),
    ],
)
def test_what_is_no_list_of_operations(hub, body, what):
    with pytest.raises(ServiceError, match=what) as caught:
        apply_operations(hub, body)
    assert caught.value.kind is Hub.ARGUMENT_INVALID
    assert ids(hub) == []


def test_the_list_is_limited(hub):
    operations = [{"id": f"d{number}"} for number in range(MAX_OPERATIONS + 1)]
    with pytest.raises(ServiceError, match="101 entries; at most 100") as caught:
        apply_operations(hub, operations)
    assert caught.value.kind is Hub.TOO_MANY_DEVICES
    assert apply_operations(hub, operations[:-1]) == DONE
    assert len(ids(hub)) == MAX_OPERATIONS


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({}, "The device ID None"),
        ({"id": 5}, "The device ID 5"),
        ({"id": "a b"}, "The device ID 'a b'"),
        ({"id": "d", "moduleId": "a b"}, "The module ID 'a b'"),
        ({"id": "d", "moduleId": ["m"]}, "The module ID"),
        ({"id": "d", "importMode": "replace"}, "importMode is 'replace'"),
        ({"id": "d", "importMode": 5}, "importMode is 5"),
        ({"id": "d", "status": "off"}, "status is 'off'"),
        ({"id": "there", "importMode": "update", "tags": {}, "twinETag": 5}, "twinETag is 5"),
        ({"id": "there", "importMode": "updateIfMatchETag"}, "eTag is None"),
        ({"id": "there", "importMode": "updateIfMatchETag", "eTag": ""}, "eTag is ''"),
    ],
)
def test_a_wrong_entry_is_named(hub, entry, what):
    hub.put_device("there", {})
    code, text = failed(hub, entry)
    assert code == 400004
    assert what in text
    assert ids(hub) == ["there"]


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5)
ENTRY = st.dictionaries(
    st.sampled_from(
        ["id", "moduleId", "importMode", "eTag", "twinETag", "status", "tags", "properties", "capabilities"]
    ),
    st.sampled_from([*MODES, "d", "m", "*"]) | JSON,
)


@given(st.lists(ENTRY, max_size=4) | JSON)
def test_any_json_is_applied_or_refused(operations):
    store = Store()
    hub = IotHub(host=HOST, storage=store, clock=ManualClock())
    hub.put_device("d", {})
    try:
        result = apply_operations(hub, operations)
    except ServiceError as error:
        assert error.kind in (Hub.ARGUMENT_INVALID, Hub.TOO_MANY_DEVICES)  # noqa: PT017 - both outcomes are right
    else:
        assert result["isSuccessful"] is not bool(result["errors"])
    finally:
        store.close()
