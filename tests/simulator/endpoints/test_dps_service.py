import asyncio
import base64
import json

import pytest
from provisioning_parts import OTHER_KEY, PRIMARY_KEY, SECONDARY_KEY, group_body, individual_body, symmetric_key

from helpers.simulator.endpoints.dps_service import API_VERSIONS, DpsServiceEndpoint
from helpers.simulator.endpoints.http import Peer, Request
from helpers.simulator.errors import Dps
from helpers.simulator.protocols import sas
from helpers.simulator.trace import Trace

HOST = "mydps.azure-devices-provisioning.test"
POLICY = "provisioningserviceowner"
POLICY_KEY = base64.b64encode(b"the key of the service's policy.").decode()


class Client:
    """Sends requests to an endpoint, without a network."""

    def __init__(self, parts):
        self.parts = parts
        self.trace = Trace(parts.clock)
        self.endpoint = DpsServiceEndpoint(
            service=parts.service,
            clock=parts.clock,
            trace=self.trace,
            host=HOST,
            policy_name=POLICY,
            policy_key=POLICY_KEY,
            transaction=parts.store.transaction,
        )

    def token(self, resource=HOST, key=POLICY_KEY, seconds=3600, policy=POLICY):
        return sas.sign(resource, sas.decode_key(key), int(self.parts.now) + seconds, policy)

    def send(self, method, path, body=None, *, token=None, version="2021-10-01", raw=None, host=HOST, **headers):
        sent = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        token = self.token() if token is None else token
        if token:
            sent["authorization"] = token
        if raw is None:
            raw = b"" if body is None else json.dumps(body).encode()
        query = {"api-version": version} if version else {}
        return asyncio.run(self.endpoint.handle(Request(method, path, query, sent, raw, Peer(host))))

    def fails(self, kind, *args, **kwargs):
        response = self.send(*args, **kwargs)
        assert (response.status, response.body["errorCode"]) == (kind.status, kind.code)
        assert response.body["code"] == kind.code
        assert response.headers["x-ms-error-code"] == str(kind.code)
        return response.body["message"]

    def reason(self):
        return self.trace.events()[-1].detail["reason"]


@pytest.fixture
def client(provisioning):
    return Client(provisioning)


# --- enrollments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "make", "item_type"),
    [("/enrollments", individual_body, "Enrollment"), ("/enrollmentGroups", group_body, "EnrollmentGroup")],
)
def test_the_life_of_an_enrollment(client, path, make, item_type):
    created = client.send("PUT", f"{path}/one", make("one"))
    assert created.status == 200
    assert created.body["attestation"] == symmetric_key()
    assert not created.headers
    etag = created.body["etag"]
    shown = client.send("GET", f"{path}/ONE")
    assert shown.body["attestation"] == {"type": "symmetricKey"}
    assert ("registrationState" in shown.body) == (path == "/enrollments")
    assert client.send("POST", f"{path}/one/attestationmechanism").body == symmetric_key()
    listed = client.send("POST", f"{path}/query", {"query": "SELECT *"})
    assert listed.headers == {"x-ms-item-type": item_type, "X-Content-Type-Options": "nosniff"}
    expected = {name: value for name, value in shown.body.items() if name != "registrationState"}
    assert listed.body == [expected]
    client.parts.clock.advance(1)
    updated = client.send("PUT", f"{path}/one", make("one", provisioningStatus="disabled"), if_match=etag)
    assert (updated.status, updated.body["provisioningStatus"]) == (200, "disabled")
    assert client.fails(Dps.PRECONDITION_FAILED, "PUT", f"{path}/one", make("one"), if_match=etag)
    assert client.fails(Dps.PRECONDITION_FAILED, "DELETE", f"{path}/one", if_match=f'"{etag}"')
    exists, missing = (
        (Dps.ENROLLMENT_EXISTS, Dps.ENROLLMENT_NOT_FOUND)
        if path == "/enrollments"
        else (Dps.GROUP_EXISTS, Dps.GROUP_NOT_FOUND)
    )
    client.fails(exists, "PUT", f"{path}/one", make("one"))
    client.fails(missing, "PUT", f"{path}/two", make("two"), if_match="*")
    deleted = client.send("DELETE", f"{path}/one", if_match='"*"')
    assert (deleted.status, deleted.body) == (204, None)
    for method, target in (("GET", "one"), ("DELETE", "one"), ("POST", "one/attestationmechanism")):
        client.fails(missing, method, f"{path}/{target}")
    assert client.send("POST", f"{path}/query", {"query": "SELECT *"}).body == []


def test_paths_ignore_case_and_a_slash_at_the_end_and_are_decoded(client):
    client.send("PUT", "/enrollmentgroups/a%3Ab/", group_body("a:b"))
    assert client.send("POST", "/EnrollmentGroups/a%3ab/AttestationMechanism").status == 200
    client.fails(Dps.INVALID_BODY, "PUT", "/enrollments/a%2Fb", individual_body("a/b"))


def test_query_is_no_reserved_identifier_for_other_verbs(client):
    assert client.send("PUT", "/enrollments/query", individual_body("query")).status == 200
    assert client.send("GET", "/enrollments/query").body["registrationId"] == "query"


def test_pages(client):
    for number in range(5):
        client.parts.enroll(f"d-{number}")
    seen, token = [], None
    while True:
        answer = client.send(
            "POST", "/enrollments/query", {"query": "select *"}, x_ms_max_item_count="2", x_ms_continuation=token
        )
        seen.append(len(answer.body))
        token = answer.headers.get("x-ms-continuation")
        if token is None:
            break
    assert seen == [2, 2, 1]
    many = client.fails(
        Dps.INVALID_BODY, "POST", "/enrollments/query", {"query": "SELECT *"}, x_ms_max_item_count="many"
    )
    assert "x-ms-max-item-count is 'many'" in many


@pytest.mark.parametrize("body", [None, [], "SELECT *", {"query": None}, {}])
def test_wrong_query_bodies(client, body):
    assert "SELECT *" in client.fails(Dps.INVALID_BODY, "POST", "/enrollments/query", body)


@pytest.mark.parametrize("path", ["/enrollments", "/enrollmentGroups", "/enrollments/"])
def test_bulk_operations_are_said_to_be_unsupported(client, path):
    body = {"mode": "create", "enrollments": [individual_body()]}
    assert "not supported by this simulator" in client.fails(Dps.NOT_SUPPORTED, "POST", path, body)


@pytest.mark.parametrize("version", API_VERSIONS)
def test_api_versions(client, version):
    assert client.send("POST", "/enrollments/query", {"query": "SELECT *"}, version=version).status == 200


def test_other_api_versions(client):
    client.fails(Dps.INVALID_API_VERSION, "GET", "/enrollments/a", version="")
    text = client.fails(Dps.API_VERSION_NOT_SUPPORTED, "GET", "/enrollments/a", version="2026-04-01")
    assert text == "api-version '2026-04-01' is not supported by this simulator."


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/enrollments", Dps.METHOD_NOT_ALLOWED),
        ("PATCH", "/enrollments/a", Dps.METHOD_NOT_ALLOWED),
        ("GET", "/", Dps.ROUTE_NOT_FOUND),
        ("GET", "/certificates/a", Dps.ROUTE_NOT_FOUND),
        ("GET", "/enrollments//", Dps.METHOD_NOT_ALLOWED),
    ],
)
def test_other_routes(client, method, path, kind):
    client.fails(kind, method, path)


@pytest.mark.parametrize("raw", [b"{", b"\xff\xfe", b'{"registrationId": NaN}', b"[" * 5000])
def test_bodies_that_are_no_json(client, raw):
    assert "not valid JSON" in client.fails(Dps.INVALID_BODY, "PUT", "/enrollments/a", raw=raw)


def test_an_empty_body(client):
    assert "individual enrollment" in client.fails(Dps.INVALID_BODY, "PUT", "/enrollments/a", raw=b"")


def test_another_content_type(client):
    client.fails(Dps.UNSUPPORTED_MEDIA_TYPE, "PUT", "/enrollments/a", individual_body("a"), content_type="text/xml")


# --- registrations ------------------------------------------------------------------------------------------------


def test_registrations(client):
    group = client.parts.enroll_group("fleet")
    assert client.send("POST", "/registrations/fleet/query").body == []
    client.fails(Dps.REGISTRATION_NOT_FOUND, "GET", "/registrations/truck")
    client.parts.register("truck", group)
    client.parts.register("van", group)
    truck = client.send("GET", "/registrations/TRUCK").body
    assert truck["status"] == "assigned"
    first = client.send("POST", "/registrations/Fleet/query", {"query": "ignored"}, x_ms_max_item_count="1")
    assert first.body == [truck]
    assert first.headers["x-ms-item-type"] == "DeviceRegistration"
    rest = client.send("POST", "/registrations/fleet/query", x_ms_continuation=first.headers["x-ms-continuation"])
    assert [item["registrationId"] for item in rest.body] == ["van"]
    assert "x-ms-continuation" not in rest.headers
    client.fails(Dps.PRECONDITION_FAILED, "DELETE", "/registrations/truck", if_match="stale")
    assert client.send("DELETE", "/registrations/truck").status == 204
    client.fails(Dps.REGISTRATION_NOT_FOUND, "DELETE", "/registrations/truck")
    client.fails(Dps.GROUP_NOT_FOUND, "POST", "/registrations/other/query")


def test_a_registered_device_in_its_enrollment(client):
    client.parts.enroll()
    client.parts.register()
    state = client.send("GET", "/enrollments/device-1").body["registrationState"]
    assert state == client.send("GET", "/registrations/device-1").body


# --- who may ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "resource",
    [
        HOST,
        HOST.upper(),
        f"{HOST}%3A18443",
        f"{HOST}%3a443",
        f"https%3A%2F%2F{HOST}%2F",
        f"{HOST}/enrollments",
        f"{HOST}%2FEnrollments%2Fdevice-1",
    ],
)
def test_audiences_that_cover_the_request(client, resource):
    client.parts.enroll()
    assert client.send("GET", "/enrollments/device-1", token=client.token(resource)).status == 200


def test_the_host_that_was_addressed_may_be_an_alias(client):
    client.parts.enroll()
    token = client.token("localhost%3A18443")
    assert client.send("GET", "/enrollments/device-1", token=token, host="localhost").status == 200


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"resource": "other.azure-devices-provisioning.test"}, "not for"),
        ({"resource": f"{HOST}.test"}, "not for"),
        ({"resource": f"{HOST}/enrollmentGroups"}, "not for"),
        ({"resource": f"{HOST}/enrollments/device"}, "not for"),
        ({"resource": f"{HOST}/enrollments/device-1/more"}, "not for"),
        ({"key": OTHER_KEY}, "did not sign the token"),
        ({"policy": "nobody"}, "there is no policy 'nobody'"),
        ({"policy": None}, "there is no policy None"),
    ],
)
def test_refused_tokens(client, arguments, reason):
    client.parts.enroll()
    client.fails(Dps.UNAUTHORIZED_SERVICE, "GET", "/enrollments/device-1", token=client.token(**arguments))
    assert reason in client.reason()


def test_an_expired_token(client):
    client.fails(Dps.TOKEN_EXPIRED, "GET", "/enrollments/a", token=client.token(seconds=-30))
    assert "expired 30 s ago" in client.reason()


@pytest.mark.parametrize(
    ("token", "reason"),
    [("", "no Authorization"), ("Bearer eyJ0", "not supported by this simulator"), ("Basic abc", "does not begin")],
)
def test_other_authorization(client, token, reason):
    client.fails(Dps.UNAUTHORIZED_SERVICE, "GET", "/enrollments/a", token=token)
    assert reason in client.reason()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
def test_every_route_asks_for_a_token(client, method):
    for path in ("/enrollments/a", "/enrollmentGroups/a", "/registrations/a", "/enrollments", "/registrations/a/query"):
        assert client.send(method, path, token="").status in (401, 405)


def test_keys_stay_out_of_the_trace(client):
    client.send("PUT", "/enrollments/device-1", individual_body())
    client.send("POST", "/enrollments/device-1/attestationmechanism")
    shown = repr([event.to_json() for event in client.trace.events()])
    assert PRIMARY_KEY not in shown
    assert SECONDARY_KEY not in shown
    assert POLICY_KEY not in shown
    assert {event.service for event in client.trace.events()} == {"enrollments"}
    assert [event.device for event in client.trace.events()] == ["device-1"] * 4


def test_a_failing_write_is_rolled_back(client):
    client.parts.enroll()
    client.parts.register()

    def fail(_):
        raise RuntimeError("a listener failed")

    client.parts.individuals.when_deleted(fail)
    client.fails(Dps.INTERNAL, "DELETE", "/enrollments/device-1")
    assert client.send("GET", "/enrollments/device-1").body["registrationState"]["status"] == "assigned"
