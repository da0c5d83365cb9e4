"""Whatever stands in a request, it is answered, and never with 500: no operation fails, and nothing reaches the log.

Every operation of every endpoint is asked again and again, each time with a good body in which something was replaced.
The same requests in every run.
"""

import asyncio
import base64
import copy
import json
import logging
import random
from contextlib import AsyncExitStack
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from thoroughness import examples

from dps_simulator.common.http import Peer, Request
from dps_simulator.credentials import sas
from dps_simulator.protocols.mqtt import Connect, Publish
from dps_simulator.runtime import SimulatorRuntime
from dps_simulator.settings.settings import Settings

KEY = base64.b64encode(b"NOT-A-SECRET-KEY-OF-32-BYTES-----").decode()
KEYS = {"primaryKey": KEY, "secondaryKey": KEY}
SYMMETRIC = {"type": "symmetricKey", "symmetricKey": KEYS}
TWIN = {"tags": {"a": {"b": 1}}, "properties": {"desired": {"x": {"y": [1]}, "$version": 2}, "reported": {"z": 1}}}
SAS = {"type": "sas", "symmetricKey": KEYS, "x509Thumbprint": {"primaryThumbprint": "A" * 40}}
SCOPES = {"deviceScope": "", "parentScopes": []}
DEVICE = {"status": "enabled", "authentication": SAS, "capabilities": {"iotEdge": False}, **SCOPES}
MODULE = {"moduleId": "m", "managedBy": "x", "authentication": SAS}
COMMON = {
    "attestation": SYMMETRIC,
    "capabilities": {"iotEdge": True},
    "initialTwin": TWIN,
    "provisioningStatus": "enabled",
    "reprovisionPolicy": {"updateHubAssignment": True, "migrateDeviceData": True},
    "allocationPolicy": "hashed",
    "iotHubs": ["contoso-hub-1.azure-devices.test"],
    "customAllocationDefinition": {"webhookUrl": "https://a.test/x", "apiVersion": "2021-10-01"},
}
ENROLLMENT = {"registrationId": "d", "deviceId": "d", "optionalDeviceInformation": {"a": 1}, **COMMON}
GROUP = {"enrollmentGroupId": "g", **COMMON}
CERTIFICATE = {"primary": {"certificate": "AAAA"}, "secondary": {"info": {"sha256Thumbprint": "a"}}}
X509 = {"clientCertificates": CERTIFICATE, "signingCertificates": CERTIFICATE}
BY_CERTIFICATE = {"attestation": {"type": "x509", "x509": X509}}
TPM = {"endorsementKey": KEY, "storageRootKey": KEY}
BULK = [{"id": "d", "importMode": "createOrUpdate", "eTag": "x", "twinETag": "y", "moduleId": "m", **TWIN, **DEVICE}]
SERVICE = {
    "location": "x",
    "tags": {},
    "sku": {"name": "S1", "capacity": 1},
    "properties": {
        "allocationPolicy": "Hashed",
        "iotHubs": [{"connectionString": "HostName=a;SharedAccessKeyName=b;SharedAccessKey=c", "location": "x"}],
        "authorizationPolicies": [{"keyName": "a", "rights": "EnrollmentRead", **KEYS}],
        "certificate": "AAAA",
        "isVerified": True,
    },
}
MESSAGE = {"body": "x", "properties": {"a": "b"}, "expiryTimeUtc": "2030-01-01T00:00:00Z", "ack": "full"}
TELEMETRY = [{"body": "AA==", "properties": {"iothub-app-a": "b", "iothub-messageid": "m"}, "base64Encoded": True}]
HUB_LINK = {"linked": True, "allocationWeight": 1, "applyAllocationPolicy": True, "latency": 5}
FAULT = {"service": "provisioning", "kind": "throttle", "count": 3, "seconds": 5, "retryAfter": 5, "status": 429}

WHERE = (
    "tags.a = 'x'",
    "deviceId IN ['\\ud800']",
    f"{'1+' * 4_000}1 = 0",
    f"1 = {'1*' * 4_000}1",
    "deviceId = '\\udfff'",
)

#: Bodies by the beginning of the path; the first row that fits counts, and of a row any.
BODIES = (
    ("/devices/query", [{"query": f"SELECT * FROM devices WHERE {where}"} for where in WHERE]),  # noqa: S608 - no SQL
    ("/enrollments", [ENROLLMENT, ENROLLMENT | BY_CERTIFICATE, {"mode": "create", "enrollments": [ENROLLMENT]}]),
    ("/enrollmentGroups", [GROUP, GROUP | BY_CERTIFICATE, {"mode": "update", "enrollmentGroups": [GROUP]}]),
    ("/twins", [TWIN, {"methodName": "m", "payload": {"a": 1}, "responseTimeoutInSeconds": 5}]),
    ("/devices/{id}/messages", [TELEMETRY]),
    ("/devices/{id}/modules/{module}/messages", [TELEMETRY]),
    ("/devices/{id}/modules", [MODULE]),
    ("/devices/{id}", [DEVICE]),
    ("/devices", [BULK]),
    ("/{scope}", [{"registrationId": "d", "payload": {"a": "x"}}, {"registrationId": "d", "tpm": TPM, "csr": None}]),
    ("/simulator", [{"pace": "instant"}, {"mode": "off", "registrations_per_minute": 20}, MESSAGE, HUB_LINK, FAULT]),
    ("", [SERVICE]),
)  # fmt: skip
DEEP = json.loads("[" * 60 + "]" * 60)
VALUES = (
    *(None, True, 0, -1, 1.5, 1e308, 10**400, 2**63, [], [None], [{}], {}, {"": 1}, {"$x": 1}, {"a.b": 1}, DEEP),
    *(
        "",
        " ",
        "x" * 3_000,
        "\ud800",
        "\x00",
        "a\nb",
        "ü",
        "\N{GRINNING FACE}",
        "%",
        "../a",
        "a/b",
        "-",
        "*",
        "[]",
        "*",
    ),
    *(KEY, "AAAA", "x509", "tpm", "none", "custom", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "Infinity"),
    *("ms-azure-iot-edge://d-1", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", {"primaryKey": 5}),
)
RAW = (b"", b"{", b"\xff\xfe", b"[" * 9_000, b'"\xed\xa0\x80"', b"1" * 5_000, '{"a": "ü"}'.encode("utf-16"), b"null")
PARTS = ("%00", "%ff", "%ED%A0%80", "a%2Fb", "..", "*", "$edgeAgent", "query", "x" * 300, "%0a", "%", "nobody")
HEADERS = (
    *("if-match", "x-ms-max-item-count", "x-ms-continuation", "content-type", "authorization", "host"),
    *("iothub-app-a", "iothub-app-a b", "iothub-messageid", "iothub-app-AzIoTHub_FaultOperationType"),
)
TEXTS = (
    *("", "*", '"*"', "0", "-1", "9" * 30, "\u0661", "\udcff", "application/json", "W1tbW10=", "x" * 5_000, "MQ=="),
    *("application/vnd.microsoft.iothub.json", "KillTcp", "InvokeThrottling", "a\r\nb"),
    *("SharedAccessSignature sr=%ED%A0%80&sig=%00&se=9&skn=%ED%A0%80", "Bearer \udcff"),
    "SharedAccessSignature sr=\udcff&sig=AA==&se=9999999999&skn=\udcff",
)


def places(value, at=()):
    """Where something can be replaced."""
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*at, key))


def replaced(value, at, new):
    if not at:
        return new
    changed = copy.copy(value)
    changed[at[0]] = replaced(value[at[0]], at[1:], new)
    return changed


class Asker:
    """Makes requests out of numbers.

    Arguments:
        runtime: who is asked.
        seed: which requests.
    """

    def __init__(self, runtime, seed):
        self.runtime = runtime
        self.random = random.Random(seed)  # noqa: S311 - the same in every run
        settings, services = runtime.settings, runtime.services
        self.hub = settings.hubs[0].host
        hub = services.hubs.service(self.hub)
        self.doors = {
            settings.service_host: ("2021-10-01", services.routing.enrollments),
            settings.provisioning_host: ("2021-06-01", services.routing.https._endpoint),
            settings.management_host: ("2022-12-12", services.routing.management),
            # two endpoints behind one name
            self.hub: ("2021-04-12", SimpleNamespace(_routes=(*hub.registry._routes, *hub.https._routes))),
            "localhost": ("", runtime._management),
        }

    def token(self, host):
        settings, services = self.runtime.settings, self.runtime.services
        if host in ("localhost", settings.management_host):
            return f"Bearer {self.runtime._token}"
        if host == settings.provisioning_host:
            resource, key, policy = f"{settings.id_scope}/registrations/d", KEY, "registration"
        else:
            is_hub = host == self.hub
            text = services.hubs.endpoints()[0].connection_string if is_hub else services.service_connection_string
            fields = dict(part.split("=", 1) for part in text.split(";"))
            resource, key, policy = host, fields["SharedAccessKey"], fields["SharedAccessKeyName"]
        return sas.sign(quote(resource, safe=""), sas.decode_key(key), 2**40, policy)

    def spoilt(self, body):
        for _ in range(self.random.choice([0, 1, 1, 1, 2, 3])):
            body = replaced(body, self.random.choice(list(places(body))), self.random.choice(VALUES))
        return body

    def body(self, template):
        if self.random.random() < 0.05:
            return self.random.choice(RAW)
        fitting = next(bodies for beginning, bodies in BODIES if template.startswith(beginning))
        return json.dumps(self.spoilt(self.random.choice(fitting))).encode()

    def path(self, template):
        good = {
            "{scope}": self.runtime.settings.id_scope,
            "{service}": self.runtime.services._description.name,
            "{module}": "m",
            "{host}": self.hub,
        }
        parts = [
            part if not part.startswith("{") else good.get(part, "g" if "roup" in template else "d")
            for part in template.split("/")
        ]
        if self.random.random() < 0.1:
            parts[self.random.randrange(len(parts))] = self.random.choice(PARTS)
        return "/".join(parts)

    async def ask(self, host, route):
        version, _ = self.doors[host]
        query = {"api-version": version}
        headers = {"authorization": self.token(host)}
        for name in self.random.sample(HEADERS, 1) if self.random.random() < 0.3 else ():
            headers[name] = self.random.choice(TEXTS)
        if self.random.random() < 0.4:
            headers["if-match"] = "*"
        for name in ("top", "after", "limit"):
            if self.random.random() < 0.1:
                query[name] = self.random.choice(TEXTS)
        certificates = (b"\x30",) if self.random.random() < 0.05 else ()
        request = Request(
            *(route.method, self.path(route.template), query, headers, self.body(route.template)),
            Peer(host, "https", certificates),
        )
        response = await self.runtime.http(request)
        response.encoded()
        return response.status


async def with_runtime(work):
    async with AsyncExitStack() as stack:
        return await work(await SimulatorRuntime.open(stack, Settings(pace="instant")))


@pytest.mark.parametrize("seed", range(4))
def test_every_operation_answers_whatever_comes(caplog, seed):
    async def work(runtime):
        asker = Asker(runtime, seed)
        routes = [
            (host, route)
            for host, (_, endpoint) in asker.doors.items()
            for route in endpoint._routes
            if "not supported" not in route.name and route.name not in ("stop", "method", "method of module")
        ]
        for _ in range(examples(2_000)):
            host, route = asker.random.choice(routes)
            status = await asker.ask(host, route)
            assert status < 500 or status == 501, (host, route.name, status)
            runtime.services.faults.clear()
            runtime.set_limits(type(runtime.limits).parse("off"))

    with caplog.at_level(logging.WARNING):
        asyncio.run(with_runtime(work))
    assert not [record.getMessage() for record in caplog.records if record.exc_info]


class Link:
    def __init__(self, host):
        self.peer = Peer(host, "mqtt")
        self.sent = []
        self.open = True

    def accept(self):
        self.sent.append("accepted")

    def acknowledge(self, message):
        self.sent.append("acknowledged")

    def publish(self, topic, payload, qos=0, acknowledged=None):
        self.sent.append(topic)

    def close(self):
        self.open = False


DPS_TOPICS = (
    "$dps/registrations/PUT/iotdps-register/?$rid=1",
    "$dps/registrations/PUT/iotdps-register/?$rid=%ED%A0%80",
    "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=1&operationId=%ED%A0%80",
    "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=1&operationId=5.%00",
)
HUB_TOPICS = (
    "devices/d/messages/events/%ED%A0%80=%ff&$.ct",
    "$iothub/twin/GET/?$rid=%ED%A0%80",
    "$iothub/twin/PATCH/properties/reported/?$rid=1",
    "$iothub/methods/res/99999999999999999999/?$rid=1",
    "devices/d/messages/events/AzIoTHub_FaultOperationType=KillTcp&AzIoTHub_FaultOperationDelayInSecs=1e999",
)


@pytest.mark.parametrize("seed", range(2))
def test_every_message_of_a_device_is_answered(caplog, seed):
    async def work(runtime):
        asker = Asker(runtime, seed)
        settings, services = runtime.settings, runtime.services
        services.provisioning.enrollments.individuals.put("d", {"registrationId": "d", "attestation": SYMMETRIC})
        services.hubs.find(asker.hub).put_device("d", {"authentication": {"symmetricKey": KEYS}})
        for _ in range(examples(800)):
            is_dps = asker.random.random() < 0.5
            host = settings.provisioning_host if is_dps else asker.hub
            resource = f"{settings.id_scope}/registrations/d" if is_dps else f"{host}/devices/d"
            name = f"{resource}/api-version=2021-06-01" if is_dps else f"{host}/d/?api-version=2021-04-12"
            token = sas.sign(quote(resource, safe=""), sas.decode_key(KEY), 2**40)
            link, connect = Link(host), Connect("MQTT", 4, True, 60, "d", name, token, None)
            device = runtime.mqtt(link, connect)
            device.connected(connect)
            assert link.sent == ["accepted"]
            template = "/{scope}" if is_dps else "/twins"
            device.published(
                Publish(asker.random.choice(DPS_TOPICS if is_dps else HUB_TOPICS), asker.body(template), 1, 7)
            )
            assert len(link.sent) > 1 or not link.open
            assert not [topic for topic in link.sent if "/res/5" in topic]
            device.disconnected(clean=True)

    with caplog.at_level(logging.WARNING):
        asyncio.run(with_runtime(work))
    assert not [record.getMessage() for record in caplog.records if record.exc_info]
