import json
import logging
from urllib.parse import quote

import pytest
from device_of_dps import HOST, POLL, REGISTER, Device
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from provisioning_parts import ID_SCOPE, OTHER_KEY, PRIMARY_KEY, SECONDARY_KEY, Provisioning, derived_key
from thoroughness import examples
from tpm_parts import PaperTpm
from x509_family import make, make_root

from dps_simulator.common.http import Peer
from dps_simulator.errors.table import Dps, ServiceError
from dps_simulator.protocols.mqtt import Subscribe, Unsubscribe
from dps_simulator.provisioning.api.device import read_user_name
from dps_simulator.provisioning.api.registration import DeviceOperations


@pytest.fixture
def device(provisioning):
    provisioning.enroll()
    return Device(provisioning)


# --- connecting ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "/api-version=2019-03-31&ClientVersion=azure-iot-device-provisioning-py%2F2.14.0%28python%3BLinux%29",
        "/api-version=2021-06-01",
        "/?api-version=2019-03-31",
        "/ClientVersion=2019-03-31&api-version=2019-03-31",
    ],
)
def test_user_names_of_the_sdks(device, query):
    device.connect(query=query)
    assert device.link.calls == [("accept",)]
    assert device.register()[0].startswith("$dps/registrations/res/200/")


@pytest.mark.parametrize(
    "user_name",
    ["", "device-1", f"{ID_SCOPE}/devices/device-1/api-version=2019-03-31", "/registrations//", "a/b/c/d/e"],
)
def test_malformed_user_names(device, user_name):
    device.connect(user_name=user_name)
    assert device.link.calls == [("refuse", 4)]
    assert "registration ID" in device.reason()


def test_parameters_of_the_user_name():
    assert read_user_name("s/registrations/r/a=1&a=2&b") == ("s", "r", {"a": "1", "b": ""})
    assert read_user_name("s/registrations/r") == ("s", "r", {"": ""})
    assert read_user_name("s/registrations/r/" + "x" * 2049) is None


def test_a_client_id_of_another_device(device):
    device.connect(client_id="device-2")
    assert device.link.calls == [("refuse", 5)]
    assert "'device-2'" in device.reason()


def test_neither_token_nor_certificate(device):
    device.connect(token="")
    assert device.link.calls == [("refuse", 5)]


def test_only_the_answers_can_be_subscribed(device):
    device.connect()
    device.link.calls.clear()
    filters = (("$dps/registrations/res/#", 0), ("$dps/registrations/res/#", 2), ("#", 1), ("$dps/#", 1))
    device.application.subscribe(Subscribe(3, filters))
    device.application.unsubscribe(Unsubscribe(4, ("$dps/registrations/res/#",)))
    assert device.link.calls == [("grant", 3, [0, 1, 0x80, 0x80]), ("unsubscribed", 4)]


# --- registering --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [PRIMARY_KEY, SECONDARY_KEY])
def test_register_and_poll(provisioning, key):
    parts = Provisioning("azure")
    parts.enroll()
    device = Device(parts).connect(parts.token(key=key))
    topic, body = device.register({"payload": None, "registrationId": "device-1"}, rid="0b1c2d3e-4f50")
    assert topic == "$dps/registrations/res/202/?$rid=0b1c2d3e-4f50&retry-after=3"
    assert set(body) == {"operationId", "status"}
    topic, pending = device.poll(body["operationId"])
    assert topic == "$dps/registrations/res/202/?$rid=2&retry-after=3"
    assert pending["registrationState"] == {"registrationId": "device-1", "status": "assigning"}
    # a token may expire while its device waits
    parts.clock.advance(4000)
    topic, done = device.poll(quote(body["operationId"], safe=""), body=b'{"registrationId":"device-1"}')
    assert topic == "$dps/registrations/res/200/?$rid=2"
    assert done["operationId"] == body["operationId"]
    assert done["registrationState"]["assignedHub"] == parts.hub.host
    parts.store.close()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{}",
        b'{"registrationId":"DEVICE-1"}',
        b'{"payload": null, "registrationId": "device-1"}',
        b'{"registrationId":"device-1","payload":"{\\"a\\":1}"}',
        b'{"payload":[1,{"a":null}]}',
        b'{"registrationId":"device-1","tpm":null,"csr":null}',
    ],
)
def test_bodies_of_the_sdks(device, body):
    assert device.connect().register(body)[1]["status"] == "assigned"


@pytest.mark.parametrize("rid", ["1", "a-b", "%41", "x/y", "+", ""])
def test_the_request_id_comes_back_literally(device, rid):
    assert device.connect().register(rid=rid)[0] == f"$dps/registrations/res/200/?$rid={rid}"


def test_a_request_with_qos_0_and_further_parameters(device):
    device.connect()
    topic, _ = device.ask(REGISTER + "5&forceRegistration=true", qos=0)
    assert topic == "$dps/registrations/res/200/?$rid=5"


def test_a_device_of_a_group(provisioning):
    provisioning.enroll_group()
    device = Device(provisioning, "Member-A")
    device.connect(provisioning.token("Member-A", derived_key(PRIMARY_KEY, "Member-A")))
    assert device.register()[1]["registrationState"]["deviceId"] == "Member-A"
    assert "group 'group-1'" in device.reason()


def test_a_disabled_enrollment(provisioning):
    provisioning.enroll(provisioningStatus="disabled")
    topic, body = Device(provisioning).connect().register()
    assert topic == "$dps/registrations/res/200/?$rid=1"
    assert body["registrationState"]["status"] == body["status"] == "disabled"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (lambda parts: parts.token(key=OTHER_KEY), "neither of its keys"),
        (lambda parts: parts.token(seconds=-12), "expired 12 s ago"),
        (lambda parts: parts.token("device-2"), "not for"),
        (lambda parts: parts.token(scope=HOST), "not for"),
        (lambda _: "password", "does not begin with"),
    ],
)
def test_refused_tokens(device, token, reason):
    device.connect(token(device.parts))
    assert device.link.calls == [("accept",)]
    message = device.refused(401, Dps.UNAUTHORIZED_DEVICE_MQTT, device.register())
    assert message == "Unauthorized"
    assert reason in device.reason()
    polled = Dps.OPERATION_NOT_FOUND if "expired" in reason else Dps.UNAUTHORIZED_DEVICE_MQTT
    assert device.poll("5.a.b")[1]["errorCode"] == polled.code
    assert not device.parts.hub.devices


def test_an_unknown_scope(device):
    device.connect(scope="0neOTHER")
    device.refused(404, Dps.ID_SCOPE_NOT_FOUND, device.register())
    assert "'0neOTHER'" in device.reason()


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("", Dps.INVALID_API_VERSION),
        ("/ClientVersion=1", Dps.INVALID_API_VERSION),
        ("/api-version=1999-01-01", Dps.API_VERSION_NOT_SUPPORTED),
    ],
)
def test_wrong_api_versions(device, query, kind):
    device.connect(query=query)
    device.refused(400, kind, device.register())


def test_an_impossible_registration_id(provisioning):
    device = Device(provisioning, "no spaces").connect(token=provisioning.token())
    assert "'no spaces'" in device.refused(400, Dps.INVALID_BODY, device.register())


def test_a_certificate_that_is_not_enrolled(provisioning):
    stranger = make("device-1")
    device = Device(provisioning, peer=Peer(HOST, "mqtt", (stranger.der,))).connect(token="")
    provisioning.enroll("device-1")
    assert device.refused(401, Dps.INVALID_CERTIFICATE_MQTT, device.register()) == "Invalid certificate."
    arrived, answered = device.details("connect")[0], device.details("register")[-1]
    assert arrived["certificates"] == [
        {
            "subject": "CN=device-1",
            "issuer": "CN=device-1",
            "sha256Thumbprint": stranger.parsed.sha256_thumbprint,
        }
    ]
    assert answered["finding"] == "attestationMismatch"
    assert answered["body"]["info"] == {
        "simulatorFinding": "attestationMismatch",
        "simulatorReason": answered["reason"],
    }


def test_a_chain_without_an_authority_has_an_answer_of_its_own(provisioning):
    issued = make_root("Root").issue("device-1")
    device = Device(provisioning, peer=Peer(HOST, "mqtt", (issued.der,))).connect(token="")
    message = device.refused(401, Dps.CA_CERTIFICATE_NOT_FOUND, device.register())
    assert message == "CA certificate not found."


def test_a_certificate_that_cannot_be_read(provisioning):
    device = Device(provisioning, peer=Peer(HOST, "mqtt", (b"certificate",))).connect(token="")
    device.refused(401, Dps.INVALID_CERTIFICATE_MQTT, device.register())
    assert "unreadable" in device.details("connect")[0]["certificates"][0]
    assert device.details("register")[-1]["finding"] == "chainInvalid"


def test_a_request_on_a_connection_that_was_refused(device):
    device.refused(
        401, Dps.UNAUTHORIZED_DEVICE_MQTT, device.connect(token="", query="/api-version=2019-03-31").register()
    )


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (b"{", Dps.MALFORMED_JSON, "Deserialization error."),
        (b"\xff", Dps.MALFORMED_JSON, "Deserialization error."),
        (b"[]", Dps.INVALID_BODY, "must be a JSON object"),
        (b'{"registrationId":"device-2"}', Dps.INVALID_BODY, "'device-2'"),
        (b'{"registrationId":5}', Dps.INVALID_BODY, "registrationId is 5"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, Dps.MALFORMED_JSON, "Deserialization error."),
        (b'{"tpm":{"endorsementKey":"AToA"}}', Dps.TPM_NOT_OVER_MQTT, "MQTT carries no TPM attestation"),
        (b'{"csr":"MIIB"}', Dps.DEVICE_REQUEST_NOT_SUPPORTED, "certificate signing request"),
    ],
)
def test_wrong_bodies(device, body, kind, text):
    assert text in device.refused(400, kind, device.connect().register(body))


def test_what_is_wrong_with_json_stands_in_the_trace(device):
    device.connect().register(b'{"registrationId": "device-1"')
    assert "The body is not valid JSON: " in device.details("register")[-1]["reason"]


@pytest.mark.parametrize("certificates", [(), (b"certificate",)])
def test_a_device_that_is_enrolled_with_a_tpm(provisioning, certificates):
    provisioning.enroll(attestation=PaperTpm().attestation())
    device = Device(provisioning, peer=Peer(HOST, "mqtt", certificates))
    device.connect(token="" if certificates else None)
    topic, body = device.register()
    assert topic == "$dps/registrations/res/401/?$rid=1"
    assert body["errorCode"] == Dps.UNAUTHORIZED_DEVICE_MQTT.code
    assert body["info"]["simulatorFinding"] == "attestationMismatch"
    assert "register over HTTPS" in body["info"]["simulatorReason"]


def test_wrong_operations(device):
    device.connect()
    device.register()
    topic, body = device.poll("5.unknown")
    assert topic == "$dps/registrations/res/404/?$rid=2"
    assert body["errorCode"] == Dps.OPERATION_NOT_FOUND.code
    topic, body = device.ask(f"{POLL}2")
    assert topic == "$dps/registrations/res/400/?$rid=2"
    assert "operationId" in body["message"]


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("devices/device-1/messages/events/", b""),
        ("$dps/registrations/PUT/iotdps-register/", b""),
        ("$dps/registrations/PUT/iotdps-register/?rid=1", b""),
        ("$dps/registrations/put/iotdps-register/?$rid=1", b""),
        ("$dps/registrations/POST/iotdps-register/?$rid=1", b""),
        (REGISTER + "x" * 2000, b""),
        (REGISTER + "1", b"x" * (96 * 1024 + 1)),
        (f"{POLL}1&operationId=5.a.b", b"x" * (96 * 1024 + 1)),
    ],
)
def test_what_closes_the_connection(device, topic, payload):
    device.connect()
    device.link.calls.clear()
    assert device.publish(topic, payload) == [("close",)]
    assert device.reason()


def test_a_fault_of_the_simulator_is_an_answer_and_in_the_log(device, monkeypatch, caplog):
    monkeypatch.setattr(device.parts.service, "attest", lambda *_, **__: 1 / 0)
    device.connect()
    with caplog.at_level(logging.ERROR):
        # not 500: the Python SDK would repeat the request for ever
        device.refused(400, Dps.DEVICE_REQUEST_FAILED, device.ask_in_vain(REGISTER + "1"))
    assert "ZeroDivisionError" in caplog.text


# --- the trace ----------------------------------------------------------------------------------------------------


def test_everything_is_traced_and_nothing_secret(device):
    device.connect()
    device.application.subscribe(Subscribe(1, (("$dps/registrations/res/#", 1),)))
    operation = device.register({"payload": {"primaryKey": PRIMARY_KEY}})[1]["operationId"]
    device.poll(operation)
    device.application.unsubscribe(Unsubscribe(2, ("$dps/registrations/res/#",)))
    device.application.disconnected(True)
    events = device.trace.events()
    assert [(event.direction, event.operation, event.status) for event in events] == [
        ("in", "connect", None),
        ("out", "connect", 0),
        ("in", "subscribe", None),
        ("out", "subscribe", None),
        ("in", "register", None),
        ("out", "register", 200),
        ("in", "poll", None),
        ("out", "poll", 200),
        ("in", "unsubscribe", None),
        ("in", "disconnect", None),
    ]
    assert {(event.service, event.host, event.protocol) for event in events} == {("provisioning", HOST, "mqtt")}
    assert {event.device for event in events[1:]} == {"device-1"}
    shown = repr([event.to_json() for event in events])
    assert PRIMARY_KEY not in shown
    assert "sig=" not in shown


def test_a_client_that_names_no_host(provisioning):
    device = Device(provisioning, peer=Peer("", "websocket")).connect()
    assert {(event.host, event.protocol) for event in device.trace.events()} == {(HOST, "websocket")}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(60))
@given(
    topic=st.text(max_size=30) | st.builds("".join, st.tuples(st.sampled_from([REGISTER, POLL]), st.text(max_size=20))),
    payload=st.binary(max_size=60)
    | st.text(max_size=20).map(lambda text: json.dumps({"registrationId": text}).encode()),
    user_name=st.text(max_size=40)
    | st.text(max_size=20).map(lambda text: f"{ID_SCOPE}/registrations/{text}/api-version=2019"),
    token=st.text(max_size=30),
)
def test_no_input_raises(provisioning, topic, payload, user_name, token):
    device = Device(provisioning).connect(token=token, user_name=user_name)
    device.publish(topic, payload)
    for call in device.link.calls:
        if call[0] == "publish":
            json.loads(call[2].decode("ascii"))


def test_bodies_have_a_size_limit_in_every_protocol():
    limit = 96 * 1024
    assert DeviceOperations.parse(b" " * limit) == {}
    with pytest.raises(ServiceError, match=f"has {limit + 1} bytes") as error:
        DeviceOperations.parse(b" " * (limit + 1))
    assert error.value.kind is Dps.TOO_LARGE
