"""Whose failure it is, and what its client was given: errors of the unmodified SDKs, with others before and after."""

import asyncio
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType, SimpleNamespace

import pytest
from azure.core.exceptions import ServiceResponseError
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient, ProxyOptions
from azure.iot.device.aio import ProvisioningDeviceClient as AsyncProvisioningDeviceClient
from azure.iot.device.exceptions import ConnectionDroppedError
from azure.iot.deviceprovisioning import DeviceProvisioningClient

from dps_simulator import Simulator
from helpers.credentials import ConnectionString, new_key
from helpers.diagnosis import causes, causes_at_client, explain
from helpers.recipes import symmetric_key as lessons
from helpers.target import of_simulator, registry
from helpers.tpm import TpmProvisioningDeviceClient, open_tpm

pytestmark = pytest.mark.sdk

KEY = new_key().reveal()


def failure(function, *arguments, **options):
    with pytest.raises(Exception) as caught:  # noqa: PT011  (which class it is, is the SDK's business)
        function(*arguments, **options)
    return caught.value


def register(dps, registration_id="pump-1", *, kind=ProvisioningDeviceClient, **options):
    given = {
        "provisioning_host": dps.provisioning_host,
        "id_scope": dps.id_scope,
        "registration_id": registration_id,
        "symmetric_key": KEY,
        **dps.device_options,
        **options,
    }
    return kind.create_from_symmetric_key(**given).register()


def connect(dps, device_id="pump-1", **options):
    given = {"hostname": dps.hubs[0], "device_id": device_id, "symmetric_key": KEY, **dps.device_options, **options}
    client = IoTHubDeviceClient.create_from_symmetric_key(**given)
    try:
        client.connect()
    finally:
        client.shutdown()


WRONG_IDS = [
    "",
    " ",
    "pump 1",
    "pump-1\n",
    "\tpump-1",
    "pümp",
    "pump/1",
    "pump_",
    "pump#",
    "a" * 300,
    "pump\0",
    7,
    None,
]


@pytest.mark.parametrize("registration_id", WRONG_IDS, ids=repr)
def test_a_registration_id_that_cannot_be_is_the_only_cause(dps, registration_id):
    failure(register, dps, "stranger-1")
    problem = failure(register, dps, registration_id)
    for found in (explain(problem, dps), explain(problem, dps, attestation="x509"), explain(problem)):
        assert found.causes == (causes_at_client.REGISTRATION_ID,), str(found)
        assert "registration ID that the client was given cannot be one" in found.given
        assert found.given in str(found)
        assert "What your client was given" in found.html()
        assert "stranger" not in str(found)


def test_the_asynchronous_client_and_that_for_tpms_show_it_too(dps, tmp_path):
    problem = failure(lambda: asyncio.run(register(dps, "pump 1", kind=AsyncProvisioningDeviceClient)))
    assert explain(problem, dps).causes == (causes_at_client.REGISTRATION_ID,)
    with open_tpm("embedded", tmp_path) as tpm:
        place = (dps.provisioning_host, dps.id_scope, tpm)
        problem = failure(TpmProvisioningDeviceClient.create_from_tpm(*place, "pump_", **dps.device_options).register)
        assert explain(problem, dps).causes == (causes_at_client.REGISTRATION_ID,)
        nobody = failure(TpmProvisioningDeviceClient.create_from_tpm(*place, **dps.device_options).register)
    failure(register, dps, "stranger-1")
    assert explain(nobody, dps).causes == (causes.UNKNOWN_TPM,)


PASTED = ["https://{}", "{}/", "{}:443", "{}\n", " {}", "{}/path", "", "a b.test", "HostName={}"]


@pytest.mark.parametrize("websockets", [False, True])
@pytest.mark.parametrize("pasted", PASTED)
def test_a_host_as_people_paste_it(dps, pasted, websockets):
    problem = failure(register, dps, provisioning_host=pasted.format(dps.provisioning_host), websockets=websockets)
    for found in (explain(problem, dps), explain(problem)):
        assert found.causes == (causes_at_client.HOST,), str(found)
        assert found.given.startswith("The host name that the client was given cannot be one: it ")


@pytest.mark.parametrize("pasted", ["https://{}", "{}/", "{}:443", "{}\n"])
def test_a_hub_as_people_paste_it(dps, pasted):
    found = explain(failure(connect, dps, hostname=pasted.format(dps.hubs[0])), dps)
    assert found.causes == (causes_at_client.HOST,), str(found)


def test_hosts_in_each_others_place(dps):
    found = explain(failure(connect, dps, hostname=dps.provisioning_host), dps)
    assert found.causes == (causes_at_client.HUB_CLIENT_AT_DPS,), str(found)
    found = explain(failure(register, dps, provisioning_host=dps.hubs[0]), dps)
    assert found.causes == (causes_at_client.DPS_CLIENT_AT_HUB,), str(found)
    found = explain(failure(connect, dps, hostname="management.azure.test"), dps)
    assert found.reason.startswith("no device endpoint has the host name")
    assert "no devices are served" in found.causes[0].cause


def test_what_is_not_simulated_is_told_in_the_simulators_words(dps):
    found = explain(failure(register, dps, provisioning_host="other.test"), dps)
    assert "'other.test' is not simulated here" in found.reason
    assert len(found.causes) == 1
    assert causes.SIMULATOR_GONE not in found.causes
    # the same mistake of somebody else does not count
    found = explain(failure(register, dps, provisioning_host="third.test"), dps)
    assert "other.test" not in found.reason


def test_a_way_that_does_not_lead_to_the_simulator(dps, monkeypatch):
    def nowhere(*place, **options):
        raise socket.gaierror(-2, "Name or service not known")

    problem = failure(register, dps, proxy_options=ProxyOptions("HTTP", "127.0.0.1", 9))
    assert explain(problem, dps).causes == (causes_at_client.OTHER_WAY,)
    with monkeypatch.context() as network:
        network.setattr(socket, "create_connection", nowhere)
        problem = failure(register, dps, proxy_options=None)
    assert explain(problem, dps).causes == (causes_at_client.NO_OPTIONS,)


def test_a_name_of_a_device_that_no_hub_takes(dps):
    for name in ("pump 1", "pump\n", "pümp", "a" * 200):
        found = explain(failure(connect, dps, name), dps)
        assert found.causes == (causes_at_client.DEVICE_ID,), str(found)
    found = explain(failure(register, dps, id_scope="0ne/0000A01"), dps)
    assert found.causes == (causes_at_client.ID_SCOPE,), str(found)


def test_everybody_is_told_the_own_reason_whoever_failed_last(dps):
    service = dps.service_client()
    for name in ("pump-1", "pump-2"):
        body = {"registrationId": name, "attestation": {"type": "symmetricKey"}}
        service.enrollment.create_or_update(name, body)
    first, second = failure(register, dps, "pump-1"), failure(register, dps, "pump-2")
    third, fourth = failure(connect, dps, "pump-3"), failure(connect, dps, "pump-4")
    wrong = ConnectionString(dps.service_host, "nobody", new_key())
    program = DeviceProvisioningClient.from_connection_string(wrong.text().reveal(), transport=dps._transport())
    fifth = failure(program.enrollment.get, "pump-1")
    sixth = failure(service.enrollment.get, "pump-6")
    for problem, name in ((first, "pump-1"), (second, "pump-2"), (third, "pump-3"), (fourth, "pump-4")):
        assert f"{name!r}" in explain(problem, dps).reason
    assert "nobody" in explain(fifth, dps).reason
    assert "pump-6" in explain(sixth, dps).reason


def test_a_failure_on_the_way_is_not_told_with_an_older_refusal(dps):
    failure(register, dps, "pump-1")
    failure(connect, dps, "pump-1")
    assert "CONNECT target" in explain(failure(register, dps, provisioning_host="a.test/x"), dps).reason
    assert explain(failure(register, dps, server_verification_cert=None), dps).symptom.name == "certificate not trusted"
    assert "pump-1" not in explain(TimeoutError(), dps).reason
    assert explain(ssl.SSLError(1, "handshake failure"), dps).reason == ""


@pytest.mark.parametrize("name", ["pump 1", "pump-1\n", "pump/1", "pümp", "pump_", "", "a" * 129])
def test_names_that_cannot_be_are_told_where_the_service_is_managed(dps, name):
    service, body = dps.service_client(), {"registrationId": name, "attestation": {"type": "symmetricKey"}}
    asked = [
        failure(service.enrollment.create_or_update, name, body),
        failure(service.enrollment.get, name),
        failure(service.enrollment_group.get, name),
        failure(service.device_registration_state.get, name),
    ]
    for problem in asked:
        assert explain(problem, dps).causes == (causes_at_client.REGISTRATION_ID,), str(explain(problem, dps))
    if name not in ("", "pump_"):
        found = explain(failure(dps.registry(dps.hubs[0]).get_device, name), dps)
        assert found.causes == (causes_at_client.DEVICE_ID,)
    # with a good name, it is something else
    assert "no individual enrollment 'pump-1'" in explain(failure(service.enrollment.get, "pump-1"), dps).reason


@pytest.mark.parametrize(
    ("pasted", "says"),
    [("{}\n", "The token is for another host"), (" {}", "not a bare host name")],
)
def test_a_host_in_a_connection_string_as_people_paste_it(dps, pasted, says):
    string = dps._service.text().reveal().replace(dps.service_host, pasted.format(dps.service_host))
    service = DeviceProvisioningClient.from_connection_string(string, transport=dps._transport())
    failure(dps.service_client().enrollment.get, "pump-1")
    found = explain(failure(service.enrollment.get, "pump-1", retry_total=0), dps)
    assert says in found.causes[0].cause
    assert "pump-1" not in found.reason


def test_who_got_no_answer_is_not_told_that_of_another_request(dps):
    url = f"https://{dps.service_host}/enrollments/pump-1"
    failure(dps.service_client().enrollment.get, "pump-1")
    cut = ServiceResponseError("Connection aborted.")
    cut.request = SimpleNamespace(url=url)
    found = explain(cut, dps)
    assert found.reason == ""
    assert causes.SIMULATOR_GONE not in found.causes
    answered = explain(failure(dps.service_client().enrollment.get, "pump-1"), dps)
    assert answered.reason


def test_what_helpers_are_given_wrongly_is_told_too(dps):
    found = explain(failure(dps.set_latencies, {7: 3}), dps)
    assert found.symptom.name == "simulator refused a setting"
    assert explain(failure(lessons.register_device, dps, "pump-1", KEY), dps).symptom.name == "secret expected"
    for hub in (f"https://{dps.hubs[0]}/", f"{dps.hubs[0].upper()}:443\n"):
        assert dps.registry(hub) is dps.registry(dps.hubs[0])


class Watching:
    """As much of a target as the explanation of what happened in the background needs."""

    is_simulator = True
    device_options = MappingProxyType({})

    def __init__(self, *events):
        self.seen = events

    def last_event(self):
        return len(self.seen)

    def events(self, after=0):
        return list(self.seen[after:])


def seen(device, operation, direction="in", **detail):
    event = {"service": "hub", "host": "hub.test", "device": device, "protocol": "mqtt", "status": None}
    return {**event, "operation": operation, "direction": direction, "detail": detail}


def test_what_nobody_raised_belongs_to_the_only_one_who_was_cut_off():
    lost = ConnectionDroppedError("Unexpected disconnection")
    earlier = [seen("a", "connect"), seen("a", "disconnect", "out", ended="service", reason="a was disabled")]
    mine = [seen("b", "connect"), seen("b", "disconnect", "out", ended="service", reason="b was deleted")]
    left = seen("c", "disconnect", ended="client")
    assert explain(lost, Watching(*earlier, left, *mine)).reason == "b was deleted"
    # both were connected, and nobody knows whose error it is
    assert explain(lost, Watching(mine[0], *earlier, mine[1])).reason == ""
    assert explain(lost, Watching(left)).reason == ""


def test_everybody_of_a_fleet_is_told_the_own_reason(dps):
    with ThreadPoolExecutor(4) as pool:
        problems = list(pool.map(lambda number: failure(register, dps, f"pump-{number}"), range(12)))
    for number, problem in enumerate(problems):
        assert f"'pump-{number}'" in explain(problem, dps).reason


def test_a_simulator_that_is_gone_comes_before_what_the_client_was_given():
    with Simulator(pace="instant") as simulator, of_simulator(simulator.running) as dps:
        simulator.stop()
        problem = failure(register, dps, provisioning_host=f"https://{dps.provisioning_host}")
        assert explain(problem, dps).causes == (causes.SIMULATOR_GONE,)
        assert explain(problem).causes == (causes_at_client.HOST,)


def test_connection_strings_of_services_in_each_others_place(dps):
    hub = dps._connection(dps.hubs[0])
    service = DeviceProvisioningClient.from_connection_string(hub.text().reveal(), transport=dps._transport())
    for ask in (service.enrollment.get, service.enrollment_group.get, service.device_registration_state.get):
        found = explain(failure(ask, "pump-1", retry_total=0), dps)
        assert found.causes == (causes_at_client.DPS_AT_HUB,), str(found)
    manager = registry.open_registry(dps._service, **dps._way())
    try:
        found = explain(failure(manager.get_device, "pump-1"), dps)
    finally:
        registry.close_registry(manager)
    assert found.causes == (causes_at_client.HUB_AT_DPS,), str(found)
