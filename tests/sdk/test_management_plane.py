"""The provisioning service as a resource, through the official management client: every operation, and what follows."""

import base64
import collections
import json

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.iot.device import ProvisioningDeviceClient
from azure.iot.device.exceptions import ClientError
from azure.mgmt.iothubprovisioningservices import models
from patience import PATIENCE
from sdk_clients import KEY, Sdk, derive

from dps_simulator import Simulator
from dps_simulator.process.address import read
from helpers import certificates
from helpers.problems import causes

pytestmark = pytest.mark.sdk

HUB_2 = "contoso-hub-2.azure-devices.test"
SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
NEW_KEY = base64.b64encode(b"NOT-A-SECRET-NEW-KEY-OF-32-BYTES").decode()


class Service:
    """The client's operations on the one service there is."""

    def __init__(self, sdk, group="contoso"):
        self.client = sdk.management()
        self.operations = self.client.iot_dps_resource
        self.group, self.name = group, sdk.running.service_host.partition(".")[0]
        self.where = {"resource_group_name": group, "provisioning_service_name": self.name}

    def get(self):
        return self.operations.get(**self.where)

    def put(self, description, **options):
        return self.operations.begin_create_or_update(self.group, self.name, description, **options).result()

    def policies(self):
        return list(self.operations.list_keys(**self.where))


@pytest.fixture
def service(sdk):
    return Service(sdk)


@pytest.fixture
def second_hub(dps_simulator):
    """A hub that exists and is not linked; its connection string."""
    dps_simulator.unlink_hub(HUB_2)
    return next(hub.connection_string for hub in dps_simulator.running.hubs if hub.host == HUB_2)


def register(sdk, registration_id):
    client = ProvisioningDeviceClient.create_from_symmetric_key(
        sdk.running.provisioning_host,
        registration_id,
        sdk.running.id_scope,
        derive(KEY, registration_id),
        **sdk.device_options(),
    )
    return client.register().registration_state.assigned_hub


def test_every_operation_that_reads(service, sdk):
    shown = service.get()
    assert (shown.name, shown.resourcegroup, shown.subscriptionid) == ("mydps", "contoso", SUBSCRIPTION)
    properties = shown.properties
    assert properties.state == models.State.ACTIVE
    assert properties.allocation_policy == models.AllocationPolicy.HASHED
    assert properties.service_operations_host_name == sdk.running.service_host
    assert properties.device_provisioning_host_name == sdk.running.provisioning_host
    assert properties.id_scope == sdk.running.id_scope
    assert properties.authorization_policies is None
    assert [hub.name for hub in properties.iot_hubs] == [sdk.hub]
    assert (shown.sku.name, shown.sku.tier, shown.sku.capacity) == (models.IotDpsSku.S1, "Standard", 1)
    assert shown.id.startswith(f"/subscriptions/{SUBSCRIPTION}/resourceGroups/contoso/providers/Microsoft.Devices/")

    operations = service.operations
    assert [each.etag for each in operations.list_by_resource_group("contoso")] == [shown.etag]
    assert [each.name for each in operations.list_by_subscription()] == ["mydps"]
    assert [each.name for each in operations.list_valid_skus(**service.where)] == ["S1"]
    key = operations.list_keys_for_key_name(key_name="provisioningserviceowner", **service.where)
    assert key.primary_key in sdk.running.service_connection_string
    assert [each.secondary_key for each in service.policies()] == [key.secondary_key]
    check = operations.check_provisioning_service_name_availability
    assert check({"name": "another-dps"}).name_available is True
    assert check(models.OperationInputs(name="mydps")).reason == models.NameUnavailabilityReason.ALREADY_EXISTS
    offered = [each.name for each in service.client.operations.list()]
    assert "Microsoft.Devices/provisioningServices/Write" in offered


def test_what_was_read_can_be_written_and_the_poller_hears_of_the_end(service):
    before = service.get()
    poller = service.operations.begin_create_or_update(service.group, service.name, before)
    assert poller.status() in {"InProgress", "Succeeded"}
    after = poller.result(timeout=PATIENCE)
    assert poller.status() == "Succeeded"
    assert after.properties == before.properties
    assert after.etag != before.etag
    seen = []
    raw = service.operations.begin_create_or_update(
        service.group, service.name, after, polling=False, cls=lambda response, body, headers: seen.append(response)
    )
    raw.result()
    response = seen[0].http_response
    assert response.status_code == 201
    address = response.headers["Azure-AsyncOperation"]
    operation = address.partition("?")[0].rpartition("/")[2]
    found = service.operations.get_operation_result(operation, asyncinfo="", **service.where)
    assert found.status == "Succeeded"
    with pytest.raises(ResourceNotFoundError, match="no operation 'another'"):
        service.operations.get_operation_result("another", asyncinfo="", **service.where)


@pytest.mark.tried("Python SDKs", "resource")
def test_hubs_are_linked_weighted_and_unlinked(service, sdk, second_hub):
    sdk.enroll_group("fleet")
    shown = service.get()
    shown.properties.iot_hubs.append(
        models.IotHubDefinitionDescription(connection_string=second_hub, location="westus2", allocation_weight=1)
    )
    linked = service.put(shown)
    assert [hub.name for hub in linked.properties.iot_hubs] == [sdk.hub, HUB_2]
    assert linked.properties.iot_hubs[1].connection_string.endswith(";SharedAccessKey=****")
    spread = collections.Counter(register(sdk, f"truck-{number}") for number in range(12))
    assert set(spread) == {sdk.hub, HUB_2}

    linked.properties.iot_hubs[0].apply_allocation_policy = False
    linked.properties.iot_hubs[1].allocation_weight = 5
    linked.properties.allocation_policy = "GeoLatency"
    changed = service.put(linked)
    assert changed.properties.allocation_policy == models.AllocationPolicy.GEO_LATENCY
    assert (
        changed.properties.iot_hubs[0].apply_allocation_policy,
        changed.properties.iot_hubs[1].allocation_weight,
    ) == (
        False,
        5,
    )
    assert {register(sdk, f"ship-{number}") for number in range(3)} == {HUB_2}

    # the devices of a hub that is left out stay in it
    changed.properties.iot_hubs = [hub for hub in changed.properties.iot_hubs if hub.name == sdk.hub]
    changed.properties.iot_hubs[0].apply_allocation_policy = True
    assert [hub.name for hub in service.put(changed).properties.iot_hubs] == [sdk.hub]
    assert register(sdk, "plane-1") == sdk.hub
    assert sdk.registry(second_hub).get_device("ship-1").device_id == "ship-1"


def test_a_hub_is_linked_by_who_has_its_key(service, second_hub):
    before = service.get()
    for wrong, text in (
        (second_hub.replace("iothubowner", "device"), "'device', which the hub"),
        (second_hub[:-6] + "AAAAA=", "a key that is not that of"),
        (second_hub.replace(HUB_2, "contoso-hub-3.azure-devices.test"), "does not exist in this simulator"),
        (second_hub.partition(";SharedAccessKey=")[0] + ";SharedAccessKey=****", "is not linked yet"),
    ):
        description = service.get()
        description.tags = {"half": "done"}
        description.properties.iot_hubs.append(
            models.IotHubDefinitionDescription(connection_string=wrong, location="westus2")
        )
        with pytest.raises(HttpResponseError, match=text) as caught:
            service.put(description)
        assert caught.value.status_code == 400
        assert wrong.rpartition("=")[0].rpartition("=")[2] not in str(caught.value)
    assert service.get() == before


@pytest.mark.parametrize("weight", [0, 1001])
def test_impossible_weights(service, weight):
    description = service.get()
    description.properties.iot_hubs[0].allocation_weight = weight
    with pytest.raises(
        HttpResponseError, match=f"allocationWeight is {weight}; it must be a whole number from 1 to 1000"
    ):
        service.put(description)
    assert service.get().properties.iot_hubs[0].allocation_weight == 1


def test_tags_and_conditions(service):
    assert service.operations.begin_update(service.group, service.name, {"tags": {"line": "1"}}).result().tags == {
        "line": "1"
    }
    shown = service.get()
    assert shown.tags == {"line": "1"}
    shown.tags = None
    assert service.put(shown, headers={"If-Match": shown.etag}).tags == {}
    with pytest.raises(HttpResponseError, match="has changed") as caught:
        service.put(shown, headers={"If-Match": shown.etag})
    assert caught.value.status_code == 412
    tags = models.TagsResource(tags={"line": "x" * 257})
    with pytest.raises(HttpResponseError, match="at most 256 characters") as caught:
        service.operations.begin_update(service.group, service.name, tags)
    assert caught.value.model.error.message.startswith("The tag 'line'")


def test_what_there_is_not(service):
    operations = service.operations
    resource = {"resource_name": service.name, "resource_group_name": service.group}
    for what in (
        lambda: operations.begin_delete(**service.where),
        lambda: operations.list_private_link_resources(**resource),
        lambda: operations.get_private_link_resources(group_id="iotDps", **resource),
        lambda: operations.list_private_endpoint_connections(**resource),
        lambda: operations.get_private_endpoint_connection(private_endpoint_connection_name="one", **resource),
        lambda: operations.begin_delete_private_endpoint_connection(private_endpoint_connection_name="one", **resource),
        lambda: operations.begin_create_or_update_private_endpoint_connection(
            private_endpoint_connection_name="one", private_endpoint_connection={"properties": {}}, **resource
        ),
        lambda: operations.begin_create_or_update(service.group, "another-dps", service.get()),
    ):
        with pytest.raises(HttpResponseError, match="not supported by this simulator") as caught:
            what()
        assert caught.value.status_code == 501
    with pytest.raises(ResourceNotFoundError, match="no provisioning service 'another-dps'"):
        operations.get("another-dps", service.group)
    elsewhere = service.get()
    elsewhere.location = "westus2"
    with pytest.raises(ResourceExistsError, match="cannot move"):
        service.put(elsewhere)
    with pytest.raises(ResourceNotFoundError, match="no access policy 'nobody'"):
        operations.list_keys_for_key_name(key_name="nobody", **service.where)


def owner_string(sdk, key):
    return f"HostName={sdk.running.service_host};SharedAccessKeyName=provisioningserviceowner;SharedAccessKey={key}"


def test_keys_are_rolled_while_clients_are_connected(tmp_path):
    with Simulator(pace="instant", state=tmp_path) as simulator:
        sdk = Sdk(simulator)
        service = Service(sdk)
        [owner] = service.policies()
        with_primary, with_secondary = sdk.service(), sdk.service(owner_string(sdk, owner.secondary_key))
        sdk.enroll_group("fleet")
        description = service.get()
        owner.primary_key = NEW_KEY
        description.properties.authorization_policies = [owner]
        service.put(description)

        with pytest.raises(ClientAuthenticationError):
            with_primary.enrollment_group.get("fleet")
        assert with_secondary.enrollment_group.get("fleet")
        assert NEW_KEY in simulator.running.service_connection_string
        assert read(tmp_path) == simulator.running
        assert sdk.service(simulator.running.service_connection_string).enrollment_group.get("fleet")
        # devices do not use it
        assert register(sdk, "truck-1") == sdk.hub
        assert NEW_KEY not in json.dumps(sdk.trace())
        sdk.close()

    with Simulator(pace="instant", state=tmp_path) as simulator:
        sdk = Sdk(simulator)
        assert NEW_KEY in simulator.running.service_connection_string
        assert [key.primary_key for key in Service(sdk).policies()] == [NEW_KEY]
        assert sdk.service().enrollment_group.get("fleet")
        sdk.close()


def test_policies_give_the_rights_that_they_name(service, sdk):
    sdk.enroll("a")
    description = service.get()
    reader = models.SharedAccessSignatureAuthorizationRuleAccessRightsDescription(
        key_name="reader", rights="EnrollmentRead"
    )
    description.properties.authorization_policies = [*service.policies(), reader]
    service.put(description)
    made = service.operations.list_keys_for_key_name(key_name="reader", **service.where)
    text = f"HostName={sdk.running.service_host};SharedAccessKeyName=reader;SharedAccessKey={made.primary_key}"
    client = sdk.service(text)
    assert client.enrollment.get("a")["registrationId"] == "a"
    for what in (
        lambda: client.enrollment.delete("a"),
        lambda: client.enrollment.get_attestation_mechanism("a"),
        lambda: client.device_registration_state.get("a"),
    ):
        with pytest.raises(ClientAuthenticationError):
            what()
    refusal = sdk.trace()[-1]["detail"]["reason"]
    assert refusal == "policy 'reader' has the rights EnrollmentRead, and not RegistrationStatusRead"
    description.properties.authorization_policies = service.policies()[:1]
    service.put(description)
    with pytest.raises(ClientAuthenticationError):
        client.enrollment.get("a")
    description.properties.authorization_policies = [reader]
    with pytest.raises(HttpResponseError, match="'provisioningserviceowner' cannot be removed"):
        service.put(description)
    assert [key.key_name for key in service.policies()] == ["provisioningserviceowner"]


def test_links_and_policies_survive_a_restart(tmp_path):
    with Simulator(pace="instant", state=tmp_path) as simulator:
        simulator.unlink_hub(HUB_2)
        sdk = Sdk(simulator)
        service = Service(sdk)
        description = service.get()
        description.tags = {"line": "1"}
        description.properties.allocation_policy = "Static"
        description.properties.iot_hubs = [
            {"connectionString": simulator.running.hubs[1].connection_string, "location": "x", "allocationWeight": 9}
        ]
        before = service.put(description)
        sdk.close()
    with Simulator(pace="instant", state=tmp_path) as simulator:
        sdk = Sdk(simulator)
        assert Service(sdk).get() == before
        simulator.reset()
        assert Service(sdk).get().tags == {}
        sdk.close()


def test_an_authority_is_deleted_while_a_group_refers_to_it(service, sdk, tmp_path):
    root = certificates.create_root("Contoso Root")
    files = root.issue_device("pump-101").save(tmp_path)
    sdk.upload("root", root)
    attestation = {"type": "x509", "x509": {"caReferences": {"primary": "root"}}}
    sdk.enroll_group("pumps", attestation=attestation)

    def knock():
        client = ProvisioningDeviceClient.create_from_x509_certificate(
            sdk.running.provisioning_host, "pump-101", sdk.running.id_scope, files.x509(), **sdk.device_options()
        )
        return client.register().status

    assert knock() == "assigned"
    operations = service.client.dps_certificate
    etag = operations.get(certificate_name="root", **service.where).etag
    operations.delete(
        certificate_name="root", etag=etag, match_condition=MatchConditions.IfNotModified, **service.where
    )
    with pytest.raises(ClientError) as caught:
        knock()
    assert "status code 401" in str(causes(caught.value)[-1])
    # nothing else has gone, and the certificate makes it whole again
    assert sdk.service().enrollment_group.get("pumps")["attestation"] == attestation
    assert sdk.registry().get_device("pump-101").status == "enabled"
    sdk.upload("root", root)
    assert knock() == "assigned"
