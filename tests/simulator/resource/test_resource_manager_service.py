"""The provisioning service as a resource, without a network."""

import asyncio
import base64
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from provisioning_parts import PRIMARY_KEY, Provisioning
from thoroughness import examples

from dps_simulator.common.http import Peer, Request
from dps_simulator.common.hub_links import HubLink
from dps_simulator.common.trace import Trace
from dps_simulator.errors.table import Dps, ResourceManager
from dps_simulator.provisioning.access_policies import AccessPolicies
from dps_simulator.resource.api import service as resource_manager_service
from dps_simulator.resource.api.endpoint import API_VERSIONS, ResourceManagerEndpoint
from dps_simulator.resource.hub_definitions import HubDoor
from dps_simulator.resource.service_description import ServiceDescription

TOKEN = "the-token-of-the-management-api"
HOST = "management.azure.test"
PROVIDER = "/providers/Microsoft.Devices"
GROUP = "/subscriptions/0000/resourceGroups/Contoso%20Pumps"
SERVICES = f"{GROUP}{PROVIDER}/provisioningServices"
SERVICE = f"{SERVICES}/mydps"
HUB = "hub-1.azure-devices.test"
HUB_KEY = base64.b64encode(b"the key of the hub..............").decode()
NEW_KEY = base64.b64encode(b"a new key of the owner..........").decode()


class Client:
    """Sends requests to the endpoint."""

    def __init__(self):
        parts = Provisioning()
        self.trace = Trace(parts.clock)
        self.links = parts.service.links
        self.links.put(HubLink(HUB))
        self.policies = AccessPolicies(parts.store, owner_name="owner", owner_key=PRIMARY_KEY)
        self.description = ServiceDescription(
            storage=parts.store,
            links=self.links,
            policies=self.policies,
            hub_door={HUB: HubDoor("iothubowner", (HUB_KEY,))}.get,
            service_host="mydps.azure-devices-provisioning.test",
            device_host="global.azure-devices-provisioning.test",
            id_scope="0ne00000A01",
        )
        self.endpoint = ResourceManagerEndpoint(
            authorities=parts.service.authorities,
            description=self.description,
            token=TOKEN,
            clock=parts.clock,
            trace=self.trace,
            transaction=parts.store.transaction,
        )

    def send(self, method, path=SERVICE, body=None, *, version="2026-11-01", token=TOKEN, raw=None, **headers):
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent["authorization"] = f"Bearer {token}"
        raw = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        request = Request(method, path, {"api-version": version}, sent, raw, Peer(HOST))
        return asyncio.run(self.endpoint.handle(request))

    def fails(self, kind, *args, **kwargs):
        response = self.send(*args, **kwargs)
        assert (response.status, response.body["code"]) == (kind.status, kind.code)
        return response.body["message"]

    def put(self, top=None, headers=None, **properties):
        body = {"location": "simulator", "properties": properties, "sku": {"name": "S1"}, **(top or {})}
        return self.send("PUT", SERVICE, body, **(headers or {}))

    def traced(self):
        return json.dumps([event.to_json() for event in self.trace.events()])


@pytest.fixture
def client():
    return Client()


def test_the_service_is_shown_with_its_address(client):
    shown = client.send("GET").body
    assert shown["id"] == SERVICE.replace("%20", " ")
    assert shown["type"] == "Microsoft.Devices/provisioningServices"
    assert (shown["resourcegroup"], shown["subscriptionid"]) == ("Contoso Pumps", "0000")
    assert "authorizationPolicies" not in shown["properties"]
    assert client.send("GET", SERVICE.lower() + "/").body["name"] == "mydps"
    assert client.send("GET", SERVICES).body == {"value": [shown]}
    of_subscription = client.send("GET", f"/subscriptions/0000{PROVIDER}/provisioningServices").body["value"]
    assert of_subscription[0]["id"].startswith("/subscriptions/0000/resourceGroups/simulator/providers/")


@pytest.mark.parametrize("version", API_VERSIONS)
def test_versions(client, version):
    assert client.send("GET", version=version).status == 200


@pytest.mark.parametrize(
    ("headers", "host"),
    [
        ({}, HOST),
        ({"host": "management.azure.test:8443"}, "management.azure.test:8443"),
        ({"host": "x/y?z=\r\n"}, HOST),
    ],
)
def test_a_change_is_an_operation_that_is_done(client, headers, host):
    changed = client.put(allocationPolicy="Static", headers=headers)
    assert changed.status == 201
    properties = changed.body["properties"]
    assert (properties["state"], properties["provisioningState"]) == ("Transitioning", "Accepted")
    assert properties["idScope"] is None
    assert "serviceOperationsHostName" not in properties
    assert "authorizationPolicies" not in properties
    address = changed.headers["Azure-AsyncOperation"]
    found = re.fullmatch(rf"https://{re.escape(host)}({re.escape(SERVICE)}/operationResults/\w+)\?(.*)", address)
    assert found
    assert found[2] == "api-version=2026-11-01&asyncinfo"
    assert client.send("GET", found[1]).body == {"status": "Succeeded"}
    assert client.send("GET").body["properties"]["allocationPolicy"] == "Static"


def test_operations_are_forgotten_at_last(client, monkeypatch):
    monkeypatch.setattr(resource_manager_service, "MAX_OPERATIONS", 2)
    addresses = [client.put().headers["Azure-AsyncOperation"] for _ in range(3)]
    paths = [address[len(f"https://{HOST}") :].partition("?")[0] for address in addresses]
    assert "'" in client.fails(ResourceManager.OPERATION_NOT_FOUND, "GET", paths[0])
    assert [client.send("GET", path).status for path in paths[1:]] == [200, 200]


def test_hubs_are_linked_and_their_keys_are_masked(client):
    connection_string = f"HostName={HUB};SharedAccessKeyName=iothubowner;SharedAccessKey={HUB_KEY}"
    hub = {"connectionString": connection_string, "location": "westus2", "allocationWeight": 7}
    changed = client.put(iotHubs=[hub])
    assert changed.body["properties"]["iotHubs"][0]["connectionString"].endswith("SharedAccessKey=****")
    assert client.links.find(HUB).allocation_weight == 7
    assert HUB_KEY not in json.dumps(changed.body) + client.traced()
    wrong = connection_string.replace(HUB_KEY, NEW_KEY)
    body = {
        "location": "simulator",
        "properties": {"iotHubs": [{**hub, "connectionString": wrong}]},
        "sku": {"name": "S1"},
    }
    assert NEW_KEY not in client.fails(ResourceManager.HUB_REFUSES, "PUT", SERVICE, body)
    assert NEW_KEY not in client.traced()


def test_keys_are_listed_and_replaced(client):
    keys = client.send("POST", f"{SERVICE}/listkeys").body["value"]
    assert [key["keyName"] for key in keys] == ["owner"]
    assert client.send("POST", f"{SERVICE}/keys/OWNER/listkeys").body == keys[0]
    rules = [{**keys[0], "primaryKey": NEW_KEY}, {"keyName": "reader", "rights": "EnrollmentRead"}]
    changed = client.put(authorizationPolicies=rules)
    assert changed.body["properties"]["authorizationPolicies"] == rules
    reader = client.send("POST", f"{SERVICE}/keys/reader/listkeys").body
    assert len(base64.b64decode(reader["secondaryKey"])) == 32
    assert client.policies.owner.primary_key == NEW_KEY
    for secret in (PRIMARY_KEY, NEW_KEY, reader["primaryKey"], reader["secondaryKey"]):
        assert secret not in client.traced()
    assert "'writer'" in client.fails(ResourceManager.POLICY_NOT_FOUND, "POST", f"{SERVICE}/keys/writer/listkeys")
    message = client.fails(ResourceManager.OWNER_POLICY_NEEDED, "PUT", SERVICE, {
        "location": "simulator", "sku": {"name": "S1"}, "properties": {"authorizationPolicies": rules[1:]}
    })  # fmt: skip
    assert "simulator's own clients" in message


def test_conditions(client):
    etag = client.send("GET").body["etag"]
    body = {"location": "simulator", "properties": {}, "sku": {"name": "S1"}}
    client.fails(ResourceManager.SERVICE_EXISTS, "PUT", SERVICE, body, if_none_match="*")
    client.fails(Dps.PRECONDITION_FAILED, "PUT", SERVICE, body, if_match="stale")
    assert client.put(headers={"if_match": f'"{etag}"'}).status == 201
    client.fails(Dps.PRECONDITION_FAILED, "PUT", SERVICE, body, if_match=etag)


def test_tags(client):
    patched = client.send("PATCH", SERVICE, {"tags": {"line": "1"}})
    assert (patched.status, patched.body["tags"]) == (200, {"line": "1"})
    refused = client.send("PATCH", SERVICE, {"tags": {"line": 1}})
    assert refused.status == 400
    assert refused.body == {
        "error": {
            "code": "400000",
            "message": "The tag 'line' must be a text of at most 256 characters.",
            "details": [],
        }
    }
    assert client.send("PATCH", SERVICE, raw=b"{").body["error"]["code"] == "400000"
    assert client.send("PATCH", SERVICE, {"tags": {}}, if_match="stale").body["error"]["code"] == "412001"


def test_names(client):
    def check(name):
        answer = client.send("POST", f"/subscriptions/0000{PROVIDER}/checkProvisioningServiceNameAvailability", name)
        return answer.body

    assert check({"name": "other"}) == {"nameAvailable": True, "reason": "Invalid", "message": None}
    assert check({"name": "MyDps"})["reason"] == "AlreadyExists"
    for name in ("ab", "-ab", "ab-", "a" * 65, "a_b", ""):
        taken = check({"name": name})
        assert (taken["nameAvailable"], taken["reason"]) == (False, "Invalid")
        assert "3 to 64" in taken["message"]
    assert check({"name": 7})["message"] == "name is 7; it must be the name of a service."
    assert check([])["code"] == 400004


def test_what_else_there_is(client):
    assert client.send("GET", f"{SERVICE}/skus").body == {"value": [{"name": "S1"}]}
    offered = client.send("GET", f"{PROVIDER}/operations").body["value"]
    assert "Microsoft.Devices/provisioningServices/Write" in [each["name"] for each in offered]
    assert all(set(each["display"]) == {"provider", "resource", "operation"} for each in offered)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", ""),
        ("GET", "/privateLinkResources"),
        ("GET", "/privateLinkResources/iotDps"),
        ("GET", "/privateEndpointConnections"),
        ("GET", "/privateEndpointConnections/one"),
        ("PUT", "/privateEndpointConnections/one"),
        ("DELETE", "/privateEndpointConnections/one"),
    ],
)
def test_what_is_not_supported_says_so(client, method, path):
    assert "not supported by this simulator" in client.fails(ResourceManager.NOT_SUPPORTED, method, SERVICE + path)
    other = SERVICES + "/yours" + path
    assert "'yours'" in client.fails(ResourceManager.SERVICE_NOT_FOUND, method, other)


def test_there_is_one_service(client):
    other = f"{SERVICES}/yours"
    message = client.fails(ResourceManager.NOT_SUPPORTED, "PUT", other, {})
    assert "'yours' is not supported by this simulator: it has the one service 'mydps'" in message
    for method, path in (
        ("GET", ""),
        ("GET", "/skus"),
        ("POST", "/listkeys"),
        ("POST", "/keys/owner/listkeys"),
        ("GET", "/operationresults/x"),
    ):
        client.fails(ResourceManager.SERVICE_NOT_FOUND, method, other + path)
    assert client.send("PATCH", other, {}).status == 404


def test_without_the_token_nothing_is_shown(client):
    for method, path in (("POST", f"{SERVICE}/listkeys"), ("GET", SERVICES), ("GET", f"{PROVIDER}/operations")):
        client.fails(ResourceManager.UNAUTHORIZED, method, path, token="wrong")


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 1_100),
    st.floats(allow_nan=False),
    st.sampled_from(["", "S1", "Hashed", "simulator", "owner", "EnrollmentRead", "KeyBased", HUB, "\ud800", "****"]),
    st.just(f"HostName={HUB};SharedAccessKeyName=iothubowner;SharedAccessKey={HUB_KEY}"),
    st.text(max_size=20),
)
_MEMBERS = (
    *("location", "tags", "properties", "sku", "identity", "iotHubs", "allocationPolicy", "authorizationPolicies"),
    *(
        "name",
        "capacity",
        "type",
        "connectionString",
        "applyAllocationPolicy",
        "allocationWeight",
        "authenticationType",
    ),
    *("hostName", "keyName", "primaryKey", "rights", "publicNetworkAccess", "ipFilterRules"),
)
_NOISE = st.recursive(
    _VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_MEMBERS), inner, max_size=5),
    max_leaves=8,
)


@given(path=st.lists(st.sampled_from(_MEMBERS), max_size=3), noise=_NOISE)
@settings(max_examples=examples(150))
def test_whatever_is_sent_is_answered_and_leaves_no_half(path, noise):
    client = Client()
    before = client.description.show(), client.policies.all()
    body = client.send("GET").body
    body["properties"]["authorizationPolicies"] = [policy.to_json() for policy in client.policies.all()]
    place = body
    for name in path[:-1]:
        deeper = place.get(name)
        deeper = deeper[0] if isinstance(deeper, list) and deeper else deeper
        place = deeper if isinstance(deeper, dict) else place
    place[path[-1] if path else "properties"] = noise
    response = client.send("PUT", SERVICE, body)
    assert response.status in {201, 400, 403, 409, 501}
    if response.status != 201:
        assert (client.description.show(), client.policies.all()) == before
    response.encoded()
