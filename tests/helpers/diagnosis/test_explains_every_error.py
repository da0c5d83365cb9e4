"""Every row of the simulator's table of errors, met by the official clients over the wire, and explained.

The simulator is real, only what it answers is forced: an endpoint, or the device session, finds the row at hand instead
of what it would find. Everything behind that (rendering, topics, return codes, trace) is as always, and so are the
clients, which are told to try only once. Where a client would repeat a request for ever, that is said below.
"""

import asyncio
import gc
import re
import warnings
from contextlib import contextmanager
from functools import partial

import pytest
from azure.core.exceptions import AzureError
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient
from azure.iot.device.aio import ProvisioningDeviceClient as AsyncProvisioningDeviceClient
from azure.iot.device.exceptions import ClientError
from patience import wait_until

from dps_simulator import Simulator
from dps_simulator.errors.table import Dps, Hub, Provenance, ResourceManager, ServiceError, Transport, table
from dps_simulator.hub.api import device as hub_device
from dps_simulator.hub.api.device import DeviceSession
from dps_simulator.hub.api.service import HubServiceEndpoint
from dps_simulator.hub.hub import IotHub
from dps_simulator.provisioning.api.registration import DeviceOperations
from dps_simulator.provisioning.api.service import DpsServiceEndpoint
from dps_simulator.provisioning.registration.assignment import Assignments
from dps_simulator.resource.api.endpoint import ResourceManagerEndpoint
from dps_simulator.server import http_adapter
from helpers.credentials import new_key
from helpers.diagnosis import explain
from helpers.target import of_simulator
from helpers.target import registry as registries
from helpers.tpm import TpmProvisioningDeviceClient, open_tpm

pytestmark = pytest.mark.sdk

DEVICE, AT_HUB = "bench-1", "bench-2"

# What must be found where: the symptom, and the rows that lead to it.
MQTT = {
    "registration refused": "UNAUTHORIZED_DEVICE_MQTT INVALID_CERTIFICATE_MQTT CA_CERTIFICATE_NOT_FOUND",
    "registration not found": "ID_SCOPE_NOT_FOUND OPERATION_NOT_FOUND",
    "registration malformed": "INVALID_BODY MALFORMED_JSON INVALID_API_VERSION API_VERSION_NOT_SUPPORTED "
    "TPM_NOT_OVER_MQTT DEVICE_REQUEST_NOT_SUPPORTED DEVICE_REQUEST_FAILED",
    "registration beyond a limit": "LIMIT_REACHED",
    # the device client waits and asks again, for ever: it is the time limit of the program that ends it
    "no answer in time": "THROTTLED UNAVAILABLE",
}
HTTPS = {
    "registration refused": "UNAUTHORIZED_DEVICE INVALID_CERTIFICATE CA_CERTIFICATE_NOT_FOUND",
    "registration not found": "ID_SCOPE_NOT_FOUND OPERATION_NOT_FOUND REGISTRATION_NOT_FOUND ENROLLMENT_NOT_FOUND "
    "ROUTE_NOT_FOUND",
    "registration malformed": "INVALID_BODY MALFORMED_JSON INVALID_API_VERSION API_VERSION_NOT_SUPPORTED "
    "DEVICE_REQUEST_NOT_SUPPORTED",
    "registration beyond a limit": "LIMIT_REACHED",
    "registration too large": "TOO_LARGE",
    "registration request not understood": "METHOD_NOT_ALLOWED UNSUPPORTED_MEDIA_TYPE",
    "registration put off": "THROTTLED UNAVAILABLE INTERNAL",
}
# only clients in other languages meet it: the SDK for Python has no AMQP
OVER_AMQP = {"INVALID_CERTIFICATE_AMQP"}
ENDINGS = {"registration failed": "NO_HUB CUSTOM_ALLOCATION_STATUS CUSTOM_ALLOCATION_FAILED HUB_NOT_FOUND"}
ENROLLMENTS = {
    "request not valid": "INVALID_BODY INVALID_API_VERSION",
    "service key refused": "UNAUTHORIZED_SERVICE TOKEN_EXPIRED",
    "not found": "ENROLLMENT_NOT_FOUND GROUP_NOT_FOUND REGISTRATION_NOT_FOUND",
    "not in the simulator": "ROUTE_NOT_FOUND NOT_SUPPORTED API_VERSION_NOT_SUPPORTED",
    "request in a wrong form": "METHOD_NOT_ALLOWED UNSUPPORTED_MEDIA_TYPE",
    "exists already": "ENROLLMENT_EXISTS GROUP_EXISTS",
    "changed meanwhile": "PRECONDITION_FAILED",
    "too large": "TOO_LARGE",
    "limit reached": "LIMIT_REACHED",
    "too much at once": "THROTTLED",
    "service in trouble": "UNAVAILABLE",
    "simulator failed": "INTERNAL",
}
REGISTRY = {
    "request not valid": "ARGUMENT_INVALID POLICY_KEY_INVALID FORMAT_ERROR",
    "service key refused": "UNAUTHORIZED_ACCESS TOKEN_EXPIRED",
    "quota used up": "QUOTA_EXCEEDED",
    "queue of the device full": "DEVICE_QUEUE_FULL",
    "not found": "DEVICE_NOT_FOUND MODULE_NOT_FOUND",
    "device not online": "DEVICE_NOT_ONLINE",
    "device went away": "DEVICE_CONNECTION_CLOSED",
    "exists already": "DEVICE_EXISTS MODULE_EXISTS",
    "device stands twice in a list": "DEVICE_DEFINED_TWICE",
    "too many for a hub": "TOO_MANY_DEVICES TOO_MANY_MODULES",
    "message no longer held": "DEVICE_MESSAGE_LOCK_LOST",
    "changed meanwhile": "PRECONDITION_FAILED",
    "too large": "MESSAGE_TOO_LARGE",
    "too much at once": "THROTTLED",
    "service in trouble": "UNAVAILABLE",
    "device does not answer": "GATEWAY_TIMEOUT",
    "request in a wrong form": "METHOD_NOT_ALLOWED UNSUPPORTED_MEDIA_TYPE",
    "not in the simulator": "ROUTE_NOT_FOUND API_VERSION_NOT_SUPPORTED NOT_SUPPORTED",
    "simulator failed": "INTERNAL",
}
CONNECT = {
    "connection refused for these credentials": "UNAUTHORIZED_ACCESS TOKEN_EXPIRED DEVICE_NOT_FOUND MODULE_NOT_FOUND",
    "hub not available": "UNAVAILABLE",
}
DROPPED = {
    "connection lost": "CONNECTION_TAKEN_OVER QUOTA_EXCEEDED MESSAGE_TOO_LARGE ROUTE_NOT_FOUND FAULT INTERNAL "
    "TOKEN_EXPIRED THROTTLED"
}
TWIN = {
    "twin refused": "ARGUMENT_INVALID",
    "twin put off": "THROTTLED",
}
MANAGEMENT = {
    "request not valid": "INVALID_REQUEST",
    "possession not proven": "VERIFICATION_FAILED",
    "limit reached": "LIMIT_REACHED",
    "login refused": "UNAUTHORIZED",
    "connection string of the hub refused": "HUB_REFUSES",
    "other access policy needed": "OWNER_POLICY_NEEDED",
    "resource not found": "POLICY_NOT_FOUND OPERATION_NOT_FOUND CERTIFICATE_NOT_FOUND SERVICE_NOT_FOUND",
    "resource cannot move": "LOCATION_FIXED",
    "resource exists already": "SERVICE_EXISTS CERTIFICATE_EXISTS",
    "not in the simulator": "NOT_SUPPORTED ROUTE_NOT_FOUND API_VERSION_NOT_SUPPORTED",
    "request in a wrong form": "METHOD_NOT_ALLOWED UNSUPPORTED_MEDIA_TYPE",
    "etag needed": "PRECONDITION_REQUIRED",
    "simulator failed": "INTERNAL",
}
ANY_SERVICE = {
    "simulator cannot read the request": "INVALID_REQUEST REQUEST_TIMEOUT TOO_LARGE",
    "not in the simulator": "NO_WEBSOCKET_ROUTE EXPECTATION CONTENT_CODING TRANSFER_CODING",
    "simulator failed": "INTERNAL",
}
# Where a symptom has several causes: a word of the one that must be found.
FITTING = {
    "ID_SCOPE_NOT_FOUND": "ID scope",
    "OPERATION_NOT_FOUND": "does not know|is not known",
    "TPM_NOT_OVER_MQTT": "over MQTT, which carries no",
    "TOKEN_EXPIRED": "expired",
    "ENROLLMENT_EXISTS": "enrollment",
    "GROUP_EXISTS": "group",
    "DEVICE_EXISTS": "device of that name",
    "MODULE_EXISTS": "module of that name",
    "MODULE_NOT_FOUND": "module of that name",
    "GROUP_NOT_FOUND": "group",
    "CERTIFICATE_NOT_FOUND": "certificate",
    "SERVICE_NOT_FOUND": "provisioning service",
    "POLICY_NOT_FOUND": "access policy",
    "CONNECTION_TAKEN_OVER": "Another client connected",
    "QUOTA_EXCEEDED": "in a day",
    "MESSAGE_TOO_LARGE": "too large",
    "FAULT": "asked the simulator for this fault",
    "THROTTLED": "More requests|more than",
    "UNAVAILABLE": "not available",
    "GATEWAY_TIMEOUT": "did not answer the method call",
    "INTERNAL": "it failed",
    "NO_HUB": "no hub for it",
    "HUB_NOT_FOUND": "does not exist",
    "CUSTOM_ALLOCATION_STATUS": "webhook",
    "CUSTOM_ALLOCATION_FAILED": "webhook",
}


def cases(owner, *places):
    """Parameters: place, row and symptom, for every row that can be met there."""
    rows = table(owner)
    return [
        pytest.param(rows[row], symptom, row, id=f"{row}")
        for place in places
        for symptom, names in place.items()
        for row in names.split()
    ]


def rows_of(*places):
    return {row for place in places for names in place.values() for row in names.split()}


def check(found, kind, symptom, row, *, code=True):
    """What every explanation must have, and what fits this row."""
    assert found.symptom.name == symptom, str(found)
    for cause in found.causes:
        assert cause.cause
        assert cause.remedy
        assert cause.taught
    if row in FITTING:
        (cause,) = found.causes  # proven, by code or by reason
        assert re.search(FITTING[row], cause.cause), cause.cause
    if code:
        assert found.code == str(kind.code)
        assert found.code in str(found)
        only_here = kind.provenance is Provenance.SIMULATOR_ONLY
        assert found.is_simulator_only is only_here
        assert ("only the simulator answers so" in str(found)) is only_here


@pytest.fixture(scope="module")
def running():
    with Simulator(pace="instant") as simulator:
        yield simulator
    # the device SDK leaves sockets to the garbage collector; nobody else's test shall find them
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="module")
def target(running):
    with of_simulator(running.running) as target:
        key = new_key()
        body = {
            "deviceId": AT_HUB,
            "authentication": {
                "type": "sas",
                "symmetricKey": {"primaryKey": key.reveal(), "secondaryKey": new_key().reveal()},
            },
        }
        rest = registries.RestRegistry(target._connection(target.hubs[0]), **target._way())
        rest._request("PUT", f"/devices/{AT_HUB}", body=body)
        rest.close()
        target.key = key
        yield target


@pytest.fixture(scope="module")
def service(target):
    return target.service_client()


@pytest.fixture(scope="module")
def manager(target):
    """Reads the provisioning service as a resource."""
    operations = target.management_client().iot_dps_resource
    where = {"resource_group_name": target.resource_group, "provisioning_service_name": target.service_name}
    return partial(operations.get, **where, retry_total=0)


@pytest.fixture(scope="module", params=[True, False], ids=["azure-iot-hub", "helpers.registry"])
def registry(request, target):
    if not request.param:
        opened = registries.RestRegistry(target._connection(target.hubs[0]), **target._way())
    elif registries.official_available():
        opened = registries.open_official(target._connection(target.hubs[0]), **target._way())
        opened.protocol.config.retry_policy.retries = 0
    else:
        pytest.skip(registries.WHY_REST)
    yield opened
    registries.close_registry(opened)


@pytest.fixture(scope="module")
def enrolled(service):
    """A device that registers with a key, individually."""
    body = {"registrationId": DEVICE, "attestation": {"type": "symmetricKey"}}
    made = service.enrollment.create_or_update(DEVICE, body)
    return made["attestation"]["symmetricKey"]["primaryKey"]


@pytest.fixture(scope="module")
def tpm(tmp_path_factory):
    with open_tpm("embedded", tmp_path_factory.mktemp("tpm")) as device:
        yield device


@contextmanager
def answering(owner, method, kind, **details):
    """Let a method of the simulator find this row; gives a list that grows with every refusal."""

    refusals = []

    def refuse(*arguments, **options):
        refusals.append(kind)
        raise ServiceError(kind, **details)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, method, refuse)
        yield refusals


@contextmanager
def all_http_answers(owner, kind):
    """Let every request to an endpoint find this row, before anything else is looked at."""

    def refuse(self, request):
        raise ServiceError(kind)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, "_find", refuse)
        yield


def failure(function, *arguments, **options):
    """The exception of a call that must fail."""
    try:
        function(*arguments, **options)
    except Exception as problem:
        return problem
    return pytest.fail("nothing failed")


def test_every_row_is_met_somewhere():
    met = {
        Dps: rows_of(MQTT, HTTPS, ENDINGS, ENROLLMENTS) | OVER_AMQP,
        Hub: rows_of(REGISTRY, CONNECT, DROPPED, TWIN),
        ResourceManager: rows_of(MANAGEMENT),
        Transport: rows_of(ANY_SERVICE),
    }
    for owner, rows in met.items():
        assert rows == set(table(owner)), "a row without an explanation, or one that is gone"
    over_mqtt = {name for name, kind in table(Dps).items() if kind.mqtt == "answer"}
    assert over_mqtt <= rows_of(MQTT)
    for name, kind in table(Hub).items():
        place = {"C": CONNECT, "c": DROPPED, "a": TWIN}.get(kind.mqtt[0])
        assert place is None or name in rows_of(place), name


def test_the_codes_tell_what_is_only_here():
    for owner in (Dps, Hub, ResourceManager, Transport):
        for kind in table(owner).values():
            assert (kind.code % 1000 >= 900) is (kind.provenance is Provenance.SIMULATOR_ONLY), kind


@pytest.mark.parametrize(("kind", "symptom", "row"), cases(Dps, MQTT))
def test_a_device_registers_over_mqtt(target, enrolled, kind, symptom, row):
    options = {
        "provisioning_host": target.provisioning_host,
        "id_scope": target.id_scope,
        "registration_id": DEVICE,
        "symmetric_key": enrolled,
        **target.device_options,
    }
    if kind.status < 429:
        with answering(DeviceOperations, "register", kind):
            problem = failure(ProvisioningDeviceClient.create_from_symmetric_key(**options).register)
        assert isinstance(problem, ClientError)
        check(explain(problem, target), kind, symptom, row)
        return

    async def hurry():
        client = AsyncProvisioningDeviceClient.create_from_symmetric_key(**options)
        with answering(DeviceOperations, "register", kind, retry_after=0) as refusals:
            registering = asyncio.ensure_future(client.register())
            # whoever is impatient has been refused before, however slow the machine is
            await asyncio.to_thread(wait_until, lambda: len(refusals) > 1, "a second refusal")
            with pytest.raises(asyncio.TimeoutError) as caught:
                await asyncio.wait_for(registering, 0.01)
            found = explain(caught.value, target)
        # now that it is answered, the client comes to an end and leaves nothing behind
        assert (await client.register()).status == "assigned"
        return found

    check(asyncio.run(hurry()), kind, symptom, row)


@pytest.mark.parametrize(("kind", "symptom", "row"), cases(Dps, HTTPS))
def test_a_tpm_registers_over_https(target, tpm, monkeypatch, kind, symptom, row):
    client = TpmProvisioningDeviceClient.create_from_tpm(
        target.provisioning_host, target.id_scope, tpm, "bench-tpm", **target.device_options
    )
    with answering(DeviceOperations, "challenge", kind, retry_after=0 if kind.status >= 429 else None):
        problem = failure(client.register)
    check(explain(problem, target), kind, symptom, row)
    # on Azure the answer is the same, and nobody is asked
    assert explain(problem).symptom.name == symptom


@pytest.mark.parametrize(("kind", "symptom", "row"), cases(Dps, ENROLLMENTS))
def test_enrollments_are_managed(target, service, kind, symptom, row):
    with all_http_answers(DpsServiceEndpoint, kind):
        problem = failure(service.enrollment.get, DEVICE, retry_total=0)
    assert isinstance(problem, AzureError)
    check(explain(problem, target), kind, symptom, row)
    check(explain(problem), kind, symptom, row)


@pytest.mark.parametrize(("kind", "symptom", "row"), cases(ResourceManager, MANAGEMENT))
def test_the_service_itself_is_managed(target, manager, kind, symptom, row):
    with all_http_answers(ResourceManagerEndpoint, kind):
        problem = failure(manager)
    assert isinstance(problem, AzureError)
    check(explain(problem, target), kind, symptom, row)
    check(explain(problem), kind, symptom, row)


@pytest.mark.parametrize(("kind", "symptom", "row"), cases(Dps, ENDINGS))
def test_a_registration_that_fails(target, service, enrolled, kind, symptom, row):
    with answering(Assignments, "assign", kind):
        client = ProvisioningDeviceClient.create_from_symmetric_key(
            provisioning_host=target.provisioning_host,
            id_scope=target.id_scope,
            registration_id=DEVICE,
            symmetric_key=enrolled,
            **target.device_options,
        )
        problem = failure(client.register)
    check(explain(problem, target), kind, symptom, row)
    assert explain(problem).symptom.name == symptom
    record = service.device_registration_state.get(DEVICE)
    assert record["status"] == "failed"
    check(explain(record), kind, symptom, row)
    assert record["errorMessage"][:100] in str(explain(record))


@pytest.mark.parametrize(("kind", "symptom", "row"), cases(Hub, REGISTRY))
def test_devices_are_managed(target, registry, kind, symptom, row):
    with all_http_answers(HubServiceEndpoint, kind):
        problem = failure(registry.get_device, DEVICE)
    official = not isinstance(registry, registries.RestRegistry)
    is_repeated = (kind.status == 429 or kind.status >= 500) and kind.status != 501
    if is_repeated:
        # here not even once; and then the client shows neither code nor name, which only the simulator knows
        symptom = "too much at once" if kind.status == 429 else "service in trouble"
    check(explain(problem, target), kind, symptom, row, code=official and not is_repeated)
    assert explain(problem).symptom.name == symptom


def device_client(target, **options):
    return IoTHubDeviceClient.create_from_symmetric_key(
        symmetric_key=target.key.reveal(),
        hostname=target.hubs[0],
        device_id=AT_HUB,
        connection_retry=False,
        **{**target.device_options, **options},
    )


@pytest.mark.parametrize(("kind", "symptom", "row"), cases(Hub, CONNECT))
def test_a_device_connects(target, kind, symptom, row):
    def refuse(self, connect):
        raise hub_device._RefusedError(int(kind.mqtt.removeprefix("CONNACK ")), kind.message)

    client = device_client(target)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DeviceSession, "_admit", refuse)
        problem = failure(client.connect)
    client.shutdown()
    assert isinstance(problem, ClientError)
    found = explain(problem, target)
    assert found.symptom.name == symptom
    assert found.reason == kind.message
    assert len(found.causes) == 1 or kind is Hub.UNAUTHORIZED_ACCESS
    # a return code is all that there is
    assert not found.code
    assert explain(problem).symptom.name == symptom


@pytest.mark.parametrize(("kind", "symptom", "row"), cases(Hub, DROPPED))
def test_a_connection_is_dropped(target, kind, symptom, row):
    def drop(self, message):
        self.drop(ServiceError(kind))

    client = device_client(target)
    background = []
    client.on_background_exception = background.append
    client.connect()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DeviceSession, "_telemetry", drop)
        problem = failure(client.send_message, "x")
    wait_until(lambda: background, "the end of the connection, told in the background,")
    client.shutdown()
    # the SDK gives up the message, unless it notices the end of the connection before it has sent it
    found = explain(problem, target)
    check(found, kind, symptom if found.symptom.name == symptom else "message not confirmed", row)
    (lost,) = background
    check(explain(lost, target), kind, symptom, row)


@pytest.mark.parametrize(("kind", "symptom", "row"), cases(Hub, TWIN))
def test_a_device_reads_its_twin(target, kind, symptom, row):
    client = device_client(target)
    client.connect()
    with answering(IotHub, "device_twin", kind):
        problem = failure(client.get_twin)
    client.shutdown()
    found = explain(problem, target)
    check(found, kind, symptom, row)
    assert explain(problem).symptom.name == symptom


@pytest.mark.parametrize(("kind", "symptom", "row"), cases(Transport, ANY_SERVICE))
def test_the_server_itself_answers(target, service, manager, registry, kind, symptom, row):
    async def refuse(self, request):
        return http_adapter._refusal(kind)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http_adapter.HttpAdapter, "_request", refuse)
        problems = [
            failure(service.enrollment.get, DEVICE, retry_total=0),
            failure(manager),
            failure(registry.get_device, DEVICE),
        ]
    for problem in problems[:2]:
        check(explain(problem, target), kind, symptom, row)
    # these clients show the text only: a hub has names instead of codes
    assert explain(problems[2], target).symptom.name != "not in the table"
