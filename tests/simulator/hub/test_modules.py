from __future__ import annotations

import base64
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.hub.checks import check_id
from dps_simulator.hub.devices import NEVER, Liveliness, authentication_json
from dps_simulator.hub.modules import (
    Module,
    check_address,
    module_address,
    new_module,
    split_address,
)

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
KEY = base64.b64encode(b"k" * 32).decode()


def test_addresses():
    assert module_address("d", "m") == "d/m"
    assert split_address("d/m") == check_address("d/m") == ("d", "m")
    assert split_address("d") == check_address("d") == ("d", "")


@pytest.mark.parametrize("module_id", ["", "a b", "a/b", "x" * 129, None, 5])
def test_impossible_module_ids(module_id):
    with pytest.raises(ServiceError, match="The module ID") as caught:
        check_id(module_id, "module")
    assert caught.value.kind is Hub.ARGUMENT_INVALID


@pytest.mark.parametrize(("address", "what"), [("d/", "module"), ("/m", "device"), ("a b/m", "device"), ("", "device")])
def test_impossible_addresses(address, what):
    with pytest.raises(ServiceError, match=f"The {what} ID"):
        check_address(address)


def test_a_new_module():
    module = new_module("d", "m", {"deviceId": None, "moduleId": "m", "managedBy": "me"}, NOW, after="1")
    shown = module.to_json(Liveliness(connected=True, changed=NOW), 2)
    assert shown == {
        "moduleId": "m",
        "managedBy": "me",
        "deviceId": "d",
        "generationId": module.generation,
        "etag": module.etag,
        "connectionState": "Connected",
        "connectionStateUpdatedTime": "2026-01-01T00:00:00Z",
        "lastActivityTime": NEVER,
        "cloudToDeviceMessageCount": 2,
        "authentication": authentication_json(module.authentication),
    }
    assert module.authentication.primary_key
    assert module.authentication.secondary_key
    assert Module.from_document(module.to_document()) == module
    later = new_module("d", "m", {}, NOW, after=module.generation)
    assert int(later.generation) > int(module.generation)


def test_a_change_keeps_what_it_does_not_mention():
    first = new_module("d", "m", {"managedBy": "me", "authentication": {"symmetricKey": {"primaryKey": KEY}}}, NOW)
    second = first.changed({}, NOW)
    assert second == replace(first, etag=second.etag)
    assert second.etag != first.etag
    third = first.changed({"managedBy": None, "authentication": {"type": "certificateAuthority"}}, NOW)
    assert (third.managed_by, third.authentication.type) == (None, "certificateAuthority")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"deviceId": "e"}, "deviceId is 'e'"),
        ({"moduleId": "M"}, "moduleId is 'M'"),
        ({"managedBy": 5}, "managedBy is 5"),
        ({"managedBy": "x" * 129}, "managedBy is "),
        ({"authentication": {"type": "none"}}, "authentication.type is 'none'"),
    ],
)
def test_a_wrong_field_is_named(body, field):
    module = new_module("d", "m", {}, NOW)
    for write in (lambda: new_module("d", "m", body, NOW), lambda: module.changed(body, NOW)):
        with pytest.raises(ServiceError) as caught:
            write()
        assert caught.value.message.startswith(field)
