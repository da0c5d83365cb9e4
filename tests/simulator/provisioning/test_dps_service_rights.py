"""Which access policy may do what through the service API, and with which of its keys."""

import asyncio

import pytest
from provisioning_parts import OTHER_KEY, PRIMARY_KEY, SECONDARY_KEY, Provisioning

from dps_simulator.common.http import Peer, Request
from dps_simulator.common.trace import Trace
from dps_simulator.credentials import sas
from dps_simulator.errors.table import Dps
from dps_simulator.provisioning.access_policies import RIGHTS, AccessPolicies, AccessPolicy
from dps_simulator.provisioning.api.service import DpsServiceEndpoint

HOST = "mydps.azure-devices-provisioning.test"
CALLS = {
    "EnrollmentRead": [
        ("GET", "/enrollments/device-1"),
        ("GET", "/enrollmentGroups/group-1"),
        ("POST", "/enrollments/query"),
        ("POST", "/enrollmentGroups/query"),
    ],
    "EnrollmentWrite": [
        ("PUT", "/enrollments/device-1"),
        ("DELETE", "/enrollmentGroups/group-1"),
        ("POST", "/enrollments"),
        ("POST", "/enrollments/device-1/attestationmechanism"),
    ],
    "RegistrationStatusRead": [("GET", "/registrations/device-1"), ("POST", "/registrations/group-1/query")],
    "RegistrationStatusWrite": [("DELETE", "/registrations/device-1")],
}
#: By the right that a policy has, the rights whose calls it may make.
MAY = {
    "ServiceConfig": set(),
    "DeviceConnect": set(),
    "EnrollmentRead": {"EnrollmentRead"},
    "EnrollmentWrite": {"EnrollmentRead", "EnrollmentWrite", "RegistrationStatusRead", "RegistrationStatusWrite"},
    "RegistrationStatusRead": {"RegistrationStatusRead"},
    "RegistrationStatusWrite": {"RegistrationStatusRead", "RegistrationStatusWrite"},
}


class World:
    def __init__(self):
        self.parts = Provisioning()
        self.policies = AccessPolicies(self.parts.store, owner_name="owner", owner_key=PRIMARY_KEY)
        self.trace = Trace(self.parts.clock)
        self.endpoint = DpsServiceEndpoint(
            service=self.parts.service,
            clock=self.parts.clock,
            trace=self.trace,
            host=HOST,
            policies=self.policies,
            transaction=self.parts.store.transaction,
        )

    def status(self, method, path, key, policy):
        token = sas.sign(HOST, sas.decode_key(key), int(self.parts.now) + 60, policy)
        request = Request(method, path, {"api-version": "2021-10-01"}, {"authorization": token}, b"", Peer(HOST))
        answer = asyncio.run(self.endpoint.handle(request))
        if answer.status == 401:
            assert answer.body["errorCode"] == Dps.UNAUTHORIZED_SERVICE.code
        return answer.status


@pytest.fixture
def world():
    return World()


def test_every_right_is_tried():
    assert set(MAY) == set(RIGHTS)


@pytest.mark.parametrize("right", MAY)
def test_a_policy_may_do_what_its_right_says(world, right):
    world.policies.put(AccessPolicy("one", PRIMARY_KEY, SECONDARY_KEY, (right,)))
    for needed, calls in CALLS.items():
        for method, path in calls:
            refused = world.status(method, path, SECONDARY_KEY, "one") == 401
            assert refused is (needed not in MAY[right]), f"{method} {path}"
            if refused:
                assert (
                    world.trace.events()[-1].detail["reason"]
                    == f"policy 'one' has the rights {right}, and not {needed}"
                )


def test_both_keys_sign_until_they_are_replaced(world):
    secondary = world.policies.owner.secondary_key
    call = ("POST", "/enrollments/query")
    assert {world.status(*call, key, "owner") for key in (PRIMARY_KEY, secondary)} == {400}
    world.policies.replace_all(
        world.policies.read("rules", [{"keyName": "owner", "rights": "EnrollmentRead", "primaryKey": OTHER_KEY}])
    )
    assert [world.status(*call, key, "owner") for key in (PRIMARY_KEY, secondary, OTHER_KEY)] == [401, 400, 400]
    assert world.status(*call, secondary, "somebody") == 401
