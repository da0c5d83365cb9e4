"""Twins that are as large as the rules allow: neither one of them nor many make a query, or a list, hold up others."""

import json
from datetime import UTC, datetime

import pytest
from query_steps import finished, paused

from dps_simulator.common.clock import ManualClock
from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.hub import hub_queries, query_summary
from dps_simulator.hub.hub import IotHub
from dps_simulator.hub.query import parse
from dps_simulator.hub.twins import MAX_PROPERTIES_SIZE, MAX_WEIGHTLESS, new_twin, report
from dps_simulator.process.store import DamagedStoreError, Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)
#: Small by the rules, which count keys and texts, and with its metadata far larger.
LARGE = {"properties": {"desired": {f"{number:x}": "" for number in range(4_000)}}}


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def hub(store):
    hub = IotHub(host="contoso-hub-1.azure-devices.test", storage=store, clock=ManualClock(NOW))
    with hub.transaction():
        for number in range(12):
            hub.put_device(f"d{number:02}", {"status": "disabled" if number % 2 else "enabled"}, initial_twin=LARGE)
    return hub


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM devices",
        "SELECT COUNT() AS n FROM devices WHERE tags.a = 1",
        "SELECT deviceId FROM devices WHERE status = 'disabled'",
        "SELECT deviceId FROM devices WHERE deviceId IN ['d01', 'd03', 'd04', 'd05', 'd06', 'd07']",
        "SELECT COUNT() AS n, deviceId FROM devices GROUP BY deviceId, properties.desired",
    ],
)
def test_a_query_over_large_twins_pauses_after_every_few(hub, text):
    _, pauses = paused(hub.query(text))
    assert pauses >= 4


def test_a_list_of_devices_with_large_twins_pauses_too(hub):
    listed = list(hub.listed(12))
    assert listed.count(None) >= 3
    assert [device["deviceId"] for device in listed if device] == [f"d{number:02}" for number in range(12)]


def test_large_twins_are_not_read_before_they_are_needed(hub, store, monkeypatch):
    read = []
    opened = store.opened
    monkeypatch.setattr(store, "opened", lambda row: read.append(row[0]) or opened(row))
    assert hub.devices(1)
    assert len(read) == 1
    read.clear()
    next(hub.query("SELECT * FROM devices"))
    assert len(read) <= 2


def test_a_page_of_the_store_ends_when_it_is_large_enough(store):
    things = store.collection("thing")
    for number in range(4):
        things.put(str(number), {"x": "y" * 100})
    pages = [[each.key for each in things.page(limit=9, max_bytes=size)] for size in (1, 150, 1_000)]
    assert pages == [["0"], ["0", "1"], ["0", "1", "2", "3"]]
    assert [each.size for each in things.page(limit=1)] == [len('{"x":""}') + 100]


def test_a_damaged_record_in_such_a_page_is_told_of(store):
    store.is_quiet = True
    things = store.collection("thing")
    things.put("a", {})
    store.change("UPDATE documents SET body = 5")
    with pytest.raises(DamagedStoreError):
        things.page(limit=9, max_bytes=1)


class Counted(list):
    """Counts how often it is gone through."""

    times = 0

    def __iter__(self):
        self.times += 1
        return super().__iter__()


def test_an_array_is_gone_through_once_however_often_a_condition_asks_for_it():
    array = Counted([1, {"a": 1}, "x"])
    where = " OR ".join(f"ARRAY_CONTAINS(tags.a, {number})" for number in range(2, 100))
    query = parse(f"SELECT * FROM devices WHERE {where}")  # noqa: S608 - no SQL
    assert not query.matches({"tags": {"a": array}})
    assert array.times == 1
    assert query.matches({"tags": {"a": [50]}})


@pytest.mark.parametrize(
    "paths",
    [
        ["properties"] * 100,
        ["properties", *(f"properties.{'.'.join('a' * depth)}" for depth in range(1, 60))],
        [*(f"properties.{'.'.join('a' * depth)}" for depth in range(1, 60)), "properties"],
    ],
)
def test_each_part_of_a_twin_is_read_once_to_find_its_group(paths):
    twin = {"properties": {"a": {"a": {"a": "x" * 5_000}}}}
    summary = parse(f"SELECT COUNT() AS n FROM devices GROUP BY {', '.join(paths)}").summary()  # noqa: S608 - no SQL
    assert summary.add(twin) < 5_500
    assert summary.add(twin) < 5_500
    assert summary.add({"properties": {"a": 1}}) < 100
    assert list(summary.rows()) == [{"n": 2}, {"n": 1}]


def test_groups_that_take_too_much_memory_are_refused(monkeypatch):
    monkeypatch.setattr(query_summary, "MAX_GROUPS_SIZE", 3_000)
    summary = parse("SELECT COUNT() AS n FROM devices GROUP BY tags").summary()
    for _ in range(5):
        summary.add({"tags": {"a": "x" * 2_000}})
    with pytest.raises(ServiceError, match="name less") as caught:
        summary.add({"tags": {"a": "y" * 2_000}})
    assert caught.value.kind is Hub.ARGUMENT_INVALID


@pytest.mark.parametrize("text", ["SELECT {} FROM devices", "SELECT {} FROM devices GROUP BY properties"])
def test_a_row_that_names_the_same_part_again_and_again_is_refused(hub, monkeypatch, text):
    columns = ", ".join(f"properties AS p{number}" for number in range(100))
    with pytest.raises(ServiceError, match="A row of the result would take more than"):
        finished(hub.query(text.format(columns)))
    monkeypatch.setattr(hub_queries, "MAX_PAGE_SIZE", 100)
    assert len(finished(hub.query("SELECT deviceId FROM devices")).items) < 12


@pytest.mark.parametrize("weightless", [None, {}, [], "", "\x01" * 100])
def test_what_has_no_size_cannot_fill_the_memory(weightless):
    twin = new_twin(NOW)
    assert report(twin, {"a": [weightless] * 100}, NOW)
    too_many = MAX_WEIGHTLESS * MAX_PROPERTIES_SIZE // len(json.dumps(weightless)) + 1
    with pytest.raises(ServiceError, match="no size") as caught:
        report(twin, {"a": [weightless] * too_many}, NOW)
    assert caught.value.kind is Hub.ARGUMENT_INVALID


def test_what_the_rules_allow_is_kept_whatever_its_letters():
    value = {f"{number:x}": "\N{GRINNING FACE}" * 100 for number in range(80)}
    assert len(json.dumps(value)) > 2.5 * MAX_PROPERTIES_SIZE
    assert report(new_twin(NOW), value, NOW).reported.values == value


def test_a_key_that_stands_in_the_wrong_place_of_a_twin_is_not_repeated():
    key = "NOT-A-SECRET-BUT-LOOKS-LIKE-A-KEY-OF-A-DEVICE-"
    for body in ([key], {"properties": [key]}, {"tags": key}, {"properties": {"desired": [key]}}):
        with pytest.raises(ServiceError) as caught:
            new_twin(NOW, body)
        assert key[:20] not in caught.value.message
    with pytest.raises(ServiceError) as caught:
        report(new_twin(NOW), ["padding" * 8, key], NOW)
    assert "an array" in caught.value.message
