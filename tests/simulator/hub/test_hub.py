from __future__ import annotations

import base64
import json

import pytest
from query_steps import finished, paused

from dps_simulator.common.clock import ManualClock
from dps_simulator.common.ports import DeviceCredentials, LinkedHub
from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.hub.connections import Connections
from dps_simulator.hub.devices import NEVER
from dps_simulator.hub.hub import IotHub
from dps_simulator.hub.hub_queries import MAX_PAGE_SIZE
from dps_simulator.hub.telemetry import TelemetryBuffer, parse_properties
from dps_simulator.process.store import Store

HOST = "contoso-hub-1.azure-devices.test"
KEY = base64.b64encode(b"k" * 32).decode()
OTHER_KEY = base64.b64encode(b"o" * 32).decode()


class FakeConnection:
    def __init__(self):
        self.dropped: list[ServiceError] = []
        self.patches = []

    def drop(self, error):
        self.dropped.append(error)

    def desired_changed(self, patch):
        self.patches.append(patch)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store():
    store = Store()
    yield store
    store.close()


@pytest.fixture
def hub(store, clock):
    return IotHub(host=HOST.upper(), storage=store, clock=clock)


def refused(kind, function, *arguments, **named):
    with pytest.raises(ServiceError) as caught:
        function(*arguments, **named)
    assert caught.value.kind is kind
    return caught.value


def provision(hub: LinkedHub, device_id="d", primary=KEY, initial_twin=None, iot_edge=False):
    credentials = DeviceCredentials(primary_key=primary, secondary_key=OTHER_KEY)
    twin, reset = initial_twin or {}, initial_twin is not None
    hub.provision_device(device_id, credentials, iot_edge=iot_edge, initial_twin=twin, reset=reset)


def test_create_read_update_delete(hub):
    assert hub.host == HOST
    created = hub.put_device("d", {"statusReason": "new"})
    assert hub.device("d") == created
    assert hub.has_device("d")
    updated = hub.put_device("d", {"status": "disabled"}, f'"{created["etag"]}"')
    assert (updated["status"], updated["statusReason"]) == ("disabled", "new")
    assert updated["authentication"] == created["authentication"]
    refused(Hub.PRECONDITION_FAILED, hub.put_device, "d", {}, created["etag"])
    refused(Hub.PRECONDITION_FAILED, hub.delete_device, "d", created["etag"])
    hub.delete_device("d", '"*"')
    assert not hub.has_device("d")
    assert hub.identity("d") is None
    assert "'d' is not registered" in refused(Hub.DEVICE_NOT_FOUND, hub.device, "d").message


def test_creating_twice_needs_an_if_match(hub):
    hub.put_device("d", {})
    error = refused(Hub.DEVICE_EXISTS, hub.put_device, "d", {})
    assert error.message == "Conflict"
    assert "no If-Match" in error.reason
    hub.put_device("d", {}, "*")


def test_updating_what_does_not_exist(hub):
    refused(Hub.DEVICE_NOT_FOUND, hub.put_device, "d", {}, "*")
    refused(Hub.DEVICE_NOT_FOUND, hub.delete_device, "d")
    refused(Hub.DEVICE_NOT_FOUND, hub.twin, "d")
    refused(Hub.DEVICE_NOT_FOUND, hub.patch_twin, "d", {})
    refused(Hub.DEVICE_NOT_FOUND, hub.report, "d", {})


@pytest.mark.parametrize("body", [None, [], "x"])
def test_a_device_must_be_an_object(hub, body):
    refused(Hub.ARGUMENT_INVALID, hub.put_device, "d", body)


def test_impossible_ids(hub):
    refused(Hub.ARGUMENT_INVALID, hub.put_device, "a b", {})
    refused(Hub.ARGUMENT_INVALID, hub.device, "a b")


def test_device_ids_are_case_sensitive_and_hubs_are_apart(hub, store, clock):
    other = IotHub(host="contoso-hub-2.azure-devices.test", storage=store, clock=clock)
    hub.put_device("d", {})
    hub.put_device("D", {})
    other.put_device("d", {})
    assert [device["deviceId"] for device in hub.devices()] == ["d", "D"]
    assert [device["deviceId"] for device in hub.devices(top=1)] == ["d"]
    hub.delete_device("d")
    assert other.has_device("d")
    other.clear()
    assert not other.has_device("d")
    assert hub.has_device("D")


def test_a_device_that_is_created_again_is_another_generation(hub):
    first = hub.put_device("d", {})
    hub.delete_device("d")
    assert hub.put_device("d", {})["generationId"] > first["generationId"]


def test_devices_survive_a_restart(hub, store, clock):
    hub.put_device("d", {})
    hub.patch_twin("d", {"tags": {"a": 1}})
    again = IotHub(host=HOST, storage=store, clock=clock)
    assert again.device("d") == hub.device("d")
    assert again.twin("d")["tags"] == {"a": 1}


def test_a_failed_change_changes_nothing(hub):
    hub.put_device("d", {})
    before = hub.twin("d")
    refused(Hub.ARGUMENT_INVALID, hub.patch_twin, "d", {"tags": {"a.b": 1}})
    refused(Hub.PRECONDITION_FAILED, hub.patch_twin, "d", {"tags": {"a": 1}}, '"AAAA"')
    assert hub.twin("d") == before


def test_the_connection_state_is_true(hub, clock):
    hub.put_device("d", {})
    connection = FakeConnection()
    assert hub.connections.opened("d", connection) is None
    clock.advance(5)
    hub.connections.heard("d")
    shown = hub.device("d")
    assert shown["connectionState"] == hub.twin("d")["connectionState"] == "Connected"
    assert shown["connectionStateUpdatedTime"] == "2026-01-01T00:00:00Z"
    assert shown["lastActivityTime"] == "2026-01-01T00:00:05Z"
    clock.advance(5)
    assert hub.connections.closed("d", connection)
    assert not hub.connections.closed("d", connection)
    hub.connections.heard("d")
    shown = hub.device("d")
    assert shown["connectionState"] == "Disconnected"
    assert shown["connectionStateUpdatedTime"] == "2026-01-01T00:00:10Z"
    assert shown["lastActivityTime"] == "2026-01-01T00:00:05Z"


def test_disabled_and_deleted_devices_are_dropped(hub):
    hub.put_device("d", {})
    connection = FakeConnection()
    hub.connections.opened("d", connection)
    hub.put_device("d", {"statusReason": "still enabled"}, "*")
    assert not connection.dropped
    hub.put_device("d", {"status": "disabled"}, "*")
    assert "disabled" in connection.dropped[0].reason
    assert hub.connections.get("d") is None
    other = FakeConnection()
    hub.connections.opened("d", other)
    hub.delete_device("d")
    assert "deleted" in other.dropped[0].reason
    assert hub.put_device("d", {})["lastActivityTime"] == NEVER


def test_desired_changes_are_told_to_the_connected_device(hub):
    hub.put_device("d", {})
    connection = FakeConnection()
    hub.connections.opened("d", connection)
    hub.patch_twin("d", {"tags": {"a": 1}})
    hub.patch_twin("d", {"properties": {"desired": {"x": 1}}})
    hub.replace_twin("d", {"properties": {"desired": {"y": 1}}})
    assert connection.patches == [{"x": 1, "$version": 2}, {"x": None, "y": 1, "$version": 3}]


def test_the_device_reads_and_reports(hub):
    hub.put_device("d", {})
    assert hub.report("d", {"r": 1}) == 2
    assert hub.device_twin("d") == {"desired": {"$version": 1}, "reported": {"r": 1, "$version": 2}}


def test_provisioning_creates_a_device_with_its_twin(hub):
    provision(hub, initial_twin={"tags": {"a": 1}, "properties": {"desired": {"x": 1}}}, iot_edge=True)
    device = hub.device("d")
    assert device["authentication"]["symmetricKey"] == {"primaryKey": KEY, "secondaryKey": OTHER_KEY}
    assert device["capabilities"] == {"iotEdge": True}
    assert hub.twin("d")["tags"] == {"a": 1}


def test_provisioning_again_without_change_writes_nothing(hub):
    provision(hub)
    before = hub.device("d")
    provision(hub)
    assert hub.device("d") == before


def test_provisioning_again_renews_credentials_and_keeps_the_twin(hub):
    provision(hub, initial_twin={"tags": {"a": 1}})
    provision(hub, primary=OTHER_KEY)
    assert hub.device("d")["authentication"]["symmetricKey"]["primaryKey"] == OTHER_KEY
    assert hub.twin("d")["tags"] == {"a": 1}


def test_provisioning_again_with_an_initial_twin_resets_it(hub):
    provision(hub, initial_twin={"tags": {"a": 1}})
    connection = FakeConnection()
    hub.connections.opened("d", connection)
    before = hub.device("d")
    provision(hub, initial_twin={"properties": {"desired": {"x": 1}}})
    assert hub.device("d")["etag"] == before["etag"]
    assert "tags" not in hub.twin("d")
    assert connection.patches == [{"x": 1, "$version": 2}]


def test_removing_returns_the_content_of_the_twin(hub):
    provision(hub, initial_twin={"tags": {"a": 1}})
    hub.report("d", {"r": 1})
    assert hub.remove_device("d") == {"tags": {"a": 1}, "properties": {"desired": {}, "reported": {"r": 1}}}
    assert hub.remove_device("d") is None


def test_subscriptions_outlive_a_restart_but_not_the_device(hub, store, clock):
    hub.keep_subscriptions("d", {"a/#": 1})
    assert hub.subscriptions("d") == {}
    hub.put_device("d", {})
    hub.keep_subscriptions("d", {"a/#": 1})
    hub.keep_subscriptions("d", {"a/#": 1})
    assert IotHub(host=HOST, storage=store, clock=clock).subscriptions("d") == {"a/#": 1}
    hub.delete_device("d")
    hub.put_device("d", {})
    assert hub.subscriptions("d") == {}


def test_statistics_count_every_device(hub):
    for number in range(250):
        hub.put_device(f"d{number}", {"status": "disabled" if number % 5 == 0 else "enabled"})
    assert hub.statistics() == {"totalDeviceCount": 250, "enabledDeviceCount": 200, "disabledDeviceCount": 50}


def test_clear_forgets_everything(hub):
    for number in range(250):
        hub.put_device(f"d{number}", {})
    connection = FakeConnection()
    hub.connections.opened("d1", connection)
    hub.telemetry.append("d1", b"x", enqueued=ManualClock().now(), system={}, properties={})
    hub.clear()
    assert hub.devices() == []
    assert (len(hub.connections), len(hub.telemetry)) == (0, 0)
    assert "reset" in connection.dropped[0].reason


def ids(page):
    return [row["deviceId"] for row in page.items]


def test_query_pages(hub):
    for number in range(7):
        hub.put_device(f"d{number}", {})
    text = "SELECT * FROM devices WHERE deviceId != 'd3'"
    first = finished(hub.query(text, page_size=3))
    assert (ids(first), first.item_type) == (["d0", "d1", "d2"], "Twin")
    second = finished(hub.query(text, page_size=3, continuation=first.continuation))
    assert (ids(second), second.continuation) == (["d4", "d5", "d6"], None)
    assert ids(finished(hub.query(text))) == [*ids(first), *ids(second)]


def test_top_counts_over_all_pages(hub):
    for number in range(5):
        hub.put_device(f"d{number}", {})
    text = "SELECT TOP 3 deviceId FROM devices"
    first = finished(hub.query(text, page_size=2))
    assert (ids(first), first.item_type) == (["d0", "d1"], "Raw")
    second = finished(hub.query(text, page_size=2, continuation=first.continuation))
    assert (ids(second), second.continuation) == (["d2"], None)
    exact = finished(hub.query("SELECT TOP 2 deviceId FROM devices", page_size=2))
    assert (ids(exact), exact.continuation) == (["d0", "d1"], None)


def test_aggregates_are_paged_too(hub):
    for number in range(3):
        hub.put_device(f"d{number}", {"status": "disabled" if number else "enabled"})
    text = "SELECT status, COUNT() AS n FROM devices GROUP BY status"
    first = finished(hub.query(text, page_size=1))
    assert (first.items, first.item_type) == ([{"status": "enabled", "n": 1}], "Raw")
    second = finished(hub.query(text, page_size=1, continuation=first.continuation))
    assert (second.items, second.continuation) == ([{"status": "disabled", "n": 2}], None)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        # 10 words and 100 of reading for each of 400 devices, 20,000 in a step
        ("SELECT * FROM devices WHERE tags.a = 1", 2),
        ("SELECT COUNT() AS n FROM devices WHERE tags.a = 1", 2),
        # 2,201 words more
        (f"SELECT COUNT() AS n FROM devices WHERE {'+'.join(['1'] * 1_101)} < 0", 44),  # noqa: S608 - no SQL
        ("SELECT COUNT() AS n FROM devices", 0),
        # 602 words: a step for 29 devices, and one for 33 rows
        (f"SELECT deviceId{''.join(f', SUM(a) AS s{n}' for n in range(85))} FROM devices GROUP BY deviceId", 25),  # noqa: S608
    ],
)
def test_a_query_pauses_after_bounded_work(hub, text, steps):
    with hub.transaction():
        for number in range(400):
            hub.put_device(f"d{number}", {})
    _, pauses = paused(hub.query(text))
    assert pauses == steps


def test_what_changes_while_a_query_pauses_does_no_harm(hub):
    with hub.transaction():
        for number in range(400):
            hub.put_device(f"d{number}", {})
    for where in ("true", f"deviceId IN [{', '.join(repr(f'd{number}') for number in range(400))}]"):
        steps = hub.query(f"SELECT deviceId FROM devices WHERE {where}")  # noqa: S608 - no SQL
        next(steps)
        hub.delete_device("d399")
        assert "d399" not in ids(finished(steps))
        hub.put_device("d399", {})


def test_a_page_ends_when_it_is_large_enough(hub):
    twin = {"tags": {f"t{number}": "x" * 4_000 for number in range(2)}}
    twin["properties"] = {"desired": {f"p{number}": "x" * 4_000 for number in range(8)}}
    with hub.transaction():
        for number in range(120):
            hub.put_device(f"d{number:03}", {}, initial_twin=twin)
    for text in (
        "SELECT * FROM devices",
        "SELECT deviceId, MAX(tags.x) AS m, tags, properties FROM devices GROUP BY deviceId, tags, properties",
    ):
        first = finished(hub.query(text))
        second = finished(hub.query(text, continuation=first.continuation))
        assert sum(len(json.dumps(row)) for row in first.items) < MAX_PAGE_SIZE + 50_000
        assert second.continuation is None
        assert [*ids(first), *ids(second)] == [f"d{number:03}" for number in range(120)]


def test_a_foreign_continuation_token_is_refused(hub):
    for number in range(3):
        hub.put_device(f"d{number}", {})
    token = finished(hub.query("SELECT * FROM devices", page_size=1)).continuation
    digest = json.loads(base64.urlsafe_b64decode(token))[2]
    forged = [[-1, 0, digest], [1, "x", digest], [2**64, 0, digest], [1], 5, None]
    for wrong in ["", "%%%", "ä", *(base64.urlsafe_b64encode(json.dumps(value).encode()).decode() for value in forged)]:
        refused(Hub.ARGUMENT_INVALID, next, hub.query("SELECT * FROM devices", continuation=wrong))
    refused(Hub.ARGUMENT_INVALID, next, hub.query("SELECT deviceId FROM devices", continuation=token))


@pytest.mark.parametrize("text", [None, 5, ""])
def test_a_query_must_be_one(hub, text):
    refused(Hub.ARGUMENT_INVALID, next, hub.query(text))


def test_a_newer_connection_takes_the_place_of_an_older_one(clock):
    connections = Connections(clock)
    older, newer = FakeConnection(), FakeConnection()
    connections.opened("d", older)
    assert connections.opened("d", newer) is older
    assert not connections.closed("d", older)
    assert connections.get("d") is newer
    assert connections.liveliness("d").connected
    connections.drop("nobody", ServiceError(Hub.INTERNAL))


def test_telemetry_is_bounded_by_number_and_size(clock):
    buffer = TelemetryBuffer(max_messages=3, max_bytes=10_000)

    def send(body, **properties):
        return buffer.append("d", body, enqueued=clock.now(), system={}, properties=properties)

    for number in range(5):
        send(b"%d" % number)
    assert [message.body for message in buffer] == [b"2", b"3", b"4"]
    send(b"x" * 7_500)
    assert [message.body for message in buffer] == [b"4", b"x" * 7_500]
    assert send(b"y" * 20_000).sequence == 7
    assert [message.body for message in buffer] == [b"y" * 20_000]
    send(b"", name="value")
    send(b"", name=None)
    assert [message.properties for message in buffer] == [{"name": "value"}, {"name": None}]
    buffer.clear()
    assert send(b"z").sequence == 10


def test_property_bags():
    assert parse_properties("") == ({}, {})
    assert parse_properties("%24.ct=application%2Fjson&$.mid=1&a%20b=c%2Bd+e&flag&empty=&") == (
        {"content-type": "application/json", "message-id": "1"},
        {"a b": "c+d+e", "flag": None, "empty": ""},
    )


def test_a_secret_in_the_wrong_place_is_not_repeated(hub):
    for body in (
        [{"authentication": {"symmetricKey": {"primaryKey": KEY}}}],
        {"authentication": KEY},
        {"authentication": {"symmetricKey": KEY}},
        {"authentication": {"type": [KEY]}},
        {"statusReason": {"primaryKey": KEY}},
    ):
        assert KEY[:20] not in refused(Hub.ARGUMENT_INVALID, hub.put_device, "d", body).message


@pytest.mark.parametrize("token", ["W1tb" * 2_000, "x", "bnVsbA=="])
def test_no_token_makes_the_hub_fail(hub, token):
    refused(Hub.ARGUMENT_INVALID, next, hub.query("SELECT * FROM devices", continuation=token))


def test_reported_properties_move_to_another_hub(hub, store, clock):
    provision(hub, initial_twin={"tags": {"a": 1}, "properties": {"desired": {"d": 2}}})
    hub.report("d", {"r": {"s": 3}})
    other = IotHub(host="contoso-hub-2.azure-devices.test", storage=store, clock=clock)
    provision(other, initial_twin=hub.remove_device("d"))
    assert other.twin("d")["tags"] == {"a": 1}
    assert other.device_twin("d") == {"desired": {"d": 2, "$version": 1}, "reported": {"r": {"s": 3}, "$version": 1}}
    assert "$lastUpdatedVersion" not in other.twin("d")["properties"]["reported"]["$metadata"]["r"]


def changes(hub):
    """Every change that a connected device hears of, each with how it hears."""
    return {
        "desired": lambda: hub.patch_twin("d", {"properties": {"desired": {"x": 1}}}),
        "reset": lambda: provision(hub, initial_twin={}),
        "disabled": lambda: hub.put_device("d", {"status": "disabled"}, "*"),
        "deleted": lambda: hub.delete_device("d"),
        "removed": lambda: hub.remove_device("d"),
        "cleared": hub.clear,
    }


@pytest.mark.parametrize("change", ["desired", "reset", "disabled", "deleted", "removed", "cleared"])
def test_a_device_hears_of_a_change_when_it_is_certain(hub, store, change):
    provision(hub)
    connection = FakeConnection()
    hub.connections.opened("d", connection)

    def in_vain():
        with store.transaction():
            changes(hub)[change]()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_vain()
    assert not connection.patches + connection.dropped
    assert hub.device("d")["connectionState"] == "Connected"
    with store.transaction():
        changes(hub)[change]()
        assert not connection.patches + connection.dropped
    assert len(connection.patches + connection.dropped) == 1
