"""Whose failure it is, and what its client was given: errors of the unmodified SDKs, with others before and after."""

import asyncio
import socket
import ssl

import pytest
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient, ProxyOptions
from azure.iot.device.aio import ProvisioningDeviceClient as AsyncProvisioningDeviceClient
from azure.iot.deviceprovisioning import DeviceProvisioningClient

from helpers import causes, causes_at_client
from helpers.credentials import ConnectionString, new_key
from helpers.diagnosis import explain
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

    monkeypatch.setattr(socket, "create_connection", nowhere)
    found = explain(failure(register, dps, proxy_options=ProxyOptions("HTTP", "127.0.0.1", 9)), dps)
    assert found.causes == (causes_at_client.OTHER_WAY,), str(found)
    found = explain(failure(register, dps, proxy_options=None), dps)
    assert found.causes == (causes_at_client.NO_OPTIONS,), str(found)


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
