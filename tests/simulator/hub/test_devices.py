from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from dps_simulator.common.ports import DeviceCredentials
from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.hub.checks import check_id
from dps_simulator.hub.devices import (
    NEVER,
    Device,
    Liveliness,
    authentication_json,
    check_precondition,
    new_device,
    new_etag,
    new_key,
)

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
LATER = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
KEY = base64.b64encode(b"k" * 32).decode()
OTHER_KEY = base64.b64encode(b"o" * 64).decode()
SHA1, SHA256 = "ab" * 20, "CD" * 32


def create(body=None, device_id="thermostat-001"):
    return new_device(device_id, body or {}, NOW)


def sas(primary, secondary):
    return {"authentication": {"symmetricKey": {"primaryKey": primary, "secondaryKey": secondary}, "type": "sas"}}


@pytest.mark.parametrize("device_id", ["a", "A-1.b_c:d", "x" * 128, "-.+%_#*?!(),:=@$'"])
def test_possible_device_ids(device_id):
    assert check_id(device_id) == device_id


@pytest.mark.parametrize("device_id", ["", "x" * 129, "a b", "a/b", "ä", "a\n", None, 5])
def test_impossible_device_ids_are_named(device_id):
    with pytest.raises(ServiceError) as caught:
        check_id(device_id)
    assert caught.value.kind is Hub.ARGUMENT_INVALID
    assert repr(device_id)[:200] in caught.value.message


def test_a_new_device_shows_all_fields_in_the_order_of_the_api():
    shown = create().to_json(Liveliness())
    assert list(shown) == [
        "deviceId",
        "generationId",
        "etag",
        "connectionState",
        "status",
        "statusReason",
        "connectionStateUpdatedTime",
        "statusUpdatedTime",
        "lastActivityTime",
        "cloudToDeviceMessageCount",
        "authentication",
        "capabilities",
        "parentScopes",
    ]
    assert (shown["status"], shown["statusReason"], shown["connectionState"]) == ("enabled", None, "Disconnected")
    assert shown["connectionStateUpdatedTime"] == shown["lastActivityTime"] == shown["statusUpdatedTime"] == NEVER
    assert shown["authentication"]["type"] == "sas"


def test_liveliness_is_shown():
    shown = create().to_json(Liveliness(connected=True, changed=NOW, active=LATER))
    assert shown["connectionState"] == "Connected"
    assert shown["connectionStateUpdatedTime"] == "2026-01-01T00:00:00Z"
    assert shown["lastActivityTime"] == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize("body", [{}, sas("", ""), sas(None, None), {"authentication": None}])
def test_keys_are_made_when_absent_or_empty(body):
    made = create(body).authentication
    assert len(base64.b64decode(made.primary_key)) == len(base64.b64decode(made.secondary_key)) == 32
    assert made.primary_key != made.secondary_key


def test_given_keys_are_kept():
    assert authentication_json(create(sas(KEY, OTHER_KEY)).authentication) == {
        "symmetricKey": {"primaryKey": KEY, "secondaryKey": OTHER_KEY},
        "x509Thumbprint": {"primaryThumbprint": None, "secondaryThumbprint": None},
        "type": "sas",
    }


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("not base64!", "not base64"),
        ("ä", "not base64"),
        (7, "not base64"),
        ("YWI=", "2 bytes"),
        (base64.b64encode(b"k" * 65).decode(), "65 bytes"),
    ],
)
def test_impossible_keys_are_refused_without_being_repeated(key, found):
    with pytest.raises(ServiceError, match=r"secondaryKey (is not|has .* bytes; it must)") as caught:
        create(sas(KEY, key))
    assert found in caught.value.message
    assert str(key) not in caught.value.message.replace(found, "")


@pytest.mark.parametrize("size", [16, 64])
def test_key_sizes_at_the_limits(size):
    key = base64.b64encode(b"k" * size).decode()
    assert create(sas(key, key)).authentication.primary_key == key


@pytest.mark.parametrize(
    "thumbprints",
    [
        {"primaryThumbprint": SHA1},
        {"primaryThumbprint": SHA256, "secondaryThumbprint": SHA1},
        {"secondaryThumbprint": SHA256, "primaryThumbprint": ""},
    ],
)
@pytest.mark.parametrize("kind", ["selfSigned", "SELFSIGNED", None])
def test_self_signed_identities_are_kept_in_upper_case(thumbprints, kind):
    device = create({"authentication": {"x509Thumbprint": thumbprints, "type": kind}})
    authentication = authentication_json(device.authentication)
    assert authentication["type"] == "selfSigned"
    assert authentication["symmetricKey"] == {"primaryKey": None, "secondaryKey": None}
    for name, value in thumbprints.items():
        assert authentication["x509Thumbprint"][name] == (value.upper() or None)


@pytest.mark.parametrize("thumbprints", [{}, None, {"primaryThumbprint": "xyz"}, {"primaryThumbprint": 5}])
def test_self_signed_needs_a_proper_thumbprint(thumbprints):
    with pytest.raises(ServiceError, match=r"authentication\.x509Thumbprint"):
        create({"authentication": {"x509Thumbprint": thumbprints, "type": "selfSigned"}})


def test_certificate_authority_identities_have_no_secrets():
    authentication = authentication_json(create({"authentication": {"type": "certificateAuthority"}}).authentication)
    assert authentication["type"] == "certificateAuthority"
    assert not any(authentication["symmetricKey"].values())
    assert not any(authentication["x509Thumbprint"].values())


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"status": "off"}, "status"),
        ({"status": 1}, "status"),
        ({"statusReason": "x" * 129}, "statusReason"),
        ({"statusReason": 1}, "statusReason"),
        ({"capabilities": {"iotEdge": "yes"}}, "capabilities.iotEdge"),
        ({"capabilities": []}, "capabilities"),
        ({"authentication": "sas"}, "authentication"),
        ({"authentication": {"type": "password"}}, "authentication.type"),
        ({"authentication": {"type": 5}}, "authentication.type"),
        ({"authentication": {"symmetricKey": []}}, "authentication.symmetricKey"),
        ({"authentication": {"x509Thumbprint": []}}, "authentication.x509Thumbprint"),
        ({"deviceId": "Thermostat-001"}, "deviceId"),
        ({"deviceScope": 1}, "deviceScope"),
        ({"deviceScope": "x" * 257}, "deviceScope"),
        ({"parentScopes": "x"}, "parentScopes"),
        ({"parentScopes": ["x", "y"]}, "parentScopes"),
        ({"parentScopes": [5]}, "parentScopes"),
        ({"parentScopes": ["x" * 257], "capabilities": {"iotEdge": True}}, "parentScopes"),
    ],
)
def test_a_wrong_field_is_named(body, field):
    with pytest.raises(ServiceError) as caught:
        create(body)
    assert caught.value.kind is Hub.ARGUMENT_INVALID
    assert caught.value.message.startswith(f"{field} is ")


def test_edge_devices_have_a_scope_and_others_may_name_a_parent():
    edge = create({"capabilities": {"iotEdge": True}})
    scope = edge.scope
    assert scope == f"ms-azure-iot-edge://thermostat-001-{edge.generation}"
    assert edge.to_json(Liveliness())["parentScopes"] == []
    child = create({"deviceScope": scope})
    assert child.to_json(Liveliness())["parentScopes"] == [scope]
    assert child.to_json(Liveliness())["deviceScope"] == scope
    assert child.changed({}, LATER).scope == scope
    assert edge.changed({}, LATER).scope == scope
    assert edge.changed({"capabilities": {"iotEdge": False}}, LATER).scope == ""


def test_edge_devices_name_their_parent():
    parent = "ms-azure-iot-edge://gateway-001-639028224000000000"
    edge = create({"capabilities": {"iotEdge": True}, "parentScopes": [parent]})
    assert edge.to_json(Liveliness())["parentScopes"] == [parent]
    assert edge.to_json(Liveliness())["deviceScope"] != parent
    kept = edge.changed({"status": "disabled"}, LATER)
    assert kept.to_json(Liveliness())["parentScopes"] == [parent]
    freed = edge.changed({"parentScopes": []}, LATER)
    assert freed.to_json(Liveliness())["parentScopes"] == []
    plain = edge.changed({"capabilities": {"iotEdge": False}}, LATER)
    assert plain.to_json(Liveliness())["parentScopes"] == []
    again = plain.changed({"capabilities": {"iotEdge": True}}, LATER)
    assert again.to_json(Liveliness())["parentScopes"] == []
    # of other devices parent and scope are one
    leaf = create({"parentScopes": [parent]})
    assert leaf.to_json(Liveliness())["deviceScope"] == parent
    assert leaf.to_json(Liveliness())["parentScopes"] == [parent]


def test_messages_that_wait_are_counted():
    assert create().to_json(Liveliness(), 2)["cloudToDeviceMessageCount"] == 2


def test_an_update_keeps_what_it_does_not_mention():
    first = create({**sas(KEY, OTHER_KEY), "statusReason": "new"})
    second = first.changed({}, LATER)
    assert second == replace(first, etag=second.etag)
    assert second.etag != first.etag


def test_an_update_changes_what_it_mentions():
    first = create(sas(KEY, OTHER_KEY))
    second = first.changed({"status": "Disabled", "statusReason": "lost", **sas(OTHER_KEY, None)}, LATER)
    assert (second.status, second.status_reason) == ("disabled", "lost")
    assert second.status_updated == "2026-01-02T03:04:05Z"
    assert second.authentication == DeviceCredentials("sas", OTHER_KEY, OTHER_KEY)
    third = second.changed({"statusReason": None, **sas("", KEY)}, NOW)
    assert third.status_reason is None
    assert third.status_updated == second.status_updated
    assert third.authentication.primary_key not in (KEY, OTHER_KEY, "")


def test_keys_of_a_device_that_used_certificates_are_made_anew():
    first = create({"authentication": {"type": "certificateAuthority"}})
    made = first.changed({"authentication": {"type": "sas"}}, LATER).authentication
    assert made.primary_key
    assert made.secondary_key


def test_generations_differ_even_within_one_instant():
    first = create()
    second = new_device("thermostat-001", {}, NOW, after=first.generation)
    assert int(second.generation) == int(first.generation) + 1


@pytest.mark.parametrize("if_match", [None, "*", '"*"', "abc=", '"abc="', 'W/"abc="', ' "abc=" '])
def test_preconditions_that_hold(if_match):
    check_precondition(if_match, "abc=")


@pytest.mark.parametrize("if_match", ["", '""', "abc", '"ABC="', '"**"'])
def test_preconditions_that_fail(if_match):
    with pytest.raises(ServiceError) as caught:
        check_precondition(if_match, "abc=")
    assert caught.value.kind is Hub.PRECONDITION_FAILED


@pytest.mark.parametrize(
    "body",
    [
        {"capabilities": {"iotEdge": True}, "parentScopes": ["ms-azure-iot-edge://gateway-001-1"]},
        {"status": "disabled", "statusReason": "lost", "deviceScope": "ms-azure-iot-edge://gateway-001-1"},
        {"authentication": {"x509Thumbprint": {"secondaryThumbprint": SHA256}}},
        {"authentication": {"type": "certificateAuthority"}},
    ],
)
def test_a_device_is_read_back_as_it_was_kept(body):
    device = replace(create(body), modules=("m", "n"), subscriptions={"a/#": 1})
    assert Device.from_document(json.loads(json.dumps(device.to_document()))) == device
    assert device.authentication.primary_key == "" or device.authentication.primary_key not in repr(device)


def test_a_device_that_an_earlier_version_kept_has_no_parents_and_no_modules():
    document = create().to_document()
    del document["identity"]["parentScopes"], document["modules"], document["subscriptions"]
    device = Device.from_document(document)
    assert (device.parents, device.modules, device.subscriptions) == ((), (), {})


def test_random_texts_are_base64_and_do_not_repeat():
    assert len({new_key() for _ in range(50)}) == len({new_etag() for _ in range(50)}) == 50
    assert base64.b64decode(new_etag()).isdigit()
