"""What official clients do beside the plain way: other host names, other texts, what their live tests expect."""

import time
from urllib.parse import quote

import pytest
from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient, ProvisioningDeviceClient
from sdk_clients import KEY

from dps_simulator.credentials import sas
from dps_simulator.hub.cloud_to_device import CloudToDeviceMessage
from helpers import certificates

pytestmark = pytest.mark.sdk

KEYS = {"primaryKey": KEY, "secondaryKey": KEY}


def token(resource, key=KEY, policy=None):
    return sas.sign(quote(resource, safe=""), sas.decode_key(key), int(time.time()) + 600, policy)


def register(sdk, host, **options):
    client = ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host=host,
        registration_id="pump-1",
        id_scope=sdk.running.id_scope,
        symmetric_key=KEY,
        **sdk.device_options(**options),
    )
    return client.register()


@pytest.mark.parametrize("websockets", [False, True])
def test_a_device_registers_at_the_host_name_of_the_service(sdk, websockets):
    """Private endpoints: the global host name does not lead to them."""
    sdk.enroll("pump-1")
    assert register(sdk, sdk.running.service_host, websockets=websockets).status == "assigned"


def test_a_device_registers_at_the_host_name_of_the_service_over_https(sdk):
    """As the SDKs for C, Node, Java and C# do; and the service API is still there."""
    sdk.enroll("registrations")
    scope = sdk.running.id_scope
    path = f"{scope}/registrations/registrations"
    headers = {"Authorization": token(path, policy="registration")}
    options = {"headers": headers, "verify": str(sdk.running.certificate_authority_file)}
    base = f"https://{sdk.running.service_host}/{path}"
    started = sdk.session().put(
        f"{base}/register?api-version=2021-06-01", json={"registrationId": "registrations"}, **options
    )
    assert started.status_code == 202
    operation = started.json()["operationId"]
    done = sdk.session().get(f"{base}/operations/{operation}?api-version=2021-06-01", **options)
    assert done.json()["status"] in {"assigning", "assigned"}
    assert sdk.service().enrollment.get("registrations")["registrationId"] == "registrations"
    assert sdk.service().device_registration_state.get("registrations")["registrationId"] == "registrations"
    malformed = sdk.session().put(f"{base}/register?api-version=2021-06-01", data=b'{"payload":"{\n"', **options)
    said = malformed.json()
    assert (malformed.status_code, said["errorCode"], said["message"]) == (400, 400012, "Deserialization error.")


@pytest.mark.parametrize("query", ["*", "{'additional_properties': {}, 'query': 'SELECT *'}"])
def test_a_list_as_the_command_line_and_samples_ask_for_it(sdk, query):
    sdk.enroll("pump-1")
    sdk.enroll_group("pumps")
    service = sdk.service()
    assert [each["registrationId"] for each in service.enrollment.query({"query": query})] == ["pump-1"]
    assert [each["enrollmentGroupId"] for each in service.enrollment_group.query({"query": query})] == ["pumps"]


def test_the_primary_certificate_is_removed_and_the_secondary_one_goes_on(sdk):
    made = [certificates.create_self_signed("pump-1").certificate for _ in range(2)]
    slots = {name: {"certificate": each} for name, each in zip(("primary", "secondary"), made, strict=True)}
    attestation = {"type": "x509", "x509": {"clientCertificates": slots}}
    service = sdk.service().enrollment
    service.create_or_update("pump-1", {"registrationId": "pump-1", "attestation": attestation})
    read = service.get("pump-1")
    read["attestation"]["x509"]["clientCertificates"]["primary"] = None
    changed = service.create_or_update("pump-1", read, if_match=read["etag"])
    assert set(changed["attestation"]["x509"]["clientCertificates"]) == {"secondary"}


def test_what_devices_do_over_https_and_what_is_not_supported_there(sdk):
    options = {
        "headers": {"Authorization": token(f"{sdk.hub}/devices/d"), "iothub-app-Room": "2", "iothub-messageid": "m"},
        "verify": str(sdk.running.certificate_authority_file),
    }
    sdk.registry().create_device_with_sas("d", KEY, KEY, "enabled")
    sdk.simulator.send_message("d", CloudToDeviceMessage(b"\xff", properties={"Valve": "7"}))

    def ask(method, path, query="", **more):
        address = f"https://{sdk.hub}/devices/d/{path}?api-version=2020-03-13{query}"
        return sdk.session().request(method, address, **options, **more)

    assert ask("POST", "messages/events", data=b"\xff").status_code == 204
    (message,) = sdk.simulator.telemetry()
    assert (message.body, message.properties, message.system) == (b"\xff", {"Room": "2"}, {"message-id": "m"})
    received = ask("GET", "messages/deviceBound")
    assert (received.status_code, received.content) == (200, b"\xff")
    # as it is on the wire, not as a dictionary of requests finds it
    assert ("iothub-app-Valve", "7") in received.headers.items()
    lock = received.headers["ETag"].strip('"')
    assert ask("GET", "messages/deviceBound").status_code == 204
    assert ask("DELETE", f"messages/deviceBound/{lock}", "&reject").status_code == 204
    assert sdk.trace()[-1]["detail"] == {"reason": "the device rejected the message: it is gone, a dead letter"}
    assert ask("POST", f"messages/deviceBound/{lock}/abandon").status_code == 412
    for method, path in (("POST", "files"), ("POST", "files/notifications"), ("GET", "modules/m/messages/deviceBound")):
        answer = ask(method, path)
        assert answer.status_code == 501, path
        assert "not supported by this simulator" in answer.text


def manage_modules(sdk, method, path="", key=KEY, **options):
    return sdk.session().request(
        method,
        f"https://{sdk.hub}/devices/pump-1/modules{path}?api-version=2017-11-08-preview",
        headers={"Authorization": token(f"{sdk.hub}/devices/pump-1", key)},
        verify=str(sdk.running.certificate_authority_file),
        **options,
    )


def test_a_provisioned_device_makes_modules_of_its_own(sdk):
    """As iot-identity-service and the test tools of the SDK for C do: with the token of the device."""
    sdk.enroll("pump-1")
    # the version of the API that this SDK speaks does not tell a device that stays from a new one
    for _ in range(2):
        registered = register(sdk, sdk.running.provisioning_host)
        assert registered.registration_state.sub_status == "initialAssignment"
    made = manage_modules(sdk, "PUT", "/filter", json={"moduleId": "filter", "authentication": {"type": "sas"}})
    assert made.status_code == 201
    assert [each["moduleId"] for each in manage_modules(sdk, "GET").json()] == ["filter"]
    key = made.json()["authentication"]["symmetricKey"]["primaryKey"]
    assert manage_modules(sdk, "GET", key=key).status_code == 401
    text = f"HostName={sdk.hub};DeviceId=pump-1;ModuleId=filter;SharedAccessKey={key}"
    module = IoTHubModuleClient.create_from_connection_string(text, **sdk.device_options())
    module.connect()
    module.shutdown()


def test_the_model_that_a_device_announces(sdk):
    services = sdk.simulator
    services.call(
        lambda runtime: runtime.hubs.find(sdk.hub).put_device("pump-1", {"authentication": {"symmetricKey": KEYS}})
    )
    model = "dtmi:com:example:Thermostat;1"
    device = IoTHubDeviceClient.create_from_symmetric_key(
        KEY, sdk.hub, "pump-1", product_info=model, **sdk.device_options()
    )
    device.connect()
    twin = services.call(lambda runtime: runtime.hubs.find(sdk.hub).twin("pump-1"))
    device.shutdown()
    assert (twin["modelId"], "tags" in twin) == (model, False)
