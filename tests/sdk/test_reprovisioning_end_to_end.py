"""Devices that register again, through the real device SDK: moved, reset, kept, retired, in any order."""

import contextlib

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient
from azure.iot.device import exceptions as device_errors
from azure.iot.hub.models import Twin, TwinProperties
from msrest.exceptions import HttpOperationError
from patience import wait_until
from sdk_clients import KEY, derive

pytestmark = pytest.mark.sdk

HUBS = [f"contoso-hub-{number}.azure-devices.test" for number in (1, 2)]
INITIAL = {"tags": {"site": "lab"}, "properties": {"desired": {"interval": 10}}}
POLICIES = {
    "none": None,
    "migrate": {"updateHubAssignment": True, "migrateDeviceData": True},
    "reset": {"updateHubAssignment": True, "migrateDeviceData": False},
    "never": {"updateHubAssignment": False, "migrateDeviceData": False},
}


class Fleet:
    """One simulator with two hubs, and everything that is done to a device in it."""

    def __init__(self, sdk):
        sdk.simulator.link_hub(HUBS[1])
        sdk.running = sdk.simulator.running
        self.sdk = sdk
        self.service = sdk.service()
        self.registries = [sdk.registry(hub.connection_string) for hub in sdk.running.hubs]

    def enroll(self, host, policy="none", **changes):
        body = {
            "registrationId": "device-1",
            "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}},
            "allocationPolicy": "static",
            "iotHubs": [host],
            "initialTwin": INITIAL,
            **({"reprovisionPolicy": POLICIES[policy]} if POLICIES[policy] else {}),
            **changes,
        }
        try:
            match = {"etag": self.service.enrollment.get("device-1")["etag"]}
        except ResourceNotFoundError:
            match = {}
        return self.service.enrollment.create_or_update(
            "device-1", body, **({"if_match": match["etag"]} if match else {})
        )

    def register(self, registration_id="device-1", key=KEY):
        client = ProvisioningDeviceClient.create_from_symmetric_key(
            self.sdk.running.provisioning_host,
            registration_id,
            self.sdk.running.id_scope,
            key,
            **self.sdk.device_options(),
        )
        state = client.register().registration_state
        return state.assigned_hub, state.sub_status

    def change_twin(self, number):
        self.registries[number].update_twin(
            "device-1", Twin(tags={"floor": 2}, properties=TwinProperties(desired={"interval": 99})), "*"
        )

    def where(self, device_id="device-1"):
        """Numbers of the hubs that know the device."""
        found = []
        for number, registry in enumerate(self.registries):
            with contextlib.suppress(HttpOperationError):
                registry.get_device(device_id)
                found.append(number)
        return found

    def twin(self, number):
        twin = self.registries[number].get_twin("device-1")
        return twin.tags, twin.properties.desired["interval"], twin.properties.reported.get("firmware")


@pytest.fixture
def fleet(sdk):
    return Fleet(sdk)


def report(fleet, host):
    device = IoTHubDeviceClient.create_from_symmetric_key(KEY, host, "device-1", **fleet.sdk.device_options())
    device.connect()
    device.patch_twin_reported_properties({"firmware": "1.2"})
    return device


#: The SDK speaks API version 2019-03-31, which does not tell this from the first time.
STAYS = "initialAssignment"
GROWN = ({"site": "lab", "floor": 2}, 99, "1.2")
NEW = ({"site": "lab"}, 10, None)
RESET = ({"site": "lab"}, 10, "1.2")


@pytest.mark.parametrize(
    ("policy", "to", "substatus", "hub", "twin"),
    [
        ("none", 1, "deviceDataMigrated", 1, GROWN),
        ("migrate", 1, "deviceDataMigrated", 1, GROWN),
        ("migrate", 0, STAYS, 0, GROWN),
        ("reset", 1, "deviceDataReset", 1, NEW),
        # the factory reset: what the device reported is its own
        ("reset", 0, "deviceDataReset", 0, RESET),
        ("never", 1, STAYS, 0, GROWN),
    ],
)
def test_policies(fleet, policy, to, substatus, hub, twin):
    fleet.enroll(HUBS[0], policy)
    assert fleet.register() == (HUBS[0], "initialAssignment")
    device = report(fleet, HUBS[0])
    fleet.change_twin(0)
    fleet.enroll(HUBS[to], policy)
    assert fleet.register() == (HUBS[hub], substatus)
    assert fleet.where() == [hub]
    assert fleet.twin(hub) == twin
    if hub == 1:
        # the old hub drops it, and takes it no more
        wait_until(lambda: not device.connected, "the end of the connection to the old hub")
    device.shutdown()
    moved = report(fleet, HUBS[hub])
    assert moved.get_twin()["desired"]["interval"] == twin[1]
    moved.shutdown()


def test_a_device_follows_the_list_of_hubs_and_comes_back(fleet):
    for number, (host, substatus) in enumerate(
        [
            (HUBS[0], "initialAssignment"),
            (HUBS[1], "deviceDataMigrated"),
            (HUBS[0], "deviceDataMigrated"),
            (HUBS[0], STAYS),
        ]
    ):
        fleet.enroll(host)
        assert fleet.register() == (host, substatus), number
        assert fleet.where() == [HUBS.index(host)]


def test_a_hub_that_does_not_take_the_device_does_not_cost_it_the_old_one(fleet):
    fleet.enroll(HUBS[0], "migrate")
    fleet.register()
    fleet.change_twin(0)
    # the new hub gets a twin that it refuses
    fleet.enroll(HUBS[1], "reset", initialTwin={"tags": {"a.b": 1}})
    with pytest.raises(device_errors.ClientError):
        fleet.register()
    assert fleet.service.device_registration_state.get("device-1")["status"] == "failed"
    assert fleet.where() == [0]
    assert fleet.twin(0)[:2] == GROWN[:2]
    fleet.enroll(HUBS[1], "migrate")
    assert fleet.register() == (HUBS[1], "deviceDataMigrated")
    assert fleet.where() == [1]


def test_a_hub_that_is_unlinked_keeps_its_devices(fleet):
    fleet.enroll(HUBS[1])
    fleet.register()
    fleet.sdk.simulator.unlink_hub(HUBS[1])
    device = report(fleet, HUBS[1])
    assert device.connected
    fleet.enroll(HUBS[0])
    assert fleet.register() == (HUBS[0], "deviceDataReset")
    assert fleet.where() == [0, 1]
    assert device.connected
    device.shutdown()


def registration_status(fleet):
    try:
        return fleet.service.device_registration_state.get("device-1")["status"]
    except ResourceNotFoundError:
        return None


def test_deleting_the_registration_first(fleet):
    fleet.enroll(HUBS[0], "never")
    fleet.register()
    fleet.service.device_registration_state.delete("device-1")
    assert fleet.service.enrollment.get("device-1")["registrationState"]["status"] == "unassigned"
    assert fleet.where() == [0]
    # nothing is remembered: not even "never" keeps it in its old hub, where it stays as well
    fleet.enroll(HUBS[1], "never")
    assert fleet.register() == (HUBS[1], "initialAssignment")
    assert fleet.where() == [0, 1]


def test_deleting_the_enrollment_first(fleet):
    fleet.enroll(HUBS[0])
    fleet.register()
    fleet.change_twin(0)
    fleet.service.enrollment.delete("device-1")
    assert registration_status(fleet) is None
    # it still connects, and cannot register any more
    report(fleet, HUBS[0]).shutdown()
    with pytest.raises(device_errors.ClientError):
        fleet.register()
    # enrolled anew, it is a first time, and what is in the hub stays
    fleet.enroll(HUBS[0])
    assert fleet.register() == (HUBS[0], "initialAssignment")
    assert fleet.twin(0) == GROWN


def test_deleting_the_device_first(fleet):
    fleet.enroll(HUBS[0])
    fleet.register()
    fleet.change_twin(0)
    fleet.registries[0].delete_device("device-1")
    assert registration_status(fleet) == "assigned"
    assert fleet.register() == (HUBS[0], STAYS)
    assert fleet.twin(0) == NEW
    fleet.registries[0].delete_device("device-1")
    fleet.enroll(HUBS[1])
    assert fleet.register() == (HUBS[1], "deviceDataReset")
    assert (fleet.where(), fleet.twin(1)) == ([1], NEW)


def test_a_group_that_is_deleted_leaves_its_devices(fleet):
    fleet.sdk.enroll_group("sensors", allocationPolicy="static", iotHubs=[HUBS[1]])
    names = ["sensor-1", "sensor-2"]
    for name in names:
        assert fleet.register(name, derive(KEY, name)) == (HUBS[1], "initialAssignment")
    fleet.service.enrollment_group.delete("sensors")
    for name in names:
        with pytest.raises(ResourceNotFoundError):
            fleet.service.device_registration_state.get(name)
        assert fleet.where(name) == [1]


def test_a_disabled_enrollment_leaves_the_device_in_its_hub(fleet):
    fleet.enroll(HUBS[0])
    fleet.register()
    fleet.enroll(HUBS[1], provisioningStatus="disabled")
    with pytest.raises(device_errors.ClientError):
        fleet.register()
    assert registration_status(fleet) == "disabled"
    assert fleet.where() == [0]
    fleet.enroll(HUBS[1])
    assert fleet.register() == (HUBS[1], "deviceDataMigrated")
