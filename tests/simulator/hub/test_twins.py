from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.hub.devices import Liveliness, new_device
from dps_simulator.hub.modules import new_module
from dps_simulator.hub.twins import (
    MAX_INTEGER,
    MIN_INTEGER,
    Twin,
    difference,
    merge,
    new_twin,
    patch_twin,
    replace_twin,
    report,
)

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
LATER = datetime(2026, 1, 2, tzinfo=timezone.utc)
THEN, AFTER = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def desired(values):
    return {"properties": {"desired": values}}


def refused(body, write=patch_twin):
    with pytest.raises(ServiceError) as caught:
        write(new_twin(NOW), body, LATER)
    assert caught.value.kind is Hub.ARGUMENT_INVALID
    return caught.value.message


def test_a_new_twin_starts_at_version_1_on_both_sides():
    twin = new_twin(NOW)
    assert twin.device_json() == {"desired": {"$version": 1}, "reported": {"$version": 1}}
    assert twin.version == 2
    assert twin.etag == "AAAAAAAAAAE="


def test_an_initial_twin_is_taken_over():
    twin = new_twin(NOW, {"tags": {"room": "lab", "gone": None}, **desired({"interval": {"seconds": 5}})})
    assert twin.tags == {"room": "lab"}
    assert twin.desired.to_document() == {
        "values": {"interval": {"seconds": 5}},
        "metadata": {
            "$lastUpdated": THEN,
            "$lastUpdatedVersion": 1,
            "interval": {
                "$lastUpdated": THEN,
                "$lastUpdatedVersion": 1,
                "seconds": {"$lastUpdated": THEN, "$lastUpdatedVersion": 1},
            },
        },
        "version": 1,
    }
    assert twin.content() == {
        "tags": {"room": "lab"},
        "properties": {"desired": {"interval": {"seconds": 5}}, "reported": {}},
    }


def test_the_service_sees_versions_and_metadata():
    identity = new_device("d", {"capabilities": {"iotEdge": True}}, NOW)
    shown = identity.twin_json(Liveliness())
    assert list(shown) == [
        "deviceId",
        "etag",
        "deviceEtag",
        "status",
        "statusReason",
        "statusUpdateTime",
        "connectionState",
        "lastActivityTime",
        "cloudToDeviceMessageCount",
        "authenticationType",
        "x509Thumbprint",
        "version",
        "properties",
        "capabilities",
        "deviceScope",
        "parentScopes",
    ]
    assert shown["deviceEtag"] == identity.etag
    assert shown["properties"]["reported"] == {"$metadata": {"$lastUpdated": THEN}, "$version": 1}
    plain = new_device("d", {}, NOW).twin_json(Liveliness())
    assert "deviceScope" not in plain
    # neither tags nor a model, until there are some
    more = replace(new_twin(NOW, {"tags": {"a": 1}}), model_id="dtmi:com:example:Pump;1")
    told = list(replace(identity, twin=more).twin_json(Liveliness()))
    assert told[12:15] == ["modelId", "tags", "properties"]
    removed = replace(identity, twin=patch_twin(more, {"tags": {"a": None}}, LATER).twin)
    assert "tags" not in removed.twin_json(Liveliness())
    assert removed.twin_json(Liveliness())["modelId"] == "dtmi:com:example:Pump;1"


def test_a_patch_merges_and_null_removes():
    twin = new_twin(NOW, {"tags": {"a": 1, "b": {"c": 1, "d": 2}}, **desired({"x": 1, "y": {"z": 1, "w": 2}})})
    change = patch_twin(twin, {"tags": {"a": None, "b": {"c": 3}}, **desired({"x": None, "y": {"z": 5}})}, LATER)
    assert change.twin.tags == {"b": {"c": 3, "d": 2}}
    assert change.twin.desired.values == {"y": {"z": 5, "w": 2}}
    assert change.desired_patch == {"x": None, "y": {"z": 5}, "$version": 2}
    assert change.twin.version == 3
    assert change.twin.etag == "AAAAAAAAAAI="
    marked = {"$lastUpdated": AFTER, "$lastUpdatedVersion": 2}
    assert change.twin.desired.metadata == {
        **marked,
        "y": {**marked, "z": marked, "w": {"$lastUpdated": THEN, "$lastUpdatedVersion": 1}},
    }
    assert twin.tags["a"] == 1
    assert twin.desired.values["x"] == 1


def test_a_patch_of_tags_alone_leaves_desired_alone():
    change = patch_twin(new_twin(NOW), {"tags": {"a": 1}}, LATER)
    assert change.desired_patch is None
    assert change.twin.desired.version == 1
    assert change.twin.version == 3


def test_a_patch_of_nothing_changes_nothing():
    twin = new_twin(NOW)
    assert patch_twin(twin, {"deviceId": "d", "properties": {"reported": {"x": 1}}}, LATER).twin == twin
    assert patch_twin(twin, {"properties": None}, LATER).twin == twin


def test_null_sections_are_emptied():
    twin = new_twin(NOW, {"tags": {"a": 1}, **desired({"x": 1})})
    change = patch_twin(twin, {"tags": None, **desired(None)}, LATER)
    assert change.twin.tags == {}
    assert change.twin.desired.values == {}
    assert change.desired_patch == {"x": None, "$version": 2}


def test_what_only_the_service_writes_is_ignored_when_sent_back():
    change = patch_twin(new_twin(NOW), desired({"x": 1, "$version": 99, "$metadata": {"$lastUpdated": "?"}}), LATER)
    assert change.twin.desired.values == {"x": 1}
    assert change.twin.desired.version == 2


def test_a_replacement_drops_what_it_does_not_mention_and_keeps_reported():
    twin = new_twin(NOW, {"tags": {"a": 1}, **desired({"x": {"y": 1, "z": 2}, "w": 1})})
    twin = report(twin, {"r": 1}, NOW)
    change = replace_twin(twin, {"tags": {"b": 2}, **desired({"x": {"y": 3}, "n": [1]})}, LATER)
    assert change.twin.tags == {"b": 2}
    assert change.twin.desired.values == {"x": {"y": 3}, "n": [1]}
    assert change.twin.desired.version == 2
    assert change.twin.desired.metadata["n"] == {"$lastUpdated": AFTER, "$lastUpdatedVersion": 2}
    assert change.twin.reported.values == {"r": 1}
    assert change.twin.version == 4
    assert change.desired_patch == {"x": {"y": 3, "z": None}, "w": None, "n": [1], "$version": 2}
    empty = replace_twin(change.twin, {}, LATER)
    assert (empty.twin.tags, empty.twin.desired.values) == ({}, {})


def test_reported_properties_have_their_own_version_and_leave_the_etag_alone():
    twin = new_twin(NOW)
    second = report(twin, {"battery": {"level": 5}, "gone": None}, LATER)
    assert second.reported.to_document() == {
        "values": {"battery": {"level": 5}},
        "metadata": {
            "$lastUpdated": AFTER,
            "battery": {"$lastUpdated": AFTER, "level": {"$lastUpdated": AFTER}},
        },
        "version": 2,
    }
    assert second.version == 3
    assert second.etag == twin.etag
    third = report(second, {"battery": 7, "n": 1}, LATER)
    assert third.reported.values == {"battery": 7, "n": 1}
    assert third.reported.metadata["battery"] == {"$lastUpdated": AFTER}
    assert report(third, {"battery": {"a": 1}}, LATER).reported.values["battery"] == {"a": 1}


@pytest.mark.parametrize("body", [None, [], 5, "x"])
def test_a_twin_must_be_an_object(body):
    assert "must be a JSON object" in refused(body)
    assert "must be a JSON object" in refused(body, report)
    assert "must be a JSON object" in refused(body, replace_twin)


@pytest.mark.parametrize(
    ("body", "place"),
    [({"tags": 5}, "tags"), (desired([]), "properties.desired"), ({"properties": 5}, "properties")],
)
def test_a_section_must_be_an_object(body, place):
    assert refused(body).startswith(f"{place} must be a JSON object")


def nested(levels):
    value = "leaf"
    for _ in range(levels):
        value = {"n": value}
    return value


def test_ten_levels_fit_and_eleven_do_not():
    values = {"n": nested(10)}
    assert patch_twin(new_twin(NOW), {"tags": values}, LATER).twin.tags == values
    assert "deeper than 10 levels" in refused({"tags": {"n": nested(11)}})
    assert "deeper than 10 levels" in refused({"tags": {"n": nested(500)}})
    assert "deeper than 10 levels" in refused({"n": nested(11)}, report)


def test_arrays_are_values_and_their_elements_obey_the_rules():
    twin = report(new_twin(NOW), {"list": [1, {"a": None}, "x"]}, LATER)
    assert twin.reported.values["list"] == [1, {"a": None}, "x"]
    assert twin.reported.metadata["list"] == {"$lastUpdated": AFTER}
    assert "contains '.'" in refused({"list": [{"a.b": 1}]}, report)


@pytest.mark.parametrize("key", ["a.b", "$a", "a b", "a\x00", "\x9f"])
def test_forbidden_characters_in_keys_are_named(key):
    message = refused({"tags": {key: 1}})
    assert message.startswith("tags is not possible in a twin: the key")
    assert "not allowed" in message


@pytest.mark.parametrize("key", ["", "k" * 1025, "ä" * 513])
def test_the_length_of_keys_counts_in_bytes(key):
    assert "1 to 1024 are allowed" in refused({"tags": {key: 1}})
    assert patch_twin(new_twin(NOW), {"tags": {"ä" * 512: 1}}, LATER)


@pytest.mark.parametrize("number", [MAX_INTEGER, MIN_INTEGER, 0.5, True, None, "x" * 4096])
def test_values_at_the_limits(number):
    assert patch_twin(new_twin(NOW), {"tags": {"n": number}}, LATER)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (MAX_INTEGER + 1, "4503599627370496 is outside"),
        (MIN_INTEGER - 1, "is outside"),
        ("x" * 4097, "takes 4097 bytes"),
        (float("nan"), "not a JSON number"),
        (float("inf"), "not a JSON number"),
    ],
)
def test_values_beyond_the_limits_are_named(value, text):
    message = refused(desired({"outer": {"n": value}}))
    assert message.startswith("desired.outer.n is not possible")
    assert text in message


@pytest.mark.parametrize(("section", "limit"), [("tags", 8192), ("desired", 32768)])
def test_the_size_of_a_section_is_limited(section, limit):
    def body(total):
        values = {f"k{number:03}": "x" * 1020 for number in range(total // 1024)}
        return {"tags": values} if section == "tags" else desired(values)

    twin = patch_twin(new_twin(NOW), body(limit), LATER).twin
    with pytest.raises(ServiceError, match=f"{section} would take {limit + 5} bytes; at most {limit} are allowed"):
        patch_twin(twin, {"tags": {"z": True}} if section == "tags" else desired({"z": True}), LATER)


def test_numbers_beyond_what_python_prints_are_refused_too():
    assert "hundreds of digits is outside" in refused({"tags": {"a": 10**5000}})


def test_control_characters_do_not_count():
    twin = new_twin(NOW, {"tags": {f"k{number}": "\x00\x85" * 1000 + "x" * 900 for number in range(8)}})
    assert len(twin.tags) == 8


def test_imported_reported_properties_follow_the_rules():
    twin = new_twin(NOW, {"properties": {"reported": {"r": 1, "$version": 7, "$metadata": {}}}})
    assert twin.reported.values == {"r": 1}
    for reported in ({"a.b": 1}, [1]):
        with pytest.raises(ServiceError, match="reported"):
            new_twin(NOW, {"properties": {"reported": reported}})


def test_the_twin_of_a_module():
    identity = new_module("d", "m", {}, NOW)
    shown = replace(identity, twin=new_twin(NOW, {"tags": {"a": 1}})).twin_json(Liveliness(), 3)
    assert list(shown) == [
        "deviceId",
        "moduleId",
        "etag",
        "deviceEtag",
        "status",
        "statusUpdateTime",
        "connectionState",
        "lastActivityTime",
        "cloudToDeviceMessageCount",
        "authenticationType",
        "x509Thumbprint",
        "version",
        "tags",
        "properties",
    ]
    assert (shown["deviceId"], shown["moduleId"], shown["deviceEtag"]) == ("d", "m", identity.etag)
    assert (shown["tags"], shown["cloudToDeviceMessageCount"], shown["status"]) == ({"a": 1}, 3, "enabled")


def test_the_size_of_reported_properties_is_limited():
    values = {f"k{number:03}": [1.5, None, "x" * 4000] for number in range(9)}
    with pytest.raises(ServiceError, match="reported would take"):
        report(new_twin(NOW), values, LATER)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text("abü", max_size=4),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.sampled_from("abcd"), children, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), JSON, max_size=4)


def without_nulls(value):
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return value


@given(OBJECTS, OBJECTS)
def test_merging_follows_the_rules_of_json_merge_patch(target, patch):
    target = without_nulls(target)
    merged = merge(target, patch)
    assert set(merged) == {key for key in {**target, **patch} if not (key in patch and patch[key] is None)}
    for key, value in merged.items():
        if key not in patch:
            assert value == target[key]
        elif isinstance(patch[key], dict):
            old = target.get(key)
            assert value == merge(old if isinstance(old, dict) else {}, patch[key])
        else:
            assert value == patch[key]
    assert merge(merged, patch) == merged
    assert merge(target, {}) == target


@given(OBJECTS, OBJECTS)
def test_the_difference_leads_from_the_old_to_the_new(old, new):
    old, new = without_nulls(old), without_nulls(new)
    assert merge(old, difference(old, new)) == new


@given(OBJECTS, st.lists(OBJECTS, max_size=3))
def test_metadata_has_a_node_for_every_property_and_no_other(initial, patches):
    twin = new_twin(NOW, desired(initial))
    for patch in patches:
        twin = patch_twin(twin, desired(patch), LATER).twin

    def check(values, metadata):
        children = {key for key in metadata if not key.startswith("$")}
        assert children == (set(values) if isinstance(values, dict) else set())
        assert 1 <= metadata["$lastUpdatedVersion"] <= twin.desired.version
        for key in children:
            check(values[key], metadata[key])

    check(twin.desired.values, twin.desired.metadata)
    assert twin.desired.version == 1 + len(patches)


@given(JSON, JSON)
def test_any_json_is_stored_or_refused(first, second):
    twin, kinds = new_twin(NOW), set()
    for write, body in ((patch_twin, first), (replace_twin, second)):
        try:
            twin = write(twin, body, LATER).twin
        except ServiceError as error:
            kinds.add(error.kind)
    assert kinds <= {Hub.ARGUMENT_INVALID}
    assert twin.device_json()


@given(OBJECTS, OBJECTS, st.sampled_from(["", "dtmi:com:example:Pump;1"]))
def test_a_twin_is_read_back_as_it_was_kept(desired_values, reported, model_id):
    twin = replace(report(new_twin(NOW, desired(desired_values)), reported, LATER), model_id=model_id)
    assert Twin.from_document(twin.to_document()) == twin
