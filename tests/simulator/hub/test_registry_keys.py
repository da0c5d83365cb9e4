"""New keys for many devices and modules at once."""

from __future__ import annotations

import pytest

from dps_simulator.common.clock import ManualClock
from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.hub.hub import IotHub
from dps_simulator.hub.registry_bulk import MAX_OPERATIONS
from dps_simulator.hub.registry_keys import regenerate_keys
from dps_simulator.process.store import Store


@pytest.fixture
def hub():
    store = Store()
    yield IotHub(host="contoso-hub-1.azure-devices.test", storage=store, clock=ManualClock())
    store.close()


@pytest.mark.parametrize(("name", "kept"), [("primaryKey", "secondaryKey"), ("SECONDARYKEY", "primaryKey")])
def test_one_key_is_new_and_the_other_stays(hub, name, kept):
    before = hub.put_device("d", {})["authentication"]["symmetricKey"]
    module = hub.put_device("d/m", {})
    done = regenerate_keys(hub, {"policyKey": name, "devices": [{"id": "d"}, {"id": "d", "moduleId": "m"}]})
    of_device, of_module = done["rotatedKeys"]
    assert done["errors"] == []
    assert {key for key in before if of_device[key] == before[key]} == {kept}
    assert {key for key, value in module["authentication"]["symmetricKey"].items() if of_module[key] == value} == {kept}
    assert hub.device("d")["authentication"]["symmetricKey"] == {key: of_device[key] for key in before}
    assert of_module["moduleId"] == "m"


def test_both_keys_are_new(hub):
    before = hub.put_device("d", {})["authentication"]["symmetricKey"]
    done = regenerate_keys(hub, {"policyKey": "Both", "devices": [{"id": "d"}]})
    (rotated,) = done["rotatedKeys"]
    after = hub.device("d")["authentication"]["symmetricKey"]
    assert done["policyKey"] == "both"
    assert after == {key: rotated[key] for key in before}
    assert not {*before.values()} & {*after.values()}


def test_what_has_no_keys_or_is_not_there_is_listed(hub):
    hub.put_device("ca", {"authentication": {"type": "certificateAuthority"}})
    items = [{"id": "ca"}, {"id": "nobody"}, {"id": "ca", "moduleId": "m"}, {"id": 5}]
    done = regenerate_keys(hub, {"policyKey": "primaryKey", "devices": items})
    assert done["rotatedKeys"] == []
    assert [each["errorCode"] for each in done["errors"]] == [400004, 404001, 404010, 400004]
    assert [(each["id"], each.get("moduleId")) for each in done["errors"][:3]] == [
        ("ca", None),
        ("nobody", None),
        ("ca", "m"),
    ]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (None, Hub.ARGUMENT_INVALID),
        ({"policyKey": 5, "devices": []}, Hub.POLICY_KEY_INVALID),
        ({"policyKey": "swap", "devices": []}, Hub.POLICY_KEY_INVALID),
        ({"policyKey": "Unknown", "devices": []}, Hub.POLICY_KEY_INVALID),
        ({"policyKey": "primary", "devices": []}, Hub.POLICY_KEY_INVALID),
        ({"devices": []}, Hub.POLICY_KEY_INVALID),
        ({"policyKey": "primaryKey", "devices": {}}, Hub.ARGUMENT_INVALID),
        ({"policyKey": "primaryKey", "devices": [1]}, Hub.ARGUMENT_INVALID),
        ({"policyKey": "primaryKey", "devices": [{}] * (MAX_OPERATIONS + 1)}, Hub.TOO_MANY_DEVICES),
    ],
)
def test_wrong_requests(hub, body, kind):
    with pytest.raises(ServiceError) as caught:
        regenerate_keys(hub, body)
    assert caught.value.kind is kind
