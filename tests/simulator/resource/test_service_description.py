import base64

import pytest

from dps_simulator.common.hub_links import HubLink
from dps_simulator.errors.table import Dps, ResourceManager, ServiceError
from dps_simulator.process.store import Store
from dps_simulator.provisioning.access_policies import AccessPolicies
from dps_simulator.provisioning.registration.linked_hubs import LinkedHubs
from dps_simulator.resource.hub_definitions import HubDoor
from dps_simulator.resource.service_description import ServiceDescription

ONE, TWO = "hub-1.azure-devices.test", "hub-2.azure-devices.test"
HUB_KEY = base64.b64encode(b"the key of both hubs............").decode()
SECOND_HUB_KEY = base64.b64encode(b"the other key of both hubs......").decode()
OWNER_KEY = base64.b64encode(b"the key of the owner............").decode()
NEW_KEY = base64.b64encode(b"a new key of the owner..........").decode()


def hub_key(host, key=HUB_KEY, policy="iothubowner"):
    return f"HostName={host};SharedAccessKeyName={policy};SharedAccessKey={key}"


def definition(host, key=HUB_KEY, **more):
    return {"connectionString": hub_key(host, key), "location": "westus2", **more}


class Parts:
    def __init__(self, store=None):
        self.store = store or Store()
        self.links = LinkedHubs(self.store, [HubLink(ONE, latency=5.0)])
        self.policies = AccessPolicies(self.store, owner_name="owner", owner_key=OWNER_KEY)
        self.doors = {host: HubDoor("iothubowner", (HUB_KEY, SECOND_HUB_KEY)) for host in (ONE, TWO)}
        self.description = ServiceDescription(
            storage=self.store,
            links=self.links,
            policies=self.policies,
            hub_door=self.doors.get,
            service_host="mydps.azure-devices-provisioning.test",
            device_host="global.azure-devices-provisioning.test",
            id_scope="0ne00000A01",
        )

    @property
    def shown(self):
        return self.description.show()

    @property
    def properties(self):
        return self.shown["properties"]

    def put(self, *, if_match=None, must_be_new=False, top=None, **properties):
        body = {"location": "simulator", "properties": properties, "sku": {"name": "S1", "capacity": 1}, **(top or {})}
        self.description.put(body, if_match, must_be_new=must_be_new)

    def state(self):
        return self.shown, self.links.all(), self.policies.all()

    def refuses(self, kind, **put):
        before = self.state()
        with pytest.raises(ServiceError) as caught:
            self.put(**put)
        assert caught.value.kind is kind
        assert self.state() == before
        return caught.value.message


@pytest.fixture
def parts():
    return Parts()


def test_what_is_shown(parts):
    shown = parts.shown
    assert shown.pop("etag")
    assert shown == {
        "name": "mydps",
        "location": "simulator",
        "tags": {},
        "properties": {
            "state": "Active",
            "provisioningState": "Succeeded",
            "iotHubs": [
                {
                    "applyAllocationPolicy": True,
                    "allocationWeight": 1,
                    "name": ONE,
                    "connectionString": hub_key(ONE, "****"),
                    "location": "simulator",
                }
            ],
            "allocationPolicy": "Hashed",
            "serviceOperationsHostName": "mydps.azure-devices-provisioning.test",
            "deviceProvisioningHostName": "global.azure-devices-provisioning.test",
            "idScope": "0ne00000A01",
            "publicNetworkAccess": "Enabled",
        },
        "sku": {"name": "S1", "tier": "Standard", "capacity": 1},
    }


def test_what_was_shown_can_be_sent_back(parts):
    links = parts.links.all()
    before = parts.shown
    parts.description.put(before, before["etag"])
    after = parts.shown
    assert before.pop("etag") != after.pop("etag")
    assert after == before
    assert parts.links.all() == links


def test_hubs_are_linked_changed_and_unlinked(parts):
    hubs = [
        definition(TWO.upper(), SECOND_HUB_KEY, allocationWeight=3, applyAllocationPolicy=False),
        definition(ONE, "****", allocationWeight=1000),
    ]
    parts.put(iotHubs=hubs)
    assert parts.links.all() == (HubLink(ONE, True, 1000, 5.0), HubLink(TWO, False, 3))
    assert [hub["location"] for hub in parts.properties["iotHubs"]] == ["westus2", "westus2"]
    assert HUB_KEY not in str(parts.shown)
    parts.put(
        iotHubs=[
            definition(TWO, "****", authenticationType="KeyBased", hostName=TWO.upper(), name="ignored", location="x")
        ]
    )
    assert parts.links.all() == (HubLink(TWO),)
    assert parts.properties["iotHubs"][0]["location"] == "x"
    assert Parts(parts.store).state() == parts.state()
    parts.put(iotHubs=[])
    assert (parts.links.all(), parts.properties["iotHubs"]) == ((), [])


def test_what_is_left_out_stays_except_for_tags(parts):
    parts.put(
        iotHubs=[definition(ONE), definition(TWO)],
        allocationPolicy="geolatency",
        authorizationPolicies=[{"keyName": "owner", "rights": "EnrollmentRead", "primaryKey": NEW_KEY}],
        top={"tags": {"line": "1"}, "sku": {"name": "s1", "capacity": 2, "tier": "Standard"}},
    )
    before = parts.state()
    assert before[0]["properties"]["allocationPolicy"] == "GeoLatency"
    assert before[0]["sku"]["capacity"] == 2
    assert before[2][0].primary_key == NEW_KEY
    parts.put(iotHubs=None, allocationPolicy=None, authorizationPolicies=None, top={"sku": {"name": "S1"}})
    after = parts.state()
    assert after[1:] == before[1:]
    assert after[0]["properties"] == before[0]["properties"]
    assert (after[0]["tags"], after[0]["sku"]["capacity"]) == ({}, 1)


@pytest.mark.parametrize("policy", ["Hashed", "GeoLatency", "Static"])
def test_every_policy_of_a_service(parts, policy):
    parts.put(allocationPolicy=policy)
    assert parts.properties["allocationPolicy"] == policy
    assert parts.links.allocation_policy.lower() == policy.lower()


def test_defaults_that_are_sent_along_are_no_wish(parts):
    parts.put(
        publicNetworkAccess="Enabled",
        ipFilterRules=[],
        privateEndpointConnections=[],
        enableDataResidency=False,
        disableLocalAuth=False,
        state="Active",
        idScope="whatever",
        top={"identity": {"type": "None"}, "id": "x", "name": "x", "type": "x", "etag": "stale"},
    )
    assert parts.properties["idScope"] == "0ne00000A01"


def test_the_tag_changes_with_whatever_is_shown(parts):
    seen = [parts.shown["etag"]]
    for change in (
        lambda: parts.links.put(HubLink(TWO)),
        lambda: parts.links.remove(TWO),
        lambda: parts.description.patch({"tags": {"a": "b"}}, seen[-1]),
        lambda: parts.put(if_match=f'"{seen[-1]}"'),
        lambda: parts.put(if_match="*"),
    ):
        change()
        seen.append(parts.shown["etag"])
    # the second one only undid the first
    assert (seen[2], len(set(seen))) == (seen[0], 5)
    for stale in (seen[0], "nonsense"):
        parts.refuses(Dps.PRECONDITION_FAILED, if_match=stale, allocationPolicy="Static")
        with pytest.raises(ServiceError):
            parts.description.patch({"tags": {}}, stale)
    assert "'mydps' already" in parts.refuses(ResourceManager.SERVICE_EXISTS, must_be_new=True)


def test_tags_are_patched(parts):
    parts.put(top={"tags": {"a": "1"}})
    parts.description.patch({"tags": {"b": "2"}})
    assert parts.shown["tags"] == {"b": "2"}
    parts.description.patch({})
    assert parts.shown["tags"] == {"b": "2"}
    parts.description.patch({"tags": {}})
    assert parts.shown["tags"] == {}
    parts.description.patch({"tags": {"c": "3"}})
    parts.description.clear()
    assert parts.shown["tags"] == {}
    with pytest.raises(ServiceError, match="unknown field 'properties'"):
        parts.description.patch({"properties": {}})


def test_a_link_to_a_hub_that_has_gone_is_not_shown(parts):
    parts.put(iotHubs=[definition(ONE), definition(TWO)])
    del parts.doors[ONE]
    assert [hub["name"] for hub in parts.properties["iotHubs"]] == [TWO]


@pytest.mark.parametrize(
    ("connection_string", "text"),
    [
        (hub_key("hub-3.azure-devices.test"), "'hub-3.azure-devices.test', which does not exist in this simulator"),
        (hub_key(ONE, policy="device"), "'device', which the hub hub-1.azure-devices.test does not have"),
        (hub_key(ONE, NEW_KEY), "a key that is not that of the policy 'iothubowner'"),
        (hub_key(ONE, HUB_KEY[:-2]), "a key that is not that of"),
        (hub_key(ONE, "\ud800"), "a key that is not that of"),
        (hub_key(ONE, "****x"), "a key that is not that of"),
        (hub_key(TWO, "****"), "a masked key, and the hub hub-2.azure-devices.test is not linked yet"),
    ],
)
def test_connection_strings_that_lead_nowhere(parts, connection_string, text):
    hubs = [{"connectionString": connection_string, "location": "x"}]
    message = parts.refuses(ResourceManager.HUB_REFUSES, iotHubs=hubs, allocationPolicy="Static")
    assert text in message
    assert "properties.iotHubs[0].connectionString" in message
    assert NEW_KEY not in message
    assert HUB_KEY[:-2] not in message


@pytest.mark.parametrize(
    ("hubs", "text"),
    [
        ({}, "properties.iotHubs is an object; it must be a list"),
        ([definition(ONE)] * 101, "has 101 hubs; at most 100"),
        ([definition(ONE), definition(ONE.upper())], f"has the hub {ONE} more than once"),
        ([definition(ONE, allocationWeight=0)], "iotHubs[0]: allocationWeight is 0; it must be a whole number from 1"),
        ([definition(ONE, allocationWeight=1001)], "allocationWeight is 1001"),
        ([definition(ONE, allocationWeight="2")], "allocationWeight is '2'"),
        ([definition(ONE, applyAllocationPolicy="no")], "applyAllocationPolicy is 'no'; it must be true or false"),
        ([definition(ONE, weight=3)], "iotHubs[0] has the unknown field 'weight'; known are connectionString"),
        ([definition(ONE, location=None)], "iotHubs[0].location is None"),
        ([definition(ONE, location="")], "iotHubs[0].location is a text"),
        ([definition(ONE, hostName=TWO)], f"iotHubs[0].hostName is a text; connectionString names the hub {ONE}"),
        ([definition(ONE, hostName=7)], "iotHubs[0].hostName is 7"),
        ([definition(ONE, authenticationType="Other")], "iotHubs[0].authenticationType is a text"),
        ([{"location": "x"}], "iotHubs[0].connectionString is None; it must read HostName="),
        ([{"location": "x", "connectionString": ""}], "iotHubs[0].connectionString is empty"),
        ([{"location": "x", "connectionString": "a=b"}], "is not the connection string of a hub"),
        ([{"location": "x", "connectionString": hub_key(ONE) + ";EntityPath=a"}], "is not the connection string"),
        ([{"location": "x", "connectionString": hub_key("a" * 1100)}], "is not the connection string"),
    ],
)
def test_wrong_definitions(parts, hubs, text):
    message = parts.refuses(ResourceManager.INVALID_REQUEST, iotHubs=hubs)
    assert text in message
    assert HUB_KEY not in message


@pytest.mark.parametrize(
    ("properties", "top", "text"),
    [
        (
            {"iotHubs": [definition(ONE, authenticationType="SystemAssigned")]},
            {},
            "iotHubs[0] asks for a managed identity",
        ),
        ({"iotHubs": [definition(ONE, selectedUserAssignedIdentityResourceId="x")]}, {}, "a managed identity"),
        ({"publicNetworkAccess": "Disabled"}, {}, "properties.publicNetworkAccess is a text"),
        ({"ipFilterRules": [{}]}, {}, "properties.ipFilterRules is an array"),
        ({"enableDataResidency": True}, {}, "properties.enableDataResidency is True"),
        ({"disableLocalAuth": True}, {}, "properties.disableLocalAuth"),
        ({"privateEndpointConnections": [{}]}, {}, "properties.privateEndpointConnections"),
        ({}, {"identity": {"type": "SystemAssigned"}}, "identity.type is 'SystemAssigned'"),
    ],
)
def test_what_this_simulator_does_not_have(parts, properties, top, text):
    message = parts.refuses(ResourceManager.NOT_SUPPORTED, top=top, **properties)
    assert text in message
    assert "not supported by this simulator" in message


@pytest.mark.parametrize(
    ("properties", "top", "text"),
    [
        ({"allocation": "Hashed"}, {}, "properties has the unknown field 'allocation'"),
        ({}, {"colour": "red"}, "The body has the unknown field 'colour'"),
        ({}, {"location": None}, "location is None"),
        ({}, {"location": ""}, "location is a text"),
        ({}, {"sku": {"name": "F1"}}, "sku.name is 'F1'; the one there is is 'S1'"),
        ({}, {"sku": {}}, "sku.name is None"),
        ({}, {"sku": {"name": "S1", "capacity": 0}}, "sku.capacity is 0"),
        ({}, {"sku": {"name": "S1", "capacity": 201}}, "sku.capacity is 201"),
        ({}, {"sku": {"name": "S1", "capacity": True}}, "sku.capacity is True"),
        ({}, {"sku": {"name": "S1", "capacity": "1"}}, "sku.capacity is a text"),
        ({}, {"tags": {str(number): "" for number in range(51)}}, "tags has 51 entries"),
        ({}, {"tags": {"": "x"}}, "tags has the name ''"),
        ({}, {"tags": {"x" * 513: "x"}}, "it must have 1 to 512"),
        ({}, {"tags": {"x": "y" * 257}}, "The tag 'x' must be a text of at most 256"),
        ({}, {"tags": {"x": 1}}, "The tag 'x' must be a text"),
    ],
)
def test_wrong_values(parts, properties, top, text):
    assert text in parts.refuses(ResourceManager.INVALID_REQUEST, top=top, **properties)


@pytest.mark.parametrize(
    ("properties", "top"),
    [({}, {"properties": None}), ({}, {"sku": 1}), ({}, {"tags": []}), ({"allocationPolicy": "Custom"}, {})],
)
def test_wrong_kinds_of_values(parts, properties, top):
    parts.refuses(Dps.INVALID_BODY, top=top, **properties)
    with pytest.raises(ServiceError):
        parts.description.put([])
    with pytest.raises(ServiceError):
        parts.description.patch(None)


def test_nothing_of_a_refused_description_is_kept(parts):
    parts.refuses(
        ResourceManager.INVALID_REQUEST,
        iotHubs=[definition(ONE), definition(TWO)],
        allocationPolicy="Static",
        authorizationPolicies=[{"keyName": "owner", "rights": "nothing", "primaryKey": NEW_KEY}],
        top={"tags": {"a": "b"}},
    )
    # the last thing that is looked at
    parts.refuses(
        Dps.INVALID_BODY,
        iotHubs=[definition(TWO)],
        allocationPolicy="Custom",
        authorizationPolicies=[{"keyName": "owner", "rights": "EnrollmentRead", "primaryKey": NEW_KEY}],
    )


def test_the_service_does_not_move(parts):
    assert "cannot move to 'westus2'" in parts.refuses(ResourceManager.LOCATION_FIXED, top={"location": "westus2"})
    parts.put(top={"location": "Simulator"})
