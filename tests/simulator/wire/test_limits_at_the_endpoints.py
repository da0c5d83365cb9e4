"""What devices and services meet when there are too many of them, at every door."""

import asyncio
import base64
import json
from urllib.parse import quote_plus

import pytest
from provisioning_parts import ID_SCOPE, OTHER_KEY, Provisioning, group_body, individual_body
from tpm_parts import PaperTpm
from x509_family import make_root

from dps_simulator.common.clock import ManualClock
from dps_simulator.common.http import Peer, Request
from dps_simulator.common.hub_links import HubLink
from dps_simulator.common.throttling import LIMITS, Limits
from dps_simulator.common.trace import Trace
from dps_simulator.credentials.sas import sign
from dps_simulator.errors.table import Dps, Hub, ServiceError
from dps_simulator.hub.api.device import UNAVAILABLE, HubDeviceEndpoint
from dps_simulator.hub.api.limits import TWIN_LIMITS, limit_of
from dps_simulator.hub.api.service import HubServiceEndpoint
from dps_simulator.hub.cloud_to_device import CloudToDeviceMessage
from dps_simulator.hub.hub import IotHub
from dps_simulator.process.store import Store
from dps_simulator.protocols.mqtt import Connect, Publish, Subscribe
from dps_simulator.provisioning.access_policies import AccessPolicies
from dps_simulator.provisioning.api.device import DpsDeviceEndpoint
from dps_simulator.provisioning.api.https import DpsHttpsEndpoint
from dps_simulator.provisioning.api.service import DpsServiceEndpoint
from dps_simulator.provisioning.registration.linked_hubs import LinkedHubs

HOST = "global.azure-devices-provisioning.test"
SERVICE = "mydps.azure-devices-provisioning.test"
HUB = "contoso-hub-1.azure-devices.test"
KEY = b"k" * 32
POLICY_KEY = base64.b64encode(KEY).decode()
DEVICE = "thermostat-001"


class Link:
    """Remembers, in order, what the application did."""

    def __init__(self, host):
        self.peer = Peer(host, "mqtt")
        self.calls = []

    def __getattr__(self, name):
        return lambda *args, **kwargs: self.calls.append((name, *args, *kwargs.values()))

    def of(self, name):
        return [call[1:] for call in self.calls if call[0] == name]


# --- the provisioning service


@pytest.fixture
def parts(provisioning):
    provisioning.enroll()
    return provisioning


def limit(parts, text):
    parts.service.throttle.limits = Limits.parse(text)


class MqttDevice:
    def __init__(self, parts, key=None):
        self.trace = Trace(parts.clock)
        self.link = Link(HOST)
        endpoint = DpsDeviceEndpoint(service=parts.service, clock=parts.clock, trace=self.trace, host=HOST)
        self.application = endpoint.application(self.link)
        token = parts.token() if key is None else parts.token(key=key)
        name = f"{ID_SCOPE}/registrations/device-1/api-version=2019-03-31"
        self.application.connected(Connect("MQTT", 4, False, 60, "device-1", name, token))

    def ask(self, what):
        self.link.calls.clear()
        self.application.published(Publish(f"$dps/registrations/{what}", b"", 1, 7))
        topic, body, _ = self.link.of("publish")[0]
        return topic, json.loads(body)

    def register(self):
        return self.ask("PUT/iotdps-register/?$rid=1")

    def poll(self, operation):
        return self.ask(f"GET/iotdps-get-operationstatus/?$rid=2&operationId={operation}")


def test_registrations_over_mqtt(parts):
    limit(parts, "registrations_per_minute=2")
    device = MqttDevice(parts)
    assert [device.register()[0] for _ in range(2)] == ["$dps/registrations/res/200/?$rid=1"] * 2
    topic, body = device.register()
    assert topic == "$dps/registrations/res/429/?$rid=1&retry-after=30"
    assert (body["errorCode"], body["message"]) == (429_001, "Too many requests. Try again in 30 s.")
    shown = device.trace.events()[-1]
    assert (shown.status, shown.detail["reason"]) == (
        429,
        "registrations_per_minute: registrations, with look-ups are limited to 2",
    )
    parts.clock.advance(30)
    assert device.register()[0] == "$dps/registrations/res/200/?$rid=1"


def test_registrations_count_whether_they_are_good_or_not_but_not_those_for_other_services(parts):
    limit(parts, "registrations_per_minute=1")
    assert MqttDevice(parts, OTHER_KEY).register()[0] == "$dps/registrations/res/401/?$rid=1"
    assert MqttDevice(parts).register()[0].startswith("$dps/registrations/res/429/")
    limit(parts, "registrations_per_minute=1")
    https = HttpsDevice(parts)
    assert https.send("PUT", "/register", scope="0neOTHER").status == 404
    assert https.send("PUT", "/register", version="").status == 400
    assert https.send("PUT", "/register").status == 202


def test_polls_of_one_device(parts):
    parts.service.pace = type(parts.service.pace).parse("polls=100")
    limit(parts, "azure")
    device = MqttDevice(parts)
    operation = device.register()[1]["operationId"]
    topics = [device.poll(operation)[0] for _ in range(6)]
    assert [topic.split("/")[3] for topic in topics] == ["202"] * 5 + ["429"]
    assert topics[-1] == "$dps/registrations/res/429/?$rid=2&retry-after=2"
    # another connection, in another spelling, is the same device
    assert HttpsDevice(parts).send("GET", f"/operations/{operation}", name="DEVICE-1").status == 429
    # who is refused does not take from the others
    stranger = MqttDevice(parts, OTHER_KEY)
    parts.clock.advance(2)
    assert [stranger.poll(operation)[0].split("/")[3] for _ in range(9)] == ["401"] * 9
    assert device.poll(operation)[0].split("/")[3] == "202"


class HttpsDevice:
    def __init__(self, parts):
        self.parts = parts
        self.endpoint = DpsHttpsEndpoint(
            service=parts.service,
            clock=parts.clock,
            trace=Trace(parts.clock),
            host=HOST,
            transaction=parts.store.transaction,
        )

    def send(self, method, path, body=None, *, scope=ID_SCOPE, name="device-1", version="2021-06-01", token=None):
        token = self.parts.token(name) if token is None else token
        headers = {"authorization": token} if token else {}
        raw = b"" if body is None else json.dumps(body).encode()
        query = {"api-version": version} if version else {}
        path = f"/{scope}/registrations/{name}{path}"
        return asyncio.run(self.endpoint.handle(Request(method, path, query, headers, raw, Peer(HOST))))


def test_registrations_and_look_ups_over_https(parts):
    limit(parts, "registrations_per_minute=2")
    device = HttpsDevice(parts)
    assert device.send("PUT", "/register").status == 202
    assert device.send("POST", "").status == 200
    for method, path in (("PUT", "/register"), ("POST", "")):
        refused = device.send(method, path)
        assert (refused.status, refused.headers["Retry-After"]) == (429, "30")
        assert refused.headers["x-ms-error-code"] == "429001"
        assert "Location" not in refused.headers


def test_challenges_count_too(parts):
    tpm = PaperTpm()
    parts.individuals.put("tpm-1", {"registrationId": "tpm-1", "attestation": tpm.attestation()})
    limit(parts, "registrations_per_minute=1")
    keys = {"tpm": tpm.keys()}
    device = HttpsDevice(parts)
    assert device.send("PUT", "/register", keys, name="tpm-1", token="").status == 401
    assert device.send("PUT", "/register", keys, name="tpm-1", token="").status == 429


def test_registrations_that_are_kept(parts):
    parts.enroll("device-2")
    limit(parts, "registrations=1")
    device = HttpsDevice(parts)
    assert device.send("PUT", "/register").status == 202
    assert device.send("PUT", "/register").status == 202
    refused = device.send("PUT", "/register", name="device-2")
    assert (refused.status, refused.body["errorCode"]) == (403, Dps.LIMIT_REACHED.code)
    assert "device-2" not in parts.hub.devices
    parts.registrations.delete("device-1")
    assert device.send("PUT", "/register", name="device-2").status == 202


def service_api(parts, method, path, body=None):
    endpoint = DpsServiceEndpoint(
        service=parts.service,
        clock=parts.clock,
        trace=Trace(parts.clock),
        host=SERVICE,
        transaction=parts.store.transaction,
        policies=AccessPolicies(parts.store, owner_name="provisioningserviceowner", owner_key=POLICY_KEY),
    )
    token = sign(SERVICE, KEY, int(parts.now) + 60, "provisioningserviceowner")
    raw = b"" if body is None else json.dumps(body).encode()
    headers = {"authorization": token, "if-match": "*"} if method == "GET" else {"authorization": token}
    request = Request(method, path, {"api-version": "2021-10-01"}, headers, raw, Peer(SERVICE))
    return asyncio.run(endpoint.handle(request))


def test_requests_to_the_service_api(parts):
    limit(parts, "operations_per_minute=3")
    assert service_api(parts, "GET", "/enrollments/device-1").status == 200
    assert service_api(parts, "GET", "/enrollments/nobody").status == 404
    assert service_api(parts, "GET", "/registrations/device-1").status == 404
    refused = service_api(parts, "GET", "/enrollments/device-1")
    assert (refused.status, refused.headers["Retry-After"], refused.body["errorCode"]) == (429, "20", 429_001)
    # registering is limited by itself
    assert HttpsDevice(parts).send("PUT", "/register").status == 202


def test_enrollments_and_groups(parts):
    root = make_root()
    x509 = {"type": "x509", "x509": {"signingCertificates": {"primary": {"certificate": root.base64}}}}
    limit(parts, "individual_enrollments=2,symmetric_key_enrollment_groups=1,x509_enrollment_groups=1")
    parts.individuals.put("device-2", individual_body("device-2"))
    parts.groups.put("keys-1", group_body("keys-1"))
    parts.groups.put("certificates-1", {"enrollmentGroupId": "certificates-1", "attestation": x509})
    for path, body in (
        ("/enrollments/device-3", individual_body("device-3")),
        ("/enrollmentGroups/keys-2", group_body("keys-2")),
        ("/enrollmentGroups/certificates-2", {"enrollmentGroupId": "certificates-2", "attestation": x509}),
    ):
        refused = service_api(parts, "PUT", path, body)
        assert (refused.status, refused.body["errorCode"]) == (403, Dps.LIMIT_REACHED.code)
        assert service_api(parts, "GET", path).status == 404
    # what is there can be changed, and makes room when it goes
    parts.individuals.put("device-2", individual_body("device-2", deviceId="x"), "*")
    parts.individuals.delete("device-2")
    assert service_api(parts, "PUT", "/enrollments/device-3", individual_body("device-3")).status == 200


def test_linked_hubs():
    asked = []

    def admit(count):
        asked.append(count)
        if count >= 2:
            raise ServiceError(Dps.LIMIT_REACHED)

    links = LinkedHubs(Store(), [HubLink("a.b")], admit=admit)
    links.put(HubLink("c.d"))
    links.put(HubLink("c.d", allocation_weight=5))
    with pytest.raises(ServiceError):
        links.put(HubLink("e.f"))
    assert asked == [1, 2]
    assert [link.host for link in links.all()] == ["a.b", "c.d"]
    links.remove("a.b")
    links.put(HubLink("e.f"))


# --- the hub


class Timer:
    def cancel(self):
        pass


class HubWorld:
    def __init__(self):
        self.clock = ManualClock()
        self.store = Store()
        self.trace = Trace(self.clock)
        self.hub = IotHub(host=HUB, storage=self.store, clock=self.clock)
        shared = {"clock": self.clock, "trace": self.trace, "policy_name": "iothubowner", "policy_key": POLICY_KEY}
        self.devices = HubDeviceEndpoint(hub=self.hub, call_later=lambda *_: Timer(), **shared)
        self.service = HubServiceEndpoint(
            hub=self.hub, devices=self.devices, transaction=self.store.transaction, **shared
        )
        keys = {"primaryKey": POLICY_KEY, "secondaryKey": POLICY_KEY}
        self.hub.put_device(DEVICE, {"authentication": {"symmetricKey": keys, "type": "sas"}})

    def limit(self, text):
        self.hub.throttle.limits = Limits.parse(text)

    def ask(self, method, path, body=None):
        token = sign(quote_plus(HUB), KEY, int(self.clock.now().timestamp()) + 60, "iothubowner")
        raw = b"" if body is None else json.dumps(body).encode()
        request = Request(method, path, {"api-version": "2021-04-12"}, {"authorization": token}, raw, Peer(HUB))
        return asyncio.run(self.service.handle(request))

    def connect(self):
        """A device that connects, and its link."""
        link = Link(HUB)
        session = self.devices.application(link)
        token = sign(f"{HUB}%2Fdevices%2F{DEVICE}", KEY, int(self.clock.now().timestamp()) + 6000)
        name = f"{HUB}/{DEVICE}/?api-version=2019-10-01"
        session.connected(Connect("MQTT", 4, False, 60, DEVICE, name, token))
        return session, link

    def reason(self):
        return self.trace.events()[-1].detail.get("reason", "")


@pytest.fixture
def world():
    return HubWorld()


@pytest.mark.parametrize(
    ("limits", "method", "path", "body", "passes", "wait"),
    [
        ("registry_operations_per_minute=6", "GET", f"/devices/{DEVICE}", None, 6, 10),
        ("registry_operations_per_minute=6", "GET", "/devices", None, 6, 10),
        ("queries_per_minute=2", "POST", "/devices/query", {"query": "SELECT * FROM devices"}, 2, 30),
        ("twin_reads_per_second=2", "GET", f"/twins/{DEVICE}", None, 2, 1),
        ("twin_updates_per_second=2", "PATCH", f"/twins/{DEVICE}", {"tags": {}}, 2, 1),
        ("method_kilobytes_per_second=8", "POST", f"/twins/{DEVICE}/methods", {"methodName": "m"}, 2, 1),
        (
            "method_kilobytes_per_second=20",
            "POST",
            f"/twins/{DEVICE}/methods",
            {"methodName": "m", "payload": "x" * 5_000},
            2,
            1,
        ),
    ],
)
def test_requests_to_a_hub(world, limits, method, path, body, passes, wait):
    world.limit(limits)
    for _ in range(passes):
        assert world.ask(method, path, body).status in {200, 404}
    refused = world.ask(method, path, body)
    assert (refused.status, refused.headers["Retry-After"]) == (429, str(wait))
    assert refused.body["Message"].startswith("ErrorCode:ThrottlingException;")
    assert limits.partition("=")[0] in world.reason()
    world.clock.advance(wait)
    assert world.ask(method, path, body).status in {200, 404}
    # the other limits are not touched, and statistics count for nothing
    assert world.ask("GET", "/statistics/devices").status == 200


def test_every_route_of_a_hub_counts_for_what_is_documented(world):
    names = {limit.name for limit in LIMITS}
    counted = {
        (route.method, route.template): limit_of(route.method, route.template) for route in world.service._routes
    }
    assert {name for name in counted.values() if name} <= names
    assert set(TWIN_LIMITS.values()) <= names
    for (method, template), name in counted.items():
        if template.startswith("/twins/") and "/streams/" not in template:  # there are no streams
            assert name.startswith("method" if template.endswith("/methods") else "twin"), (method, template)
        if name == "registry_operations_per_minute":
            assert template.startswith("/devices")
            assert not template.endswith(("/query", "/commands", "/files", "/notifications"))
    assert counted["PUT", "/devices/{id}"] == "registry_operations_per_minute"
    assert counted["POST", "/devices"] == "registry_operations_per_minute"
    assert counted["GET", "/statistics/service"] == ""


def test_devices_and_modules(world):
    world.limit("devices=3")
    world.hub.put_device(f"{DEVICE}/camera", {})
    assert world.ask("PUT", "/devices/second", {"deviceId": "second"}).status == 200
    refused = world.ask("PUT", "/devices/third", {"deviceId": "third"})
    assert (refused.status, refused.headers["x-ms-error-code"]) == (Hub.TOO_MANY_DEVICES.status, "413002")
    with pytest.raises(ServiceError) as caught:
        world.hub.put_device(f"{DEVICE}/microphone", {})
    assert caught.value.kind is Hub.TOO_MANY_DEVICES
    assert [module["moduleId"] for module in world.hub.modules(DEVICE)] == ["camera"]
    world.hub.delete_device("second")
    assert world.ask("PUT", "/devices/third", {"deviceId": "third"}).status == 200


def test_a_full_hub_fails_the_registration():
    parts = Provisioning()
    hub = IotHub(host="hub-1.azure-devices.test", storage=parts.store, clock=parts.clock)
    hub.throttle.limits = Limits.parse("devices=1")
    parts.hubs[:] = [hub]
    parts.enroll()
    parts.enroll("device-2")
    assert parts.register().status.value == "assigned"
    failed = parts.register("device-2")
    assert (failed.status.value, failed.state["errorCode"]) == ("failed", Hub.TOO_MANY_DEVICES.code)
    assert parts.register().status.value == "assigned"


def test_messages_to_devices(world):
    world.limit("cloud_to_device_per_minute=2")
    for _ in range(2):
        world.hub.cloud_to_device.send(DEVICE, CloudToDeviceMessage(b"x"))
    with pytest.raises(ServiceError) as caught:
        world.hub.cloud_to_device.send(DEVICE, CloudToDeviceMessage(b"x"))
    assert (caught.value.kind, caught.value.retry_after) == (Hub.THROTTLED, 30)
    assert world.hub.cloud_to_device.waiting(DEVICE) == 2


def test_connections(world):
    world.limit("connections_per_second=1")
    _, first = world.connect()
    assert first.of("accept")
    _, second = world.connect()
    assert (second.of("refuse"), second.of("accept")) == ([(UNAVAILABLE,)], [])
    assert "connections_per_second" in world.reason()
    world.clock.advance(1)
    assert world.connect()[1].of("accept")


@pytest.mark.parametrize(
    ("limits", "size", "kind"),
    [
        ("telemetry_per_second=2", 10, Hub.THROTTLED),
        ("telemetry_per_day=2", 10, Hub.QUOTA_EXCEEDED),
        ("telemetry_per_day=4", 5_000, Hub.QUOTA_EXCEEDED),
    ],
)
def test_messages_from_devices(world, limits, size, kind):
    world.limit(limits)
    session, link = world.connect()
    topic = f"devices/{DEVICE}/messages/events/"
    for number in range(3):
        session.published(Publish(topic, b"x" * size, 1, number + 1))
    assert [message.packet_id for (message,) in link.of("acknowledge")] == [1, 2]
    assert len(link.of("close")) == 1
    event = world.trace.events()[-1]
    assert (event.operation, event.status, event.detail["code"]) == ("disconnect", kind.status, kind.code)
    assert limits.partition("=")[0] in event.detail["reason"]
    assert len(world.hub.telemetry.read(0)) == 2


def test_twins_over_mqtt(world):
    world.limit("twin_reads_per_second=1,twin_updates_per_second=1")
    session, link = world.connect()
    session.subscribe(Subscribe(1, (("$iothub/twin/res/#", 0),)))
    for number in range(2):
        session.published(Publish(f"$iothub/twin/GET/?$rid={number}", b" ", 1, 7))
        session.published(Publish(f"$iothub/twin/PATCH/properties/reported/?$rid=r{number}", b'{"a": 1}', 1, 8))
    topics = [topic for topic, *_ in link.of("publish")]
    assert topics == [
        "$iothub/twin/res/200/?$rid=0",
        topics[1],
        "$iothub/twin/res/429/?$rid=1",
        "$iothub/twin/res/429/?$rid=r1",
    ]
    assert topics[1].startswith("$iothub/twin/res/204/?$rid=r0")
    assert json.loads(link.of("publish")[2][1])["errorCode"] == 429_001
    assert not link.of("close")
