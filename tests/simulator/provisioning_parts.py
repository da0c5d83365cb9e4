"""What the tests of the provisioning service share: a hub that only remembers, and a service around it."""

import base64
from dataclasses import dataclass, field

from dps_simulator.common.clock import ManualClock
from dps_simulator.common.identifiers import RegistrationId
from dps_simulator.credentials import sas
from dps_simulator.credentials.symmetric_keys import SymmetricKey
from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.process.store import Store
from dps_simulator.provisioning.registration.states import Pace
from dps_simulator.provisioning.service import ProvisioningService

ID_SCOPE = "0ne00000A01"
PRIMARY_KEY = base64.b64encode(b"primary key of the enrollment...").decode()
SECONDARY_KEY = base64.b64encode(b"secondary key of the enrollment.").decode()
OTHER_KEY = base64.b64encode(b"a key that nobody has enrolled..").decode()
HUB_1, HUB_2 = "hub-1.azure-devices.test", "hub-2.azure-devices.test"
#: An enrollment's initial twin, and what became of it in the hub.
INITIAL = {"tags": {"room": 5}, "properties": {"desired": {"interval": 3}}}
GROWN = {"tags": {"room": 6}, "properties": {"desired": {"interval": 4}}, "reported": {"temperature": 20}}
#: The three policies of reprovisioning.
MIGRATE = {"updateHubAssignment": True, "migrateDeviceData": True}
RESET = {"updateHubAssignment": True, "migrateDeviceData": False}
NEVER = {"updateHubAssignment": False, "migrateDeviceData": False}


@dataclass
class FakeHub:
    """Keeps what it was given. A device ID that begins with "refused" makes it fail."""

    host: str
    devices: dict = field(default_factory=dict)

    def provision_device(self, device_id, credentials, *, iot_edge, initial_twin, reset):
        if device_id.startswith("refused"):
            raise ServiceError(Hub.ARGUMENT_INVALID, "the hub did not like it")
        present = self.devices.get(device_id)
        self.devices[device_id] = {
            "credentials": credentials,
            "iot_edge": iot_edge,
            "twin": initial_twin if present is None or reset else present["twin"],
        }

    def twin_content(self, device_id):
        device = self.devices.get(device_id)
        return None if device is None else device["twin"]

    def remove_device(self, device_id):
        device = self.devices.pop(device_id, None)
        return None if device is None else device["twin"]


class Provisioning:
    """A provisioning service with everything around it that a test looks at."""

    def __init__(self, pace="instant", hubs=("hub-1.azure-devices.test",), store=None, clock=None):
        self.clock = clock or ManualClock()
        self.store = store or Store()
        self.hubs = [FakeHub(host) for host in hubs]
        self.service = ProvisioningService(
            storage=self.store,
            clock=self.clock,
            id_scope=ID_SCOPE,
            hubs=lambda: self.hubs,
            pace=Pace.parse(pace),
        )
        self.individuals = self.service.enrollments.individuals
        self.groups = self.service.enrollments.groups
        self.registrations = self.service.registrations

    @property
    def now(self):
        return self.clock.now().timestamp()

    @property
    def hub(self):
        return self.hubs[0]

    def enroll(self, registration_id="device-1", if_match=None, **fields):
        return self.individuals.put(registration_id, individual_body(registration_id, **fields), if_match)

    def enroll_group(self, name="group-1", if_match=None, **fields):
        return self.groups.put(name, group_body(name, **fields), if_match)

    def register(self, registration_id="device-1", enrollment=None, **more):
        enrollment = enrollment or self.individuals.get(registration_id)
        return self.registrations.register(registration_id, enrollment, **more)

    def attest(self, registration_id, evidence, **more):
        name = RegistrationId(registration_id)
        return self.service.attest(name, evidence, self.service.individual(name), **more)

    def token(self, registration_id="device-1", key=PRIMARY_KEY, scope=ID_SCOPE, seconds=3600):
        resource = f"{scope}%2Fregistrations%2F{registration_id}"
        return sas.sign(resource, sas.decode_key(key), int(self.now) + seconds)


def derived_key(group_key, registration_id):
    """The key of a device of a group, base64 like the group's."""
    return SymmetricKey.of(group_key).derive(registration_id).text


def symmetric_key(primary=PRIMARY_KEY, secondary=SECONDARY_KEY):
    return {"type": "symmetricKey", "symmetricKey": {"primaryKey": primary, "secondaryKey": secondary}}


def individual_body(registration_id="device-1", **fields):
    return {"registrationId": registration_id, "attestation": symmetric_key(), **fields}


def group_body(name="group-1", **fields):
    return {"enrollmentGroupId": name, "attestation": symmetric_key(), **fields}
