import asyncio
import json
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from provisioning_parts import ID_SCOPE, OTHER_KEY, SECONDARY_KEY, Provisioning
from thoroughness import examples
from x509_family import DAY, make, make_root

from dps_simulator.common.http import Peer, Request
from dps_simulator.common.trace import Trace
from dps_simulator.errors.table import Dps
from dps_simulator.provisioning.api.https import DpsHttpsEndpoint, is_device_request
from dps_simulator.provisioning.api.registration import MAX_BODY_SIZE

HOST = "global.azure-devices-provisioning.test"
UNKNOWN_OPERATION = "5.0123456789abcdef.00000000-0000-0000-0000-000000000000"


class Device:
    """Sends requests to an endpoint, without a network."""

    def __init__(self, parts, registration_id="device-1", certificates=()):
        self.parts = parts
        self.registration_id = registration_id
        self.certificates = certificates
        self.trace = Trace(parts.clock)
        self.endpoint = DpsHttpsEndpoint(
            service=parts.service,
            clock=parts.clock,
            trace=self.trace,
            host=HOST,
            transaction=parts.store.transaction,
        )

    def send(
        self,
        method,
        path,
        body=None,
        *,
        token=None,
        scope=ID_SCOPE,
        name=None,
        version="2021-06-01",
        raw=None,
        query=(),
        **headers,
    ):
        """``path`` is what follows the registration ID; ``token=""`` sends none."""
        sent = {"content-type": "application/json; charset=utf-8"}
        sent.update((key.replace("_", "-"), value) for key, value in headers.items())
        if token is None:
            token = "" if self.certificates else self.parts.token(self.registration_id)
        if token:
            sent["authorization"] = token
        if raw is None:
            raw = b"" if body is None else json.dumps(body).encode()
        parameters = {**({"api-version": version} if version else {}), **dict(query)}
        path = f"/{scope}/registrations/{name or self.registration_id}{path}"
        peer = Peer(HOST, "https", self.certificates)
        return asyncio.run(self.endpoint.handle(Request(method, path, parameters, sent, raw, peer)))

    def register(self, body=None, **how):
        return self.send("PUT", "/register", body, **how)

    def poll(self, operation, **how):
        return self.send("GET", f"/operations/{operation}", **how)

    def look_up(self, body=None, **how):
        return self.send("POST", "", body, **how)

    def refused(self, response, kind):
        """Check a refusal; returns the reason in the trace, or else the message."""
        assert (response.status, response.body["errorCode"]) == (kind.status, kind.code)
        assert response.headers["x-ms-request-id"] == response.body["trackingId"]
        assert response.headers["x-ms-error-code"] == str(kind.code)
        assert "Location" not in response.headers
        return self.trace.events()[-1].detail.get("reason", response.body["message"])


@pytest.fixture
def device(provisioning):
    provisioning.enroll()
    return Device(provisioning)


def with_certificate(parts, *certificates, registration_id="device-1"):
    """A device that is enrolled with the first of the certificates and shows all of them."""
    attestation = {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": certificates[0].pem}}}}
    parts.enroll(registration_id, attestation=attestation)
    return Device(parts, registration_id, tuple(each.der for each in certificates))


# --- the ways that devices go ---------------------------------------------------------------------------------


def test_register_poll_and_look_up(device):
    registered = device.register({"registrationId": "device-1", "payload": {"model": 1}})
    assert (registered.status, registered.body["status"]) == (202, "assigning")
    # a client of this kind reads no registration state here, and there is none that could be believed yet
    assert set(registered.body) == {"operationId", "status"}
    assert registered.headers["Retry-After"] == "0"
    assert registered.headers["Location"] == f"https://{HOST}/{ID_SCOPE}/registrations/device-1/register"
    assert registered.headers["Strict-Transport-Security"].startswith("max-age=")
    assert uuid.UUID(registered.headers["x-ms-request-id"])

    polled = device.poll(registered.body["operationId"])
    assert (polled.status, polled.body["status"]) == (200, "assigned")
    assert not {"Location", "Retry-After"} & set(polled.headers)
    state = polled.body["registrationState"]
    assert (state["assignedHub"], state["deviceId"]) == (device.parts.hub.host, "device-1")

    found = device.look_up({"registrationId": "device-1"})
    assert (found.status, found.body) == (200, state)
    assert uuid.UUID(found.headers["x-ms-request-id"])


def test_a_device_waits_at_the_pace_of_azure():
    parts = Provisioning(pace="azure")
    parts.enroll()
    device = Device(parts)
    registered = device.register()
    seconds = int(registered.headers["Retry-After"])
    assert seconds > 0
    operation = registered.body["operationId"]
    waiting = device.poll(operation)
    assert (waiting.status, waiting.body["status"]) == (202, "assigning")
    assert waiting.body["registrationState"] == {"registrationId": "device-1", "status": "assigning"}
    assert waiting.headers["Retry-After"].isdigit()
    assert waiting.headers["Location"].endswith("/registrations/device-1/register")
    parts.clock.advance(60)
    assert device.poll(operation).body["status"] == "assigned"


@pytest.mark.parametrize("fields", [{"deviceId": "refused-by-the-hub"}, {"provisioningStatus": "disabled"}])
def test_a_registration_that_fails_is_told_by_the_poll(provisioning, fields):
    provisioning.enroll(**fields)
    device = Device(provisioning)
    registered = device.register()
    assert (registered.status, registered.body["status"]) == (202, "assigning")
    polled = device.poll(registered.body["operationId"])
    assert polled.status == 200
    assert polled.body["status"] == polled.body["registrationState"]["status"] in {"failed", "disabled"}


def test_the_address_that_the_device_used_is_the_address_in_the_answer(device):
    registered = device.register(host="localhost:44300")
    assert registered.headers["Location"] == f"https://localhost:44300/{ID_SCOPE}/registrations/device-1/register"


def test_percent_encoded_registration_ids(provisioning):
    provisioning.enroll("urn:pump:1")
    device = Device(provisioning, "urn:pump:1")
    # one SDK encodes with lower-case letters, and its token names the ID in the same form
    token = provisioning.token("urn%3apump%3a1")
    registered = device.register({"registrationId": "urn:pump:1"}, name="urn%3apump%3a1", token=token)
    assert registered.status == 202
    assert registered.headers["Location"].endswith("/registrations/urn%3Apump%3A1/register")
    polled = device.poll(registered.body["operationId"], name="urn%3apump%3a1", token=token)
    assert polled.body["registrationState"]["registrationId"] == "urn:pump:1"


@pytest.mark.parametrize(
    "how",
    [
        {"raw": b""},
        {"raw": b"  "},
        {"raw": b"{}", "query": {"forceRegistration": "true"}},
        {"body": {"registrationId": "DEVICE-1"}},
        {"body": {"registrationId": None, "payload": None}},
        {"body": {"payload": "a text"}, "content_encoding": "utf-8"},
        {"body": {"tpm": None, "csr": None}, "version": "2026-04-01"},
        {"body": {}, "useragent": "a header that is misspelt"},
    ],
)
def test_what_sdks_send(device, how):
    assert device.register(**how).status == 202


@pytest.mark.parametrize("raw", [b"{}", b" ", b'{"registrationId": "device-1"}', b"\xff{", b"["])
def test_the_body_of_a_poll_means_nothing(device, raw):
    operation = device.register().body["operationId"]
    assert device.poll(operation, raw=raw).status == 200


def test_the_secondary_key(device):
    assert device.register(token=device.parts.token(key=SECONDARY_KEY)).status == 202


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["register", "poll", "look up"])
@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (lambda parts: "", "neither a token nor a certificate"),
        (lambda parts: "Bearer abc", ""),
        (lambda parts: "SharedAccessSignature sr=", ""),
        (lambda parts: parts.token(key=OTHER_KEY), "key"),
        (lambda parts: parts.token("device-2"), "device-2"),
        (lambda parts: parts.token(scope="0ne00000B02"), "0ne00000b02"),
        (lambda parts: parts.token(seconds=-1), "expired"),
    ],
)
def test_a_token_that_does_not_fit(device, action, token, reason):
    operation = device.register().body["operationId"]
    text = token(device.parts)
    do = {"register": device.register, "poll": lambda token: device.poll(operation, token=token)}
    response = do.get(action, device.look_up)(token=text)
    said = device.refused(response, Dps.UNAUTHORIZED_DEVICE)
    assert reason.lower() in said.lower()
    if "sig=" in text:
        signature = text.partition("sig=")[2].partition("&")[0]
        assert signature not in str([event.detail for event in device.trace.events()])


def test_a_token_runs_out_while_the_device_waits(device):
    token = device.parts.token(seconds=30)
    operation = device.register(token=token).body["operationId"]
    assert device.poll(operation, token=token).status == 200
    device.parts.clock.advance(31)
    assert "expired" in device.refused(device.poll(operation, token=token), Dps.UNAUTHORIZED_DEVICE)
    # a new token is enough: there is no connection that the old one would belong to
    assert device.poll(operation).status == 200


def test_body_and_address_must_agree(device):
    message = device.refused(device.register({"registrationId": "device-2"}), Dps.INVALID_BODY)
    assert "'device-2'" in message
    assert "'device-1'" in message
    device.refused(device.look_up({"registrationId": "device-2"}), Dps.INVALID_BODY)


@pytest.mark.parametrize(
    ("path", "is_a_device"),
    [
        ("/0ne00000A01/registrations/d/register", True),
        ("/0ne00000A01/Registrations/d/operations/5.x", True),
        ("/0ne00000A01/registrations/d", True),
        ("/somebody-else/registrations/d/register", True),
        ("/registrations/registrations/query", False),
        ("/registrations/d", False),
        ("/enrollments/registrations/attestationmechanism", False),
        ("/enrollmentGroups/registrations", False),
        ("/enrollments/query", False),
        ("/", False),
    ],
)
def test_who_asks_at_the_host_name_of_the_service(path, is_a_device):
    assert is_device_request(Request("PUT", path, {}, {}, b"", Peer())) is is_a_device


@pytest.mark.parametrize("action", ["register", "look_up"])
@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"{", Dps.MALFORMED_JSON),
        (b"\xff\xfe", Dps.MALFORMED_JSON),
        (b'{"registrationId":"pump-1","payload":"{\n"}"}', Dps.MALFORMED_JSON),
        (b"[]", Dps.INVALID_BODY),
        (b'"text"', Dps.INVALID_BODY),
        (b'{"registrationId": 1}', Dps.INVALID_BODY),
        (b'{"payload": "' + b"x" * MAX_BODY_SIZE + b'"}', Dps.TOO_LARGE),
        (b'{"tpm": {"endorsementKey": "AAAA"}}', Dps.INVALID_BODY),
        (b'{"tpm": "AAAA"}', Dps.INVALID_BODY),
        (b'{"tpm": {}}', Dps.INVALID_BODY),
        (b'{"csr": "AAAA"}', Dps.DEVICE_REQUEST_NOT_SUPPORTED),
    ],
)
def test_wrong_bodies(device, action, raw, kind):
    device.refused(getattr(device, action)(raw=raw), kind)


def test_another_kind_of_body(device):
    device.refused(device.register({}, content_type="text/xml"), Dps.UNSUPPORTED_MEDIA_TYPE)


@pytest.mark.parametrize("action", ["register", "look_up"])
def test_a_scope_of_somebody_else(device, action):
    response = getattr(device, action)(scope="0ne00000B02", token=device.parts.token(scope="0ne00000B02"))
    assert "0ne00000B02" in device.refused(response, Dps.ID_SCOPE_NOT_FOUND)


def test_the_api_version(device):
    device.refused(device.register(version=""), Dps.INVALID_API_VERSION)
    assert "'1.0'" in device.refused(device.register(version="1.0"), Dps.API_VERSION_NOT_SUPPORTED)


def test_an_operation_that_does_not_exist(device):
    missing = device.poll(UNKNOWN_OPERATION)
    assert missing.status == 404
    device.parts.enroll("device-2")
    own = device.register().body["operationId"]
    other = Device(device.parts, "device-2").poll(own)
    assert (other.status, other.body["errorCode"]) == (404, missing.body["errorCode"])


def test_a_device_that_never_registered(device):
    assert device.look_up().status == 404
    # looking up is not registering
    assert device.look_up().status == 404
    assert not device.parts.hub.devices


def test_an_unknown_device_learns_no_more_than_one_with_a_wrong_key(device):
    stranger = Device(device.parts, "device-9")
    unknown = stranger.look_up(token=device.parts.token("device-9"))
    wrong = device.look_up(token=device.parts.token(key=OTHER_KEY))
    stranger.refused(unknown, Dps.UNAUTHORIZED_DEVICE)
    secret_free = [{key: body[key] for key in ("errorCode", "message")} for body in (unknown.body, wrong.body)]
    assert secret_free[0] == secret_free[1]


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("DELETE", "/register", Dps.METHOD_NOT_ALLOWED),
        ("GET", "", Dps.METHOD_NOT_ALLOWED),
        ("PUT", "/operations/1", Dps.METHOD_NOT_ALLOWED),
        ("POST", "/getDeviceUpdate", Dps.ROUTE_NOT_FOUND),
        ("GET", "/operations/", Dps.ROUTE_NOT_FOUND),
    ],
)
def test_addresses_that_do_not_exist(device, method, path, kind):
    device.refused(device.send(method, path), kind)


def test_a_registration_id_that_cannot_be(device):
    device.refused(device.register(name="a%2Fb"), Dps.INVALID_BODY)
    device.refused(device.register(name="x" * 129), Dps.INVALID_BODY)


# --- certificates ------------------------------------------------------------------------------------------------


def test_a_certificate_instead_of_a_token(provisioning):
    device = with_certificate(provisioning, make("device-1"))
    registered = device.register()
    assert registered.status == 202
    state = device.poll(registered.body["operationId"]).body["registrationState"]
    assert state["status"] == "assigned"
    assert device.look_up().body == state
    assert provisioning.hub.devices["device-1"]["credentials"].type == "selfSigned"


@pytest.mark.parametrize("action", ["register", "look_up"])
def test_a_certificate_that_is_not_the_enrolled_one(provisioning, action):
    device = with_certificate(provisioning, make("device-1"))
    device.certificates = (make("device-1", key_name="another key").der,)
    response = getattr(device, action)()
    reason = device.refused(response, Dps.INVALID_CERTIFICATE)
    assert response.body["info"] == {"simulatorFinding": "unknownCertificate", "simulatorReason": reason}


def test_a_certificate_of_an_authority_that_nobody_knows(provisioning):
    leaf = make_root("Fabrikam").issue("device-1")
    device = Device(provisioning, certificates=(leaf.der,))
    response = device.register()
    device.refused(response, Dps.CA_CERTIFICATE_NOT_FOUND)
    assert "Fabrikam" in response.body["info"]["simulatorReason"]


def test_a_certificate_that_cannot_be_read(provisioning):
    device = with_certificate(provisioning, make("device-1"))
    device.certificates = (b"this is not DER",)
    response = device.register()
    device.refused(response, Dps.INVALID_CERTIFICATE)
    assert response.body["info"]["simulatorFinding"] == "chainInvalid"


def test_a_certificate_that_expires_between_two_requests(provisioning):
    device = with_certificate(provisioning, make("device-1"))
    operation = device.register().body["operationId"]
    assert device.poll(operation).status == 200
    provisioning.clock.advance((30 * DAY).total_seconds())
    response = device.poll(operation)
    device.refused(response, Dps.INVALID_CERTIFICATE)
    assert response.body["info"]["simulatorFinding"] == "certificateExpired"


def test_a_token_goes_before_a_certificate(device):
    device.certificates = (make("device-1").der,)
    assert device.register(token=device.parts.token()).status == 202
    # without the token the certificate has to do, and this device is enrolled with keys
    device.refused(device.register(), Dps.INVALID_CERTIFICATE)


# --- the trace, and whatever may come ------------------------------------------------------------------------------


def test_the_trace_knows_the_device_and_keeps_no_token(device):
    operation = device.register().body["operationId"]
    device.poll(operation)
    device.look_up()
    events = device.trace.events()
    assert [(event.operation, event.direction, event.status) for event in events] == [
        ("register", "in", None),
        ("register", "out", 202),
        ("poll", "in", None),
        ("poll", "out", 200),
        ("look up", "in", None),
        ("look up", "out", 200),
    ]
    assert {(event.service, event.device, event.protocol, event.host) for event in events} == {
        ("provisioning", "device-1", "https", HOST)
    }
    assert "SharedAccessSignature" not in str([event.detail for event in events])


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["PUT", "GET", "POST", "PATCH"]),
    path=st.sampled_from(["/register", "/operations/x", ""]),
    name=st.text(st.characters(codec="ascii", exclude_characters="/"), max_size=8),
    token=st.text(max_size=40) | st.just(None),
    raw=st.binary(max_size=60),
    certificate=st.none() | st.binary(max_size=40),
)
def test_nothing_makes_it_fail(device, method, path, name, token, raw, certificate):
    device.certificates = () if certificate is None else (certificate,)
    response = device.send(method, path, name=name, token=token, raw=raw)
    assert response.status in {200, 202} or 400 <= response.status < 500
    json.loads(response.encoded())


# --- several hubs ---------------------------------------------------------------------------------------------

TWO_HUBS = ("hub-1.azure-devices.test", "hub-2.azure-devices.test")


@pytest.mark.parametrize(("version", "stays"), [("2018-04-01", True), ("2018-09-01-preview", False)])
def test_the_api_version_decides_whether_a_device_without_a_policy_moves(version, stays):
    parts = Provisioning(hubs=TWO_HUBS)
    device = Device(parts)
    for host, match in zip(TWO_HUBS, (None, "*"), strict=True):
        parts.enroll(if_match=match, allocationPolicy="static", iotHubs=[host])
        operation = device.register(version=version).body["operationId"]
        state = device.poll(operation, version=version).body["registrationState"]
    assert state["assignedHub"] == TWO_HUBS[0 if stays else 1]


def test_a_webhook_gets_what_the_device_sends_and_the_device_what_the_webhook_says():
    parts = Provisioning(hubs=TWO_HUBS)
    definition = {"webhookUrl": "https://example.test/allocate", "apiVersion": "2021-10-01"}
    parts.enroll(allocationPolicy="custom", customAllocationDefinition=definition)
    device = Device(parts)
    registered = device.register({"registrationId": "device-1", "payload": {"model": 1}})
    assert registered.headers["Retry-After"] == "1"
    operation = registered.body["operationId"]
    polled = device.poll(operation)
    assert (polled.status, polled.body["status"], polled.headers["Retry-After"]) == (202, "assigning", "1")
    (pending,) = parts.registrations.pending_allocations(10)
    asked = parts.registrations.allocation_call(pending)
    assert asked.document["deviceRuntimeContext"]["payload"] == {"model": 1}
    parts.registrations.decide(pending, {"iotHubHostName": TWO_HUBS[1], "payload": {"set": 2}})
    polled = device.poll(operation)
    assert (polled.status, polled.body["registrationState"]["payload"]) == (200, {"set": 2})
    assert "Retry-After" not in polled.headers
    assert device.look_up({}).body["payload"] == {"set": 2}


def test_why_there_is_no_hub_stands_in_the_trace_only():
    parts = Provisioning(hubs=TWO_HUBS)
    parts.enroll(allocationPolicy="static", iotHubs=[TWO_HUBS[1]])
    del parts.hubs[1]
    device = Device(parts)
    polled = device.poll(device.register().body["operationId"])
    assert polled.status == 200
    assert polled.body["registrationState"]["errorMessage"] == "iothub not found"
    reason = f"none of {TWO_HUBS[1]} is linked to the service any more"
    assert device.trace.events()[-1].detail["reason"] == reason
    assert reason not in str(polled.body)
