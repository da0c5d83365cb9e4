"""Every refusal that a learner can cause, through the real SDKs: right exception, no hang, a reason in the trace."""

import base64
import ssl
import time

import pytest
import requests
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient
from azure.iot.device import exceptions as device_errors
from msrest.exceptions import HttpOperationError
from patience import PATIENCE, wait_until
from sdk_clients import KEY, OTHER_KEY, derive

from benchmarks import wire
from dps_simulator.credentials import sas
from dps_simulator.server.tls.authority import CertificateAuthority

pytestmark = pytest.mark.sdk

WRONG_KEY = base64.b64encode(b"NOT-A-SECRET-AND-ALSO-NOT-THE-KEY").decode()


def register(sdk, registration_id="thermostat-1", key=KEY, **changes):
    arguments = {
        "provisioning_host": sdk.running.provisioning_host,
        "registration_id": registration_id,
        "id_scope": sdk.running.id_scope,
        "symmetric_key": key,
        **sdk.device_options(),
        **changes,
    }
    client = ProvisioningDeviceClient.create_from_symmetric_key(**arguments)
    return client.register()


def reasons(sdk):
    return " | ".join(str(event.detail.get("reason", "")) for event in sdk.simulator.trace())


def refused_registration(sdk, status, reason, **arguments):
    with pytest.raises(device_errors.ClientError) as caught:
        register(sdk, **arguments)
    cause = caught.value.__cause__
    assert isinstance(cause, device_errors.ServiceError)
    assert str(status) in str(cause)
    assert reason in reasons(sdk)


def test_wrong_key(sdk):
    sdk.enroll("thermostat-1")
    refused_registration(sdk, 401, "thermostat-1", key=WRONG_KEY)


def test_group_key_used_as_device_key(sdk):
    sdk.enroll_group("thermostats")
    refused_registration(
        sdk, 401, "'thermostats' itself; derive the device key", registration_id="thermostat-101", key=KEY
    )


def test_device_key_of_another_member(sdk):
    sdk.enroll_group("thermostats")
    refused_registration(sdk, 401, "thermostat-101", registration_id="thermostat-101", key=derive(KEY, "other"))


def test_unknown_registration_id(sdk):
    refused_registration(sdk, 401, "no individual enrollment", registration_id="stranger")


def test_unknown_id_scope(sdk):
    sdk.enroll("thermostat-1")
    refused_registration(sdk, 404, "0ne0000FFFF", id_scope="0ne0000FFFF")


@pytest.mark.parametrize("kind", ["individual", "group"])
def test_disabled_enrollment(sdk, kind):
    if kind == "individual":
        sdk.enroll("thermostat-1", provisioningStatus="disabled")
        key = KEY
    else:
        sdk.enroll_group("thermostats", provisioningStatus="disabled")
        key = derive(KEY, "thermostat-1")
    with pytest.raises(device_errors.ClientError) as caught:
        register(sdk, key=key)
    assert "disabled" in str(caught.value.__cause__)
    with pytest.raises(HttpOperationError, match="Not Found"):
        sdk.registry().get_device("thermostat-1")


def test_disabled_individual_enrollment_beats_an_enabled_group(sdk):
    sdk.enroll_group("thermostats")
    sdk.enroll("thermostat-1", provisioningStatus="disabled")
    refused_registration(sdk, 401, "thermostat-1", key=derive(KEY, "thermostat-1"))


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        (lambda scope: token(f"{scope}/registrations/thermostat-1", -60), "expired"),
        (lambda scope: token("0ne0000FFFF/registrations/thermostat-1", 600), "0ne0000FFFF"),
        (lambda scope: token(f"{scope}/registrations/other", 600), "other"),
        (lambda scope: "SharedAccessSignature sr=x&sig=%%&se=soon", "se"),
        (lambda scope: "Bearer nonsense", "SharedAccessSignature"),
    ],
    ids=["expired", "other scope", "other device", "malformed", "no SAS at all"],
)
def test_token_that_does_not_prove_anything(sdk, password, reason):
    sdk.enroll("thermostat-1")
    scope = sdk.running.id_scope
    context = ssl.create_default_context(cafile=str(sdk.running.certificate_authority_file))
    user_name = f"{scope}/registrations/thermostat-1/api-version=2019-03-31&ClientVersion=test"
    place = sdk.running.tls_port, context, sdk.running.provisioning_host
    answer = wire.ask_to_register(*place, user_name, "thermostat-1", password(scope))
    assert b"/res/401/" in answer
    assert b'"errorCode":401000' in answer
    assert reason in reasons(sdk)


def token(resource, lifetime):
    return sas.sign(resource, sas.decode_key(KEY), int(time.time()) + lifetime)


def test_wrong_certificate_authority(sdk, tmp_path):
    authority = CertificateAuthority(tmp_path)
    authority.issue_server_certificate(["other.test"])
    other = authority.certificate_file.read_text()
    with pytest.raises(device_errors.ClientError) as caught:
        register(sdk, server_verification_cert=other)
    assert type(caught.value.__cause__).__name__ == "TlsExchangeAuthError"


def test_host_that_is_not_simulated_is_refused_by_the_proxy(sdk):
    with pytest.raises(device_errors.ClientError) as caught:
        register(sdk, provisioning_host="global.azure-devices-provisioning.net")
    assert "Proxy" in type(caught.value.__cause__).__name__
    assert "global.azure-devices-provisioning.net" in str([event.to_json() for event in sdk.simulator.trace()])


def test_simulator_that_is_not_running(sdk):
    from azure.iot.device import ProxyOptions

    with pytest.raises(device_errors.ClientError) as caught:
        register(sdk, proxy_options=ProxyOptions("HTTP", "127.0.0.1", 9))
    assert caught.value.__cause__ is not None


def connect(sdk, key=KEY, device_id="thermostat-1", hub=None, **changes):
    device = IoTHubDeviceClient.create_from_symmetric_key(
        key, hub or sdk.hub, device_id, connection_retry=False, **{**sdk.device_options(), **changes}
    )
    try:
        device.connect()
        return device
    except BaseException:
        device.shutdown()
        raise


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"key": WRONG_KEY}, "neither key"),
        ({"device_id": "stranger"}, "stranger"),
        ({"device_id": "Thermostat-1"}, "Therm"),
    ],
    ids=["wrong key", "unknown device", "device IDs are case-sensitive"],
)
def test_hub_refuses(sdk, arguments, reason):
    sdk.enroll("thermostat-1")
    register(sdk)
    with pytest.raises(device_errors.CredentialError):
        connect(sdk, **arguments)
    assert reason in reasons(sdk)


def test_hub_refuses_the_token_of_another_device(sdk):
    for name in ("thermostat-1", "thermostat-2"):
        sdk.enroll(name)
        register(sdk, registration_id=name)
    own = token(f"{sdk.hub}/devices/thermostat-2", 600)
    device = IoTHubDeviceClient.create_from_sastoken(own, connection_retry=False, **sdk.device_options())
    device.connect()
    device.shutdown()
    context = ssl.create_default_context(cafile=str(sdk.running.certificate_authority_file))
    for password, said in (
        (token(f"{sdk.hub}/devices/thermostat-2", 600), "thermostat-2"),
        (token("other-hub.azure-devices.test/devices/thermostat-1", 600), "other-hub"),
        (token(f"{sdk.hub}/devices/thermostat-1", -60), "expired"),
        ("Bearer nonsense", "SharedAccessSignature"),
    ):
        user_name = f"{sdk.hub}/thermostat-1/?api-version=2019-10-01"
        connection = wire.Wire(sdk.running.tls_port, context, sdk.hub)
        answer = connection.ask(wire.connect_packet("thermostat-1", user_name, password))
        connection.abandon()
        assert answer == b"\x20\x02\x00\x05"
        assert said in reasons(sdk)


def test_second_connection_drops_the_first(sdk):
    sdk.enroll("thermostat-1")
    register(sdk)
    first = connect(sdk)
    second = connect(sdk)
    wait_until(lambda: not first.connected, "the end of the first connection")
    assert second.connected
    first.shutdown()
    second.shutdown()


@pytest.mark.parametrize("how", ["disable", "delete"])
def test_disabled_or_deleted_device_is_dropped_and_refused(sdk, how):
    sdk.enroll("thermostat-1")
    register(sdk)
    device = connect(sdk)
    registry = sdk.registry()
    if how == "disable":
        found = registry.get_device("thermostat-1")
        keys = found.authentication.symmetric_key
        registry.update_device_with_sas("thermostat-1", found.etag, keys.primary_key, keys.secondary_key, "disabled")
    else:
        registry.delete_device("thermostat-1")
    wait_until(lambda: not device.connected, "the end of the connection")
    device.shutdown()
    with pytest.raises(device_errors.CredentialError):
        connect(sdk)


def replaced(connection_string, **changes):
    fields = dict(part.split("=", 1) for part in connection_string.split(";"))
    return ";".join(f"{name}={value}" for name, value in {**fields, **changes}.items())


@pytest.mark.parametrize("change", [{"SharedAccessKey": WRONG_KEY}, {"SharedAccessKeyName": "nobody"}])
def test_wrong_service_key_or_policy(sdk, change):
    client = sdk.service(replaced(sdk.running.service_connection_string, **change))
    with pytest.raises(ClientAuthenticationError):
        client.enrollment.get("thermostat-1")
    manager = sdk.registry(replaced(sdk.running.hubs[0].connection_string, **change))
    with pytest.raises(HttpOperationError, match="Unauthorized"):
        manager.get_device("thermostat-1")


def enrollment(registration_id="thermostat-1", **attestation):
    return {
        "registrationId": registration_id,
        "attestation": {
            "type": "symmetricKey",
            "symmetricKey": {"primaryKey": KEY, "secondaryKey": OTHER_KEY},
            **attestation,
        },
    }


@pytest.mark.parametrize(
    ("registration_id", "body", "said"),
    [
        ("bad id", enrollment("bad id"), "bad id"),
        ("ends-with-dot.", enrollment("ends-with-dot."), "ends-with-dot."),
        ("x" * 129, enrollment("x" * 129), "128"),
        ("thermostat-1", enrollment("thermostat-2"), "thermostat-2"),
        ("thermostat-1", {"registrationId": "thermostat-1"}, "attestation"),
        ("thermostat-1", enrollment(type="password"), "password"),
        ("thermostat-1", enrollment(symmetricKey={"primaryKey": "not base64", "secondaryKey": KEY}), "primaryKey"),
        ("thermostat-1", enrollment(symmetricKey={"primaryKey": "c2hvcnQ=", "secondaryKey": KEY}), "5 bytes"),
        ("thermostat-1", {**enrollment(), "iotHubs": ["contoso-hub-1.azure-devices.test"]}, "allocationPolicy"),
        (
            "thermostat-1",
            {**enrollment(), "allocationPolicy": "static", "iotHubs": ["a.azure-devices.test"]},
            "a.azure-devices.test",
        ),
        ("thermostat-1", {**enrollment(), "provisioningStatus": "asleep"}, "asleep"),
    ],
)
def test_enrollment_that_cannot_be(sdk, registration_id, body, said):
    with pytest.raises(HttpResponseError) as caught:
        sdk.service().enrollment.create_or_update(registration_id, body)
    assert caught.value.status_code == 400
    assert said in caught.value.message
    assert KEY not in caught.value.message


def test_creating_twice_conflicts_and_a_stale_etag_fails(sdk):
    client = sdk.service()
    first = client.enrollment.create_or_update("thermostat-1", enrollment())
    with pytest.raises(ResourceExistsError):
        client.enrollment.create_or_update("thermostat-1", enrollment())
    second = client.enrollment.create_or_update("thermostat-1", enrollment(), if_match=first["etag"])
    assert second["etag"] != first["etag"]
    with pytest.raises(HttpResponseError) as caught:
        client.enrollment.create_or_update("thermostat-1", enrollment(), if_match=first["etag"])
    assert caught.value.status_code == 412
    client.enrollment.create_or_update("thermostat-1", enrollment(), if_match="*")
    with pytest.raises(HttpResponseError):
        client.enrollment.delete("thermostat-1", if_match=first["etag"])
    client.enrollment.delete("thermostat-1")
    for call in (client.enrollment.get, client.enrollment.delete, client.device_registration_state.get):
        with pytest.raises(ResourceNotFoundError):
            call("thermostat-1")


def call(sdk, method, path, **arguments):
    with requests.Session() as session:
        session.trust_env = False
        return session.request(
            method,
            f"https://{sdk.running.service_host}{path}",
            proxies={"https": sdk.running.proxy_url},
            verify=str(sdk.running.certificate_authority_file),
            timeout=PATIENCE,
            **arguments,
        )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere?api-version=2021-10-01", 404),
        ("GET", "/enrollments/x?api-version=1999-01-01", 400),
        ("PATCH", "/enrollments/x?api-version=2021-10-01", 405),
    ],
)
def test_unknown_route_and_version_name_the_simulator(sdk, method, path, status):
    answer = call(sdk, method, path)
    assert answer.status_code == status
    if status != 405:
        assert "not supported by this simulator" in answer.json()["message"]


def test_too_large_a_request_is_refused_and_the_simulator_lives_on(sdk):
    answer = call(sdk, "PUT", "/enrollments/x?api-version=2021-10-01", data=b"x" * 2_000_000)
    assert answer.status_code == 413
    sdk.enroll("thermostat-1")
    assert register(sdk).status == "assigned"


def test_enrollment_that_is_not_json(sdk):
    fields = dict(part.split("=", 1) for part in sdk.running.service_connection_string.split(";"))
    key, policy = sas.decode_key(fields["SharedAccessKey"]), fields["SharedAccessKeyName"]
    headers = {"Authorization": sas.sign(fields["HostName"], key, int(time.time()) + 600, policy)}
    for body, content_type, status, said in (
        (b'{"registrationId": ', "application/json", 400, "not valid JSON"),
        (b"[1, 2]", "application/json", 400, "object"),
        (b"registrationId=x", "application/x-www-form-urlencoded", 415, "application/json"),
    ):
        headers["Content-Type"] = content_type
        answer = call(sdk, "PUT", "/enrollments/x?api-version=2021-10-01", data=body, headers=headers)
        assert answer.status_code == status
        assert said in answer.json()["message"]
