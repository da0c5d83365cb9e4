"""Devices over HTTPS: requests as they come, answers as they go, without a socket."""

import asyncio
import base64
import json
import re

import pytest
from hub_world import DEVICE, HOST, POLICY, PRIMARY, SECONDARY, WRONG, World, send, subscribe, text
from hypothesis import given, settings
from hypothesis import strategies as st
from thoroughness import examples
from x509_family import make

from dps_simulator.common.clock import ManualClock
from dps_simulator.common.http import Peer, Request
from dps_simulator.common.service_faults import ServiceFault, ServiceFaults
from dps_simulator.common.throttling import Limits, Throttle
from dps_simulator.credentials.sas import sign
from dps_simulator.errors.table import Hub
from dps_simulator.hub.api.https import UNSUPPORTED, HubHttpsEndpoint, is_device_request
from dps_simulator.hub.api.https_messages import BATCH, device_bound_headers, messages_in
from dps_simulator.hub.cloud_to_device import MAX_DELIVERIES, MAX_WAITING, CloudToDeviceMessage, QueuedMessage
from dps_simulator.hub.telemetry import MAX_BATCH, MAX_MESSAGE_SIZE

EVENTS = f"/devices/{DEVICE}/messages/events"
BOUND = f"/devices/{DEVICE}/messages/deviceBound"


def header(name):
    """The header for a name of Python, in which the name of a property may have an underscore of its own."""
    beginning = name[:11].replace("_", "-") if name.lower().startswith("iothub_app_") else ""
    return beginning + name[11:] if beginning else name.replace("_", "-")


class HttpsWorld(World):
    def __init__(self, policy_name="iothubowner"):
        super().__init__(policy_name)
        self.https = HubHttpsEndpoint(
            hub=self.hub,
            devices=self.endpoint,
            clock=self.clock,
            trace=self.trace,
            transaction=self.store.transaction,
        )

    def ask(self, method, path, body=b"", *, token=..., certificates=(), version="2021-04-12", query=(), **headers):
        """One request; headers have underscores, and are spelt as they are given."""
        spelt = {header(name): value for name, value in headers.items()}
        shown = self.token() if token is ... else token
        if shown is not None:
            spelt["Authorization"] = shown
        request = Request(
            method,
            path,
            {**({"api-version": version} if version else {}), **dict.fromkeys(query, "")},
            {name.lower(): value for name, value in spelt.items()},
            body,
            Peer(HOST, "https", certificates),
            {name.lower(): name for name in spelt},
        )
        assert is_device_request(request)
        return asyncio.run(self.https.handle(request))

    def post(self, body=b"", **options):
        return self.ask("POST", EVENTS, body, **options)

    def batch(self, *messages, raw=None):
        data = json.dumps(messages).encode() if raw is None else raw
        return self.post(data, Content_Type=f"{BATCH}; charset=utf-8")

    def receive(self):
        return self.ask("GET", BOUND)

    def settle(self, how, token):
        if how == "abandon":
            return self.ask("POST", f"{BOUND}/{token}/abandon")
        return self.ask("DELETE", f"{BOUND}/{token}", query=["reject"] if how == "reject" else [])

    def to_device(self, body=b"x", **fields):
        return self.hub.cloud_to_device.send(DEVICE, CloudToDeviceMessage(body, **fields))

    def kept(self):
        return list(self.hub.telemetry)

    def liveliness(self):
        identity = self.hub.device(DEVICE)
        return identity["connectionState"], identity["lastActivityTime"]


@pytest.fixture
def world():
    world = HttpsWorld()
    yield world
    world.store.close()


def token_of(answer):
    assert answer.status == 200
    tag = answer.headers["ETag"]
    assert (tag[0], tag[-1]) == ('"', '"')
    return tag[1:-1]


def refused(answer, kind):
    assert answer.status == kind.status
    assert answer.headers["x-ms-error-code"] == str(kind.code)
    name, _, said = answer.body["Message"].partition(";")
    assert name == f"ErrorCode:{kind.name}"
    return said


# --- telemetry --------------------------------------------------------------------------------------------------------


def test_a_message_arrives_with_its_properties(world):
    answer = world.post(
        b"\xff21.5",
        IoTHub_MessageId="m-1",
        iothub_correlationid="c",
        iothub_userid="u",
        IoTHub_Expiry="later",
        iothub_contenttype="application/json",
        iothub_contentencoding="utf-8",
        iothub_to=EVENTS,
        iothub_app_Room="2: left",
        IotHub_App_a="",
        iothub_interface_id="i",
        iothub_operation="d2c",
        User_Agent="test",
        Content_Type="application/octet-stream",
    )
    assert (answer.status, answer.encoded()) == (204, b"")
    (message,) = world.kept()
    assert (message.device_id, message.module_id, message.body) == (DEVICE, "", b"\xff21.5")
    assert message.properties == {"Room": "2: left", "a": ""}
    assert message.system == {
        "message-id": "m-1",
        "correlation-id": "c",
        "user-id": "u",
        "absolute-expiry-time": "later",
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "to": EVENTS,
        "interface-id": "i",
    }
    shown = message.system_properties
    assert json.loads(shown["iothub-connection-auth-method"]) == {"scope": "device", "type": "sas", "issuer": "iothub"}
    assert shown["iothub-message-source"] == "Telemetry"


def test_the_trace_shows_it_as_it_shows_other_telemetry(world):
    world.post(b"hot" + b"x" * 100_000, iothub_app_a="b")
    came, went = world.trace.events()
    assert [(each.service, each.operation, each.protocol, each.device) for each in (came, went)] == [
        ("hub", "telemetry", "https", DEVICE)
    ] * 2
    assert (came.direction, went.direction, went.status) == ("in", "out", 204)
    assert came.detail["body"].startswith("hotxxx")
    assert len(came.detail["body"]) < 4_100
    assert came.detail["properties"] == {"a": "b"}


def test_a_batch_arrives_message_by_message(world):
    answer = world.batch(
        {"body": base64.b64encode(b"\xff1").decode(), "properties": {"iothub-app-Room": "2", "other": "ignored"}},
        {"body": "größer", "base64Encoded": False, "properties": {"iothub-messageid": "m", "iothub-unknown": "x"}},
        {"body": "", "properties": None, "unknown": 1},
    )
    assert answer.status == 204
    assert [(each.body, each.properties, each.system) for each in world.kept()] == [
        (b"\xff1", {"Room": "2"}, {}),
        ("größer".encode(), {}, {"message-id": "m"}),
        (b"", {}, {}),
    ]


@pytest.mark.parametrize(
    ("raw", "kind", "said"),
    [
        (b"", Hub.FORMAT_ERROR, "The batch is not valid JSON: "),
        (b"[", Hub.FORMAT_ERROR, "The batch is not valid JSON: "),
        (b"[" * 100_000, Hub.FORMAT_ERROR, "nested deeper than 64 levels"),
        (b"\xff", Hub.FORMAT_ERROR, "it is not UTF-8 at byte 0"),
        (b'[{"body":"\\ud800","base64Encoded":false}]', Hub.FORMAT_ERROR, "half of a surrogate pair"),
        (b"[]", Hub.ARGUMENT_INVALID, "A batch must be a JSON array of messages, with one at least."),
        (b'"a"', Hub.ARGUMENT_INVALID, "A batch must be a JSON array"),
        (b'{"body":"aa=="}', Hub.ARGUMENT_INVALID, "A batch must be a JSON array"),
        (b"[7]", Hub.ARGUMENT_INVALID, "Message 1 of the batch is 7; it must be a JSON object."),
        (b'[{"body":""},{}]', Hub.ARGUMENT_INVALID, "body of message 2 of the batch is None; it must be a text"),
        (b'[{"body":"a"}]', Hub.ARGUMENT_INVALID, "body of message 1 of the batch is not base64."),
        (b'[{"body":"21.5"}]', Hub.ARGUMENT_INVALID, "base64Encoded: false"),
        (b'[{"body":"\\u00fc==="}]', Hub.ARGUMENT_INVALID, "is not base64"),
        (b'[{"body":"","base64Encoded":"no"}]', Hub.ARGUMENT_INVALID, "it must be true or false"),
        (b'[{"body":"","properties":[]}]', Hub.ARGUMENT_INVALID, "properties of message 1 of the batch is an array"),
        (
            b'[{"body":"","properties":{"iothub-app-a":1}}]',
            Hub.ARGUMENT_INVALID,
            "The property iothub-app-a of message 1 of the batch is 1; it must be a text.",
        ),
        (b'[{"body":"","properties":{"iothub-app-":"1"}}]', Hub.ARGUMENT_INVALID, "names no application property"),
        (b'[{"body":"","properties":{"iothub-app-a b":"1"}}]', Hub.ARGUMENT_INVALID, "'iothub-app-a b' of message 1"),
        (b'[{"body":"","properties":{"iothub-app-a":"1\\r\\n2"}}]', Hub.ARGUMENT_INVALID, r"is '1\r\n2'; it must"),
        (b'[{"body":"","properties":{"iothub-messageid":"\\u00fc"}}]', Hub.ARGUMENT_INVALID, "printable ASCII"),
    ],
)
def test_a_batch_that_is_wrong_anywhere_is_refused_as_a_whole(world, raw, kind, said):
    assert said in refused(world.batch(raw=raw), kind)
    assert world.kept() == []


def test_too_many_messages(world):
    assert world.batch(*[{"body": ""}] * MAX_BATCH).status == 204
    said = refused(world.batch(*[{"body": ""}] * (MAX_BATCH + 1)), Hub.ARGUMENT_INVALID)
    assert said == f"The batch has {MAX_BATCH + 1} messages; this simulator takes {MAX_BATCH} at the most."


def test_too_large_messages(world):
    properties = {"iothub_app_a": "b", "iothub_messageid": "m"}
    most = MAX_MESSAGE_SIZE - len("ab") - len("message-idm")
    assert world.post(b"x" * most, **properties).status == 204
    said = refused(world.post(b"x" * (most + 1), **properties), Hub.MESSAGE_TOO_LARGE)
    assert said == f"The message has {MAX_MESSAGE_SIZE + 1} bytes; at most {MAX_MESSAGE_SIZE} are allowed."
    half = base64.b64encode(b"x" * (MAX_MESSAGE_SIZE // 2)).decode()
    assert world.batch({"body": half}, {"body": half}).status == 204
    said = refused(world.batch({"body": half}, {"body": half}, {"body": "AA=="}), Hub.MESSAGE_TOO_LARGE)
    assert said.startswith(f"The 3 messages have together {MAX_MESSAGE_SIZE + 1} bytes")
    assert len(world.kept()) == 3


@pytest.mark.parametrize("value", ["gr\xfc\xdf", "a\r\nb", "a\x00", "\udcff", "\x7f"])
def test_header_values_that_are_no_printable_ascii(world, value):
    said = refused(world.post(b"x", iothub_app_a=value), Hub.ARGUMENT_INVALID)
    assert said.startswith("The header iothub-app-a is ")
    refused(world.post(b"x", iothub_messageid=value), Hub.ARGUMENT_INVALID)
    assert world.kept() == []


VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.lists(st.text(max_size=3)))
NAMES = st.sampled_from(["body", "base64Encoded", "properties", "x"]) | st.text(max_size=4)
ODD = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4))
BODIES = st.one_of(st.binary(max_size=60), ODD.map(lambda value: json.dumps(value).encode()))


FUZZ = settings(max_examples=examples(100), deadline=None, derandomize=True)


@FUZZ
@given(BODIES)
def test_whatever_a_batch_is_it_is_taken_or_refused(body):
    world = HttpsWorld()
    answer = world.batch(raw=body)
    assert answer.status in {204, 400}
    assert bool(world.kept()) is (answer.status == 204)
    world.store.close()


@FUZZ
@given(st.dictionaries(st.sampled_from(["iothub-app-a", "iothub-app-", "iothub-messageid", "x"]), st.text(max_size=9)))
def test_whatever_headers_are_they_are_taken_or_refused(headers):
    world = HttpsWorld()
    answer = world.post(b"x", **headers)
    assert answer.status in {204, 400}
    world.store.close()


# --- messages from the cloud ------------------------------------------------------------------------------------------


def test_nothing_waits(world):
    answer = world.receive()
    assert (answer.status, answer.headers, answer.encoded()) == (204, {}, b"")


def test_a_message_comes_with_everything_that_is_known_of_it(world):
    expiry = world.clock.now().replace(year=world.clock.now().year + 1)
    sent = world.to_device(
        b"\xff\x00",
        properties={"Command": "restart", "n": "1"},
        message_id="m",
        correlation_id="c",
        user_id="u",
        content_type="text/plain",
        content_encoding="utf-8",
        expiry=expiry,
        ack="full",
    )
    answer = world.receive()
    assert token_of(answer)
    headers = dict(answer.headers)
    assert (answer.status, answer.encoded()) == (200, b"\xff\x00")
    assert headers.pop("ETag")
    assert headers == {
        "Content-Type": "application/octet-stream",
        "iothub-messageid": "m",
        "iothub-sequencenumber": str(sent.sequence),
        "iothub-to": f"/devices/{DEVICE}/messages/devicebound",
        "iothub-enqueuedtime": f"{world.clock.now():%Y-%m-%dT%H:%M:%S}Z",
        "iothub-deliverycount": "0",
        "iothub-correlationid": "c",
        "iothub-userid": "u",
        "iothub-expiry": f"{expiry:%Y-%m-%dT%H:%M:%S}Z",
        "iothub-ack": "full",
        "ContentType": "text/plain",
        "ContentEncoding": "utf-8",
        "iothub-app-Command": "restart",
        "iothub-app-n": "1",
    }
    came, went = world.trace.events()
    assert (came.operation, went.operation, went.status) == ("receive message", "receive message", 200)
    assert went.detail == {
        "messageId": "m",
        "deliveryCount": 1,
        "properties": {"Command": "restart", "n": "1"},
        "body": "\ufffd\x00",
    }


def test_one_after_the_other_until_none_is_left(world):
    for number in range(MAX_WAITING):
        world.to_device(b"%d" % number)
    for number in range(MAX_WAITING):
        answer = world.receive()
        assert answer.encoded() == b"%d" % number
        assert world.settle("complete", token_of(answer)).status == 204
    assert world.receive().status == 204


def test_a_message_is_hidden_for_a_minute(world):
    world.to_device()
    first = token_of(world.receive())
    assert world.receive().status == 204
    world.clock.advance(60)
    said = refused(world.settle("complete", first), Hub.DEVICE_MESSAGE_LOCK_LOST)
    assert f"The device '{DEVICE}' holds no message by this lock token" in said
    again = world.receive()
    assert again.headers["iothub-deliverycount"] == "1"
    assert world.settle("complete", token_of(again)).status == 204


@pytest.mark.parametrize("how", ["complete", "reject", "abandon"])
def test_a_message_is_settled_once(world, how):
    world.to_device()
    token = token_of(world.receive())
    refused(world.settle(how, "00000000-0000-0000-0000-000000000000"), Hub.DEVICE_MESSAGE_LOCK_LOST)
    # in the quotes of its header
    assert world.settle(how, f"%22{token}%22").status == 204
    refused(world.settle(how, token), Hub.DEVICE_MESSAGE_LOCK_LOST)
    assert world.hub.cloud_to_device.waiting(DEVICE) == (1 if how == "abandon" else 0)
    if how == "reject":
        assert "the device rejected the message" in world.trace.events()[-3].detail["reason"]


def test_a_message_that_is_abandoned_again_and_again_is_given_up(world):
    world.to_device()
    for _ in range(MAX_DELIVERIES):
        assert world.settle("abandon", token_of(world.receive())).status == 204
    assert "delivered too often" in world.reasons()[-1]
    assert world.receive().status == 204
    assert world.hub.cloud_to_device.waiting(DEVICE) == 0


def test_an_expired_message_is_not_there(world):
    world.to_device(expiry=world.clock.now().replace(microsecond=1))
    world.clock.advance(1)
    assert world.receive().status == 204


def test_another_device_gets_neither_the_message_nor_its_lock(world):
    keys = {"primaryKey": text(SECONDARY), "secondaryKey": text(SECONDARY)}
    world.hub.put_device("other", {"authentication": {"symmetricKey": keys, "type": "sas"}})
    world.to_device()
    token = token_of(world.receive())
    theirs = world.token(SECONDARY, f"{HOST}%2Fdevices%2Fother")
    assert world.ask("GET", "/devices/other/messages/deviceBound", token=theirs).status == 204
    path = f"/devices/other/messages/deviceBound/{token}"
    refused(world.ask("DELETE", path, token=theirs), Hub.DEVICE_MESSAGE_LOCK_LOST)
    refused(world.ask("DELETE", f"{BOUND}/{token}", token=theirs), Hub.UNAUTHORIZED_ACCESS)
    assert world.settle("complete", token).status == 204


def test_mqtt_and_https_share_the_queue(world):
    world.to_device(b"1")
    held = token_of(world.receive())
    session, link = world.connect()
    subscribe(session, f"devices/{DEVICE}/messages/devicebound/#")
    world.to_device(b"2")
    assert [payload for _, payload in link.published] == [b"2"]
    assert world.receive().status == 204
    # what HTTPS gives back goes to whoever is connected; what he leaves, to whoever asks next
    world.settle("abandon", held)
    assert [payload for _, payload in link.published] == [b"2", b"1"]
    session.disconnected(True)
    answers = [world.receive() for _ in range(3)]
    assert [(each.status, each.encoded()) for each in answers] == [(200, b"1"), (200, b"2"), (204, b"")]


def test_what_a_header_cannot_carry_is_encoded(world):
    world.to_device(properties={"a b": "gr\xfc\xdf", "line": "1\r\n2", "\xfc": " x ", "%": "100%"}, message_id="m\n")
    headers = world.receive().headers
    assert headers["iothub-messageid"] == "m%0A"
    assert {name: value for name, value in headers.items() if name.startswith("iothub-app-")} == {
        "iothub-app-a%20b": "gr%C3%BC%C3%9F",
        "iothub-app-line": "1%0D%0A2",
        "iothub-app-%C3%BC": "%20x%20",
        "iothub-app-%": "100%",
    }


@FUZZ
@given(st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1, max_size=9), st.text(max_size=9), max_size=4))
def test_every_property_fits_into_a_header(properties):
    now = ManualClock().now()
    message = CloudToDeviceMessage(properties=properties, message_id="m")
    for name, value in device_bound_headers("d", QueuedMessage(1, message, now, now, 1, "t")).items():
        assert re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name)
        assert re.fullmatch(r"(?:[!-~](?:[ -~]*[!-~])?)?", value)


# --- who asks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (lambda world: None, "the device sent no token (there is no Authorization header)"),
        (lambda world: "nonsense", "the token is malformed"),
        (lambda world: world.token(WRONG), f"signed with neither key of the device '{DEVICE}'"),
        (lambda world: world.token(resource=f"other.test%2Fdevices%2F{DEVICE}"), "the host 'other.test'"),
        (lambda world: world.token(resource=f"{HOST}%2Fdevices%2Fother"), "does not contain"),
        (lambda world: world.token(resource=f"{HOST}%2Fdevices%2F{DEVICE.lower()}"), "does not contain"),
        (lambda world: world.token(resource=HOST), "a device signs for"),
        (lambda world: world.token(POLICY, HOST, policy="service"), "no shared access policy 'service'"),
        (lambda world: world.token(WRONG, HOST, policy="iothubowner"), "not signed with the key of the policy"),
    ],
)
def test_tokens_that_are_not_good_enough(world, token, reason):
    answer = world.post(b"x", token=token(world))
    assert refused(answer, Hub.UNAUTHORIZED_ACCESS) == "Unauthorized"
    assert reason in world.reasons()[-1]
    assert (world.kept(), world.liveliness()[1]) == ([], "0001-01-01T00:00:00Z")


def test_tokens_that_are_good(world):
    for token in (world.token(), world.token(SECONDARY), world.token(POLICY, HOST, policy="iothubowner")):
        assert world.post(b"x", token=token).status == 204
    shown = json.loads(world.kept()[-1].system_properties["iothub-connection-auth-method"])
    assert shown["scope"] == "hub"


def test_a_policy_without_the_right_to_connect():
    world = HttpsWorld("service")
    refused(world.post(token=world.token(POLICY, HOST, policy="service")), Hub.UNAUTHORIZED_ACCESS)
    assert "lacks the right DeviceConnect" in world.reasons()[-1]
    world.store.close()


def test_an_expired_token(world):
    token = world.token(ttl=10)
    assert world.post(token=token).status == 204
    world.clock.advance(10)
    refused(world.post(token=token), Hub.TOKEN_EXPIRED)


def test_unknown_and_disabled_devices(world):
    unknown = world.ask("POST", "/devices/unknown/messages/events")
    assert refused(unknown, Hub.UNAUTHORIZED_ACCESS) == "Unauthorized"
    assert "the device 'unknown' is not registered" in world.reasons()[-1]
    world.hub.put_device(DEVICE, {"status": "disabled"}, "*")
    for answer in (world.post(), world.receive(), world.settle("complete", "x")):
        refused(answer, Hub.UNAUTHORIZED_ACCESS)
        assert f"the device '{DEVICE}' is disabled" in world.reasons()[-1]
    refused(world.ask("GET", "/devices/a%20b/messages/deviceBound"), Hub.ARGUMENT_INVALID)


def test_certificates(world):
    own, other = make("d"), make("d")
    thumbprints = {"primaryThumbprint": own.parsed.sha256_thumbprint, "secondaryThumbprint": None}
    authentication = {"type": "selfSigned", "x509Thumbprint": thumbprints}
    world.hub.put_device(DEVICE, {"authentication": authentication}, "*")
    assert world.post(b"x", token=None, certificates=(own.der,)).status == 204
    (message,) = world.kept()
    assert json.loads(message.system_properties["iothub-connection-auth-method"])["type"] == "x509"
    assert world.trace.events()[0].detail["certificates"][0]["subject"] == "CN=d"
    refused(world.post(token=None, certificates=(other.der,)), Hub.UNAUTHORIZED_ACCESS)
    assert "Thumbprint does not match configuration" in world.reasons()[-1]
    refused(world.post(token=None), Hub.UNAUTHORIZED_ACCESS)
    assert "neither a certificate nor a token" in world.reasons()[-1]


def test_modules_send_and_get_nothing(world):
    keys = {"primaryKey": text(SECONDARY), "secondaryKey": text(SECONDARY)}
    world.hub.put_device(f"{DEVICE}/camera", {"authentication": {"symmetricKey": keys, "type": "sas"}})
    path = f"/devices/{DEVICE}/modules/camera/messages"
    token = world.token(SECONDARY, f"{HOST}%2Fdevices%2F{DEVICE}%2Fmodules%2Fcamera")
    assert world.ask("POST", f"{path}/events", b"x", token=token).status == 204
    (message,) = world.kept()
    assert (message.device_id, message.module_id) == (DEVICE, "camera")
    refused(world.ask("POST", f"{path}/events", token=world.token()), Hub.UNAUTHORIZED_ACCESS)
    said = refused(world.ask("GET", f"{path}/devicebound", token=token), Hub.NOT_SUPPORTED)
    assert said == "Messages to modules over HTTPS: not supported by this simulator."


# --- state, limits, faults --------------------------------------------------------------------------------------------


def test_nobody_is_connected_but_was_active(world):
    for ask in (world.post, world.receive, lambda: world.settle("complete", "x")):
        world.clock.advance(5)
        ask()
        assert world.liveliness() == ("Disconnected", f"{world.clock.now():%Y-%m-%dT%H:%M:%S}Z")
    assert len(world.hub.connections) == 0
    session, _ = world.connect()
    connected = world.hub.device(DEVICE)["connectionStateUpdatedTime"]
    world.clock.advance(5)
    world.post()
    assert world.liveliness()[0] == "Connected"
    assert world.hub.device(DEVICE)["connectionStateUpdatedTime"] == connected
    session.disconnected(True)


def test_limits(world):
    world.hub.throttle.limits = Limits.parse("telemetry_per_second=3,cloud_to_device_receives_per_minute=2")
    assert world.batch({"body": ""}, {"body": ""}).status == 204
    answer = world.batch({"body": ""}, {"body": ""})
    assert refused(answer, Hub.THROTTLED) == "Too many requests. Try again in 1 s."
    assert (answer.headers["Retry-After"], len(world.kept())) == ("1", 2)
    assert world.post().status == 204
    assert [world.receive().status for _ in range(3)] == [204, 204, 429]
    world.hub.throttle.limits = Limits.parse("telemetry_per_day=3")
    assert world.post(b"x" * 4_097).status == 204
    refused(world.batch({"body": ""}, {"body": ""}), Hub.QUOTA_EXCEEDED)
    assert world.post().status == 204


def test_faults_that_are_switched_on_refuse_everything(world):
    faults = ServiceFaults(world.clock, lambda: [HOST])
    world.hub.throttle = Throttle(world.clock, faults=faults)
    faults.put(ServiceFault.of({"service": HOST, "kind": "unavailable", "duration": 30}))
    for answer in (world.post(), world.receive(), world.settle("reject", "x"), world.settle("abandon", "x")):
        refused(answer, Hub.UNAVAILABLE)


FAULT = {"iothub_app_AzIoTHub_FaultOperationDurationInSecs": "10"}


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("InvokeThrottling", Hub.THROTTLED),
        ("InvokeMaxMessageQuota", Hub.QUOTA_EXCEEDED),
        ("InvokeAuthError", Hub.UNAUTHORIZED_ACCESS),
    ],
)
def test_faults_that_a_device_asks_for(world, operation, kind):
    assert world.post(b"x", iothub_app_AzIoTHub_FaultOperationType=operation, **FAULT).status == 204
    refused(world.post(), kind)
    refused(world.receive(), kind)
    assert f"the device asked for the fault {operation}" in world.reasons()[-1]
    world.clock.advance(10)
    assert world.post().status == 204
    assert len(world.kept()) == 2


def test_a_killed_connection_ends_without_a_word_and_one_of_mqtt_is_nothing_here(world):
    session, link = world.connect()
    world.post(b"x", iothub_app_AzIoTHub_FaultOperationType="KillTcp", **FAULT)
    assert link.closed
    session.disconnected(False)
    assert world.post().cut
    world.clock.advance(10)
    world.post(b"x", iothub_app_AzIoTHub_FaultOperationType="ShutDownMqtt", **FAULT)
    answer = world.post()
    assert (answer.cut, answer.status) == (False, 204)
    assert world.connect()[1].log == [("refuse", 3)]


def test_a_fault_that_does_not_exist_is_told_in_the_trace(world):
    assert world.post(b"x", iothub_app_AzIoTHub_FaultOperationType="Explode").status == 204
    assert "'Explode'" in world.reasons()[-1]
    assert len(world.kept()) == 1


# --- everything else --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path, _ in UNSUPPORTED])
def test_what_there_is_not(world, method, path):
    for name in ("id", "module"):
        path = path.replace(f"{{{name}}}", DEVICE)
    answer = world.ask(method, path, b"{}", token=None)
    assert "not supported by this simulator" in refused(answer, Hub.NOT_SUPPORTED)


def test_other_paths_methods_and_versions(world):
    refused(world.ask("POST", f"/devices/{DEVICE}/messages/elsewhere"), Hub.ROUTE_NOT_FOUND)
    answer = world.ask("PUT", EVENTS)
    refused(answer, Hub.METHOD_NOT_ALLOWED)
    assert answer.headers["Allow"] == "POST"
    refused(world.post(version=None), Hub.ARGUMENT_INVALID)
    refused(world.post(version="latest"), Hub.API_VERSION_NOT_SUPPORTED)
    assert world.post(version="2016-11-14").status == 204


@pytest.mark.parametrize(
    "path", ["/devices", "/devices/d", "/devices/d/modules/messages", "/devices/messages/commands", "/twins/d/messages"]
)
def test_what_back_ends_ask_is_not_for_devices(path):
    assert not is_device_request(Request("GET", path, {}, {}, b"", Peer(HOST)))


def test_names_are_those_of_the_headers_where_nobody_kept_how_they_were_spelt():
    (message,) = messages_in(Request("POST", EVENTS, {}, {"iothub-app-room": "2"}, b"", Peer(HOST)))
    assert message.properties == {"room": "2"}


def test_a_token_for_the_whole_hub_is_signed_over_what_is_written(world):
    token = sign(HOST.upper(), POLICY, int(world.clock.now().timestamp()) + 60, "iothubowner")
    assert world.post(token=token).status == 204
    assert PRIMARY != POLICY


def test_telemetry_over_mqtt_is_told_apart_by_nothing(world):
    session, _ = world.connect()
    send(session, f"devices/{DEVICE}/messages/events/%24.mid=m&a=b", b"x")
    world.post(b"x", iothub_messageid="m", iothub_app_a="b")
    one, two = world.kept()
    assert (one.system, one.properties, one.body) == (two.system, two.properties, two.body)
    assert one.system_properties.keys() == two.system_properties.keys()
