import base64
import json

import pytest
from amqp_client import Client, flow, frame, one, receiver, sasl, sasl_response, sender
from hypothesis import given, settings
from hypothesis import strategies as st
from provisioning_parts import ID_SCOPE, OTHER_KEY, PRIMARY_KEY, SECONDARY_KEY, Provisioning, derived_key
from thoroughness import examples
from tpm_parts import PaperTpm
from x509_family import make_root

from dps_simulator.common.http import Peer
from dps_simulator.common.ports import StorageError
from dps_simulator.common.trace import Trace
from dps_simulator.protocols.amqp.messages import Message, Properties
from dps_simulator.protocols.amqp.performatives import (
    Accepted,
    Attach,
    Close,
    Detach,
    Disposition,
    Rejected,
    SaslChallenge,
    SaslOutcome,
)
from dps_simulator.provisioning.api.amqp import MAX_WAITING, DpsAmqpEndpoint, read_address
from dps_simulator.provisioning.api.sasl_tpm import MAX_SIZE, SaslTpmError, SaslTpmExchange

HOST = "global.azure-devices-provisioning.test"
NAME = "device-1"
ADDRESS = f"{ID_SCOPE}/registrations/{NAME}"
VERSION = {"com.microsoft:api-version": "2019-03-31"}


class Device(Client):
    """A device on an AMQP connection to the provisioning service."""

    def __init__(self, parts, certificates=()):
        self.parts = parts
        self.trace = Trace(parts.clock)
        endpoint = DpsAmqpEndpoint(service=parts.service, clock=parts.clock, trace=self.trace, host=HOST)
        super().__init__(lambda line, _: endpoint.application(line), Peer(HOST, "amqp", certificates))

    def plain(self, token=None, user_name=ADDRESS):
        token = self.parts.token() if token is None else token
        return one(self.say(sasl("PLAIN", f"\0{user_name}\0{token}".encode())), SaslOutcome).code

    def attach(self, address=ADDRESS, version=VERSION, credit=10):
        said = self.open(
            receiver(address, properties=version), flow(credit=credit), sender(address, properties=version)
        )
        return [each for each in said if isinstance(each, (Attach, Detach))]

    def ready(self, **how):
        assert self.plain(**how) == 0
        assert [type(each) for each in self.attach()] == [Attach, Attach]
        return self

    def ask(self, operation="iotdps-register", body=b"", correlation="c-1", **properties):
        message = Message(
            properties=Properties(correlation_id=correlation),
            application_properties={"iotdps-operation-type": operation, **properties},
            data=body,
        )
        return self.send(message)

    def refused(self, **how):
        """The JSON with which a request is refused."""
        outcome, answers = self.ask(**how)
        assert isinstance(outcome, Rejected)
        assert answers == []
        return outcome.error.condition, json.loads(outcome.error.description), outcome.error.info

    def last(self):
        return self.trace.events()[-1]


@pytest.fixture
def device(provisioning):
    provisioning.enroll()
    return Device(provisioning)


def test_register_and_poll():
    parts = Provisioning("azure")
    parts.enroll()
    device = Device(parts).ready()
    outcome, (answer,) = device.ask(body=b'{"registrationId":"device-1"}', **{"iotdps-forceRegistration": False})
    assert outcome == Accepted()
    assert answer.properties.correlation_id == "c-1"
    assert answer.application_properties == {"retry-after": 3, "Retry-After": 3}
    operation = json.loads(answer.data)
    assert set(operation) == {"operationId", "status"}
    poll = {"operation": "iotdps-get-operationstatus", "iotdps-operation-id": operation["operationId"]}
    _, (pending,) = device.ask(correlation=None, **poll)
    assert json.loads(pending.data)["status"] == "assigning"
    # a token may expire while its device waits
    parts.clock.advance(4000)
    _, (done,) = device.ask(**poll)
    assert json.loads(done.data)["registrationState"]["assignedHub"] == parts.hub.host
    assert done.application_properties == {}
    device.say(frame(Close()))
    assert (device.is_closed, device.last().operation, device.last().detail["ended"]) == (True, "disconnect", "client")
    parts.store.close()


@pytest.mark.parametrize("key", [PRIMARY_KEY, SECONDARY_KEY])
@pytest.mark.parametrize("address", [f"/{ADDRESS}", f"amqps://{HOST}/{ADDRESS}", ADDRESS.upper().replace("REG", "reg")])
def test_addresses_and_keys(provisioning, key, address):
    provisioning.enroll()
    device = Device(provisioning)
    assert device.plain(provisioning.token(key=key)) == 0
    links = device.attach(address.replace("ISTRATIONS", "istrations"))
    assert len(links) == 2
    assert device.ask()[0] == Accepted()


@pytest.mark.parametrize(
    "text", ["", "a/b/c", "s/registrations/r/x", "s/registrations/", "/registrations/r", "amqps://[/s/registrations/r"]
)
def test_no_addresses(text):
    assert read_address(text) is None


def test_a_device_of_a_group(provisioning):
    provisioning.enroll_group()
    key = derived_key(PRIMARY_KEY, NAME)
    device = Device(provisioning).ready(token=provisioning.token(key=key))
    assert device.ask()[0] == Accepted()


def test_a_certificate_needs_no_sasl(provisioning):
    root = make_root()
    leaf = root.issue(NAME)
    body = {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": leaf.pem}}}}
    provisioning.enroll(attestation=body)
    device = Device(provisioning, (leaf.der,))
    device.attach()
    outcome, (answer,) = device.ask()
    assert outcome == Accepted()
    assert json.loads(answer.data)["status"] == "assigned"
    opened = [event for event in device.trace.events() if event.operation == "open"]
    assert len(opened[0].detail["certificates"]) == 1


@pytest.mark.parametrize("mechanism", ["EXTERNAL", "ANONYMOUS"])
def test_other_mechanisms_say_nothing(provisioning, mechanism):
    leaf = make_root().issue(NAME)
    provisioning.enroll()
    device = Device(provisioning, (leaf.der,))
    assert one(device.say(sasl(mechanism, None)), SaslOutcome).code == 0
    device.attach()
    condition, body, _ = device.refused()
    assert (condition, body["errorCode"]) == ("amqp:unauthorized-access", 401002)


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("PLAIN", b""),
        ("PLAIN", b"\0user\0password"),
        ("PLAIN", f"\0{ADDRESS}\0".encode()),
        ("PLAIN", b"\0\xff\0password"),
        ("SCRAM", b""),
        ("TPM", b""),
        ("TPM", b"\0scope"),
    ],
)
def test_sasl_that_is_no_proof_at_all(device, mechanism, response):
    assert one(device.say(sasl(mechanism, response)), SaslOutcome).code == 1
    assert device.is_closed
    refused = [event for event in device.trace.events() if event.status == 401]
    assert refused[0].detail["reason"]


def test_a_wrong_token_is_told_when_the_device_registers(device):
    device.ready(token=device.parts.token(key=OTHER_KEY))
    condition, body, info = device.refused()
    assert (condition, body["errorCode"], body["message"]) == ("amqp:unauthorized-access", 401002, "Unauthorized")
    assert "com.microsoft:tracking-id" in info
    assert device.last().status == 401


@pytest.mark.parametrize(
    ("how", "condition", "code"),
    [
        ({"operation": "iotdps-get-operationstatus"}, "com.microsoft:argument-error", 400004),
        (
            {"operation": "iotdps-get-operationstatus", "iotdps-operation-id": "5.0.nothing"},
            "amqp:not-found",
            404203,
        ),
        ({"operation": "iotdps-dance"}, "com.microsoft:argument-error", 400004),
        ({"operation": 7}, "com.microsoft:argument-error", 400004),
        ({"body": b"{"}, "com.microsoft:argument-error", None),
        ({"body": b"[]"}, "com.microsoft:argument-error", 400004),
        ({"body": b'{"registrationId":"other"}'}, "com.microsoft:argument-error", 400004),
        ({"body": b" " * 100_000}, "amqp:link:message-size-exceeded", None),
    ],
)
def test_requests_that_are_refused(device, how, condition, code):
    device.ready()
    told, body, _ = device.refused(**how)
    assert told == condition
    assert code is None or body["errorCode"] // 1000 == code // 1000
    assert device.ask()[0] == Accepted()  # the connection goes on


def test_what_is_no_message_is_rejected(device):
    device.ready()
    outcome, _ = device.send(b"\x40garbage")
    assert outcome.error.condition == "com.microsoft:argument-error"
    assert "cannot be read" in json.loads(outcome.error.description)["message"]


def test_what_cannot_be_kept_is_not_accepted(device, monkeypatch):
    device.ready()

    def fail(*_, **__):
        raise StorageError("the disk is full", "The disk is full.")

    monkeypatch.setattr(device.parts.service.registrations, "register", fail)
    condition, body, _ = device.refused()
    assert (condition, body["errorCode"]) == ("com.microsoft:argument-error", 400902)


def test_a_failure_of_the_simulator_is_logged_and_told(device, monkeypatch, caplog):
    device.ready()
    monkeypatch.setattr(device.parts.service.registrations, "register", lambda *_, **__: 1 / 0)
    _, body, _ = device.refused()
    assert body["errorCode"] == 400902
    assert "ZeroDivisionError" in caplog.text
    caplog.clear()


@pytest.mark.parametrize(
    ("address", "condition"),
    [("somewhere", "amqp:not-found"), (f"{ID_SCOPE}/registrations/other", "amqp:unauthorized-access")],
)
def test_links_that_lead_elsewhere(device, address, condition):
    assert device.plain() == 0
    refused = [each for each in device.attach(address) if isinstance(each, Detach)]
    assert {each.error.condition for each in refused} == {condition}
    assert device.say(sender(ADDRESS, handle=5, name="right"))[0].target.address == ADDRESS


def test_a_version_is_needed(device):
    assert device.plain() == 0
    device.attach(version={"com.microsoft:api-version": 7})
    _, body, _ = device.refused()
    assert "api-version" in body["message"]


def test_answers_wait_for_credit_and_have_a_limit(device):
    assert device.plain() == 0
    device.attach(credit=0)
    outcome, answers = device.ask()
    assert (outcome, answers) == (Accepted(), [])
    (answer,) = [each for each in device.say(flow(credit=1)) if isinstance(each, tuple)]
    assert answer[0].delivery_id == 0
    device.say(frame(Disposition(role=True, first=0, settled=True, state=Accepted())))
    for _ in range(MAX_WAITING):
        device.ask()
    said = device.say(frame(Detach(handle=1, closed=True)))
    assert isinstance(said[0], Detach)
    device.ask()
    assert device.last().operation == "close"


def test_the_client_goes_without_a_word(device):
    device.ready()
    device.lose()
    assert (device.last().operation, device.last().detail) == ("disconnect", {"clean": False, "ended": "network"})


@given(st.binary(max_size=300))
@settings(max_examples=examples(60), deadline=None)
def test_no_message_makes_it_fail(data):
    parts = Provisioning()
    parts.enroll()
    device = Device(parts).ready()
    outcome, _ = device.send(data)
    assert isinstance(outcome, Rejected)
    assert device.ask()[0] == Accepted()
    parts.store.close()


# --- TPM --------------------------------------------------------------------------------------------------------------


class TpmDevice(Device):
    """A device that proves itself with SASL TPM."""

    def __init__(self, parts, tpm=None, name=NAME):
        super().__init__(parts)
        self.tpm = tpm or PaperTpm()
        self.name = name

    def challenged(self, size=10_000):
        """Show the keys, in parts of some bytes; gives the blob of the challenge."""
        keys = {name: base64.b64decode(key) for name, key in self.tpm.keys().items()}
        message = f"{ID_SCOPE}\0{self.name}\0".encode() + keys["endorsementKey"]
        parts = [message[start : start + size] for start in range(0, len(message), size)]
        controls = [0] if len(parts) == 1 else [*([0x80] * (len(parts) - 1)), 0xC0]
        first, *rest = [bytes((control,)) + part for control, part in zip(controls, parts, strict=True)]
        said = one(self.say(sasl("TPM", first, ADDRESS)), SaslChallenge)
        for part in rest:
            assert said.challenge == b"\x00"
            said = one(self.say(sasl_response(part)), SaslChallenge)
        assert said.challenge == b"\x00"
        half = one(self.say(sasl_response(b"\x00" + keys["storageRootKey"])), SaslChallenge).challenge
        other = one(self.say(sasl_response(b"\x00")), SaslChallenge).challenge
        assert (half[0], other[0]) == (0x80, 0xC1)
        return half[1:] + other[1:]

    def answer(self, token=None):
        token = token or self.tpm.token(f"{ID_SCOPE}%2Fregistrations%2F{self.name}", int(self.parts.now) + 3600)
        return one(self.say(sasl_response(b"\x00" + token.encode())), SaslOutcome).code


@pytest.mark.parametrize("size", [10_000, 470, 50])
def test_a_tpm_proves_itself(provisioning, size):
    device = TpmDevice(provisioning)
    provisioning.enroll(attestation=device.tpm.attestation())
    device.tpm.activate(device.challenged(size))
    assert device.answer() == 0
    device.attach()
    body = json.dumps({"registrationId": NAME, "tpm": device.tpm.keys()}).encode()
    outcome, (answer,) = device.ask(body=body)
    assert outcome == Accepted()
    state = json.loads(answer.data)["registrationState"]
    device.tpm.activate(base64.b64decode(state["tpm"]["authenticationKey"]))
    assert state["tpm"]["authenticationKey"] not in str(device.trace.events())


def test_a_wrong_answer_of_a_tpm(provisioning):
    device = TpmDevice(provisioning)
    provisioning.enroll(attestation=device.tpm.attestation())
    device.challenged()
    assert device.answer(provisioning.token(key=OTHER_KEY)) == 1
    assert device.is_closed


@pytest.mark.parametrize("enrolled", [False, True])
def test_a_tpm_that_is_not_enrolled_is_told_when_it_registers(provisioning, enrolled):
    device = TpmDevice(provisioning)
    if enrolled:
        provisioning.enroll(attestation=PaperTpm(2).attestation())
    device.tpm.activate(device.challenged())
    assert device.answer() == 0
    device.attach()
    condition, body, _ = device.refused()
    expected = ("amqp:unauthorized-access", 401) if enrolled else ("amqp:not-found", 404)
    assert (condition, body["errorCode"] // 1000) == expected


def test_keys_that_are_none(provisioning):
    device = Device(provisioning)
    said = device.say(sasl("TPM", f"\0{ID_SCOPE}\0{NAME}\0key".encode()))
    assert one(said, SaslChallenge).challenge == b"\x00"
    assert one(device.say(sasl_response(b"\x00key")), SaslOutcome).code == 1


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([b""], "should come"),
        ([b"\x00scope\x00id"], "parted by NUL"),
        ([b"\x00\xff\x00id\x00key"], "not UTF-8"),
        ([b"\x80" + bytes(MAX_SIZE + 1)], "more than 8192 bytes"),
    ],
)
def test_who_leaves_the_exchange(steps, words):
    exchange = SaslTpmExchange()
    with pytest.raises(SaslTpmError, match=words):  # noqa: PT012
        for step in steps:
            exchange.take(step)
    assert "endorsement key" in repr(exchange)
