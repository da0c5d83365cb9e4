import asyncio
import base64
import json

import pytest
from provisioning_parts import OTHER_KEY, PRIMARY_KEY, SECONDARY_KEY, group_body, individual_body, symmetric_key

from dps_simulator.common.http import Peer, Request
from dps_simulator.common.trace import Trace
from dps_simulator.credentials import sas
from dps_simulator.errors.table import Dps
from dps_simulator.provisioning.access_policies import AccessPolicies
from dps_simulator.provisioning.api.service import DpsServiceEndpoint
from dps_simulator.provisioning.api.versions import API_VERSIONS

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
            policies=AccessPolicies(parts.store, owner_name=POLICY, owner_key=POLICY_KEY),
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

    def reasons(self):
        return self.trace.events()[-1].detail["reasons"]


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


@pytest.mark.parametrize(
    ("path", "status"), [("/enrollments/a%3Ab", 200), ("/enrollments/a%253Ab", 404), ("/enrollments/%ff", 404)]
)
def test_an_identifier_is_decoded_once(client, path, status):
    client.parts.enroll("a:b")
    assert client.send("GET", path).status == status


@pytest.mark.parametrize("suffix", ["", "/"])
@pytest.mark.parametrize("change", [str, str.upper, str.lower])
def test_every_route_ignores_case_and_a_slash_at_the_end(client, change, suffix):
    group = client.parts.enroll_group("g")
    client.parts.register("d", group)
    client.parts.enroll("a")
    for method, path, status in [
        ("POST", "/enrollments/query", 200),
        ("POST", "/enrollments/a/attestationmechanism", 200),
        ("GET", "/enrollments/a", 200),
        ("DELETE", "/enrollments/a", 204),
        ("POST", "/enrollmentGroups/query", 200),
        ("POST", "/enrollmentGroups/g/attestationmechanism", 200),
        ("GET", "/enrollmentGroups/g", 200),
        ("POST", "/registrations/g/query", 200),
        ("GET", "/registrations/d", 200),
        ("DELETE", "/registrations/d", 204),
        ("DELETE", "/enrollmentGroups/g", 204),
    ]:
        body = {"query": "SELECT *"} if "query" in path else None
        assert client.send(method, change(path) + suffix, body).status == status, path


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


def test_pages_at_scale(client):
    """Every enrollment once, in as few pages as the service allows, and none of them empty."""
    for number in range(250):
        client.parts.enroll(f"d-{number:03}")
    seen, sizes, token = [], [], None
    while True:
        answer = client.send("POST", "/enrollments/query", {"query": "SELECT *"}, x_ms_continuation=token)
        sizes.append(len(answer.body))
        seen += [item["registrationId"] for item in answer.body]
        token = answer.headers.get("x-ms-continuation")
        if token is None:
            break
    assert sizes == [100, 100, 50]
    assert seen == [f"d-{number:03}" for number in range(250)]


def test_exactly_one_full_page_has_no_continuation(client):
    for number in range(4):
        client.parts.enroll(f"d-{number}")
    answer = client.send("POST", "/enrollments/query", {"query": "SELECT *"}, x_ms_max_item_count="4")
    assert (len(answer.body), answer.headers.get("x-ms-continuation")) == (4, None)


def test_another_page_size_may_follow(client):
    """Recorded: the token after two pages of 50 is that after one of 100."""
    for number in range(6):
        client.parts.enroll(f"d-{number}")
    query = {"query": "SELECT *"}
    tokens = []
    for sizes in (["4"], ["2", "2"]):
        token = None
        for size in sizes:
            answer = client.send("POST", "/enrollments/query", query, x_ms_max_item_count=size, x_ms_continuation=token)
            token = answer.headers["x-ms-continuation"]
        tokens.append(token)
    assert tokens[0] == tokens[1]
    rest = client.send("POST", "/enrollments/query", query, x_ms_continuation=tokens[0])
    assert [item["registrationId"] for item in rest.body] == ["d-4", "d-5"]


def test_pages_while_enrollments_come_and_go(client):
    for number in range(4):
        client.parts.enroll(f"d-{number}")
    query = {"query": "SELECT *"}
    first = client.send("POST", "/enrollments/query", query, x_ms_max_item_count="2")
    client.send("DELETE", "/enrollments/d-1")
    client.send("DELETE", "/enrollments/d-2")
    client.parts.enroll("d-4")
    rest = client.send("POST", "/enrollments/query", query, x_ms_continuation=first.headers["x-ms-continuation"])
    assert [item["registrationId"] for item in rest.body] == ["d-3", "d-4"]


def token_of(document):
    return base64.b64encode(json.dumps(document).encode()).decode()


@pytest.mark.parametrize("after", [None, "1", -1, 2**63, 1.5])
def test_a_token_with_an_impossible_place(client, after):
    token = token_of({"list": "enrollment", "after": after})
    query = {"query": "SELECT *"}
    client.fails(Dps.INVALID_BODY, "POST", "/enrollments/query", query, x_ms_continuation=token)


def test_a_token_of_another_list_or_of_none(client):
    client.parts.enroll("a")
    client.parts.enroll("b")
    for name in ("g", "h"):
        group = client.parts.enroll_group(name)
        client.parts.register(f"{name}-1", group)
        client.parts.register(f"{name}-2", group)
    query = {"query": "SELECT *"}
    paths = ["/enrollments/query", "/enrollmentGroups/query", "/registrations/g/query", "/registrations/h/query"]
    tokens = {
        path: client.send("POST", path, query, x_ms_max_item_count="1").headers["x-ms-continuation"] for path in paths
    }
    for path in paths:
        for origin, token in tokens.items():
            if origin != path:
                text = client.fails(Dps.INVALID_BODY, "POST", path, query, x_ms_continuation=token)
                assert "x-ms-continuation is not a token of this list" in text
        for token in ("garbage", "", "e30=", "W10=", "A" * 2000, token_of("text")):
            client.fails(Dps.INVALID_BODY, "POST", path, query, x_ms_continuation=token)


@pytest.mark.parametrize("size", ["0", "-1", "1.5", "", "\u0661", "9" * 11])
def test_wrong_page_sizes(client, size):
    text = client.fails(Dps.INVALID_BODY, "POST", "/enrollmentGroups/query", {"query": "x"}, x_ms_max_item_count=size)
    assert "x-ms-max-item-count" in text or size == ""


@pytest.mark.parametrize("body", [None, [], "SELECT *", {"query": None}, {}])
def test_wrong_query_bodies(client, body):
    assert "SELECT *" in client.fails(Dps.INVALID_BODY, "POST", "/enrollments/query", body)


# --- bulk operations ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "plural", "make"),
    [
        ("/enrollments", "enrollments", individual_body),
        ("/Enrollments/", "enrollments", individual_body),
        ("/enrollmentGroups", "enrollmentGroups", group_body),
        ("/ENROLLMENTGROUPS/", "enrollmentGroups", group_body),
    ],
)
def test_a_bulk_operation(client, path, plural, make):
    body = {plural: [make("a"), make("b")], "mode": "create"}
    answer = client.send("POST", path, body)
    assert (answer.status, answer.body, answer.headers) == (200, {"errors": [], "isSuccessful": True}, {})
    again = client.send("POST", path, {**body, plural: [make("c"), make("a")]})
    assert again.status == 200
    assert [error["errorCode"] // 1000 for error in again.body["errors"]] == [409]
    assert client.reasons() == {"a": "an update of 'a' needs If-Match with its etag or *"}
    listed = client.send("POST", f"{path.rstrip('/')}/query", {"query": "SELECT *"}).body
    assert len(listed) == 3


def test_a_wrong_bulk_operation_does_nothing(client):
    eleven = [individual_body(f"d-{number}") for number in range(11)]
    text = client.fails(Dps.INVALID_BODY, "POST", "/enrollments", {"mode": "create", "enrollments": eleven})
    assert text == "enrollments has 11 items; it must have 1 to 10. Split it into several requests."
    assert client.parts.individuals.count() == 0
    assert "must be a JSON object" in client.fails(Dps.INVALID_BODY, "POST", "/enrollments", [])
    assert "must be a JSON object" in client.fails(Dps.INVALID_BODY, "POST", "/enrollments", raw=b"")


def test_a_bulk_operation_that_fails_in_the_middle_is_undone(client):
    client.parts.enroll("old")

    def fail(_):
        raise RuntimeError("a listener failed")

    client.parts.individuals.when_deleted(fail)
    client.fails(Dps.INTERNAL, "POST", "/enrollments", {"mode": "delete", "enrollments": [individual_body("old")]})
    assert client.send("GET", "/enrollments/old").status == 200


def test_keys_of_a_bulk_operation_stay_out_of_the_trace(client):
    broken = individual_body("b", attestation=symmetric_key(PRIMARY_KEY, "not base64: " + SECONDARY_KEY))
    client.send("POST", "/enrollments", {"mode": "create", "enrollments": [individual_body("a"), broken]})
    shown = repr([event.to_json() for event in client.trace.events()])
    assert PRIMARY_KEY not in shown
    assert SECONDARY_KEY not in shown


# --- versions -----------------------------------------------------------------------------------------------------

FULL = {
    "optionalDeviceInformation": {"floor": 3},
    "reprovisionPolicy": {"updateHubAssignment": True, "migrateDeviceData": False},
    "allocationPolicy": "static",
    "iotHubs": ["hub-1.azure-devices.test"],
    "customAllocationDefinition": {"webhookUrl": "https://webhook.test", "apiVersion": "2019-03-31"},
}
SEEN = {
    "2018-04-01": set(),
    "2018-09-01-preview": set(FULL) - {"optionalDeviceInformation"},
    "2019-03-31": set(FULL),
    "2021-10-01": set(FULL),
}


def test_every_version_is_tested():
    assert tuple(SEEN) == API_VERSIONS


@pytest.mark.parametrize("version", API_VERSIONS)
def test_a_version_shows_the_fields_that_it_knows(client, version):
    client.send("PUT", "/enrollments/a", individual_body("a", **FULL, deviceId="d"))
    shown = client.send("GET", "/enrollments/a", version=version).body
    assert set(shown) & set(FULL) == SEEN[version]
    assert shown["deviceId"] == "d"
    (listed,) = client.send("POST", "/enrollments/query", {"query": "SELECT *"}, version=version).body
    assert set(listed) & set(FULL) == SEEN[version]
    written = client.send("PUT", "/enrollments/a", shown, version=version, if_match=shown["etag"]).body
    assert set(written) & set(FULL) == SEEN[version]
    # nothing got lost that the version does not know
    newest = client.send("GET", "/enrollments/a").body
    assert {name: newest[name] for name in FULL} == FULL


@pytest.mark.parametrize("version", API_VERSIONS)
def test_a_version_does_not_read_the_fields_that_it_does_not_know(client, version):
    client.send("PUT", "/enrollments/a", individual_body("a", **FULL), version=version)
    bulk = {"mode": "create", "enrollments": [individual_body("b", **FULL)]}
    assert client.send("POST", "/enrollments", bulk, version=version).body["isSuccessful"]
    for identifier in ("a", "b"):
        assert set(client.send("GET", f"/enrollments/{identifier}").body) & set(FULL) == SEEN[version]


@pytest.mark.parametrize("version", API_VERSIONS)
def test_a_bulk_update_leaves_alone_what_its_version_does_not_know(client, version):
    etag = client.send("PUT", "/enrollments/a", individual_body("a", **FULL)).body["etag"]
    item = individual_body("a", etag=etag, provisioningStatus="disabled")
    client.send("POST", "/enrollments", {"mode": "update", "enrollments": [item]}, version=version)
    shown = client.send("GET", "/enrollments/a").body
    assert shown["provisioningStatus"] == "disabled"
    assert set(shown) & set(FULL) == set(FULL) - SEEN[version]


@pytest.mark.parametrize(
    ("version", "seen"),
    [
        ("2018-04-01", set()),
        ("2018-09-01-preview", {"substatus"}),
        ("2019-03-31", {"substatus", "payload"}),
        ("2021-10-01", {"substatus", "payload"}),
    ],
)
def test_a_version_shows_what_it_knows_of_a_registration(client, monkeypatch, version, seen):
    client.parts.enroll()
    state = {**client.parts.register().state, "payload": {"a": 1}}
    registrations = client.parts.registrations
    monkeypatch.setattr(registrations, "get", lambda _: state)
    monkeypatch.setattr(registrations, "state_of", lambda _: state)
    monkeypatch.setattr(registrations, "shown", lambda _: state)
    alone = client.send("GET", "/registrations/device-1", version=version).body
    inside = client.send("GET", "/enrollments/device-1", version=version).body["registrationState"]
    group = client.parts.enroll_group()
    client.parts.register("other", group)
    (listed,) = client.send("POST", "/registrations/group-1/query", version=version).body
    for shown in (alone, inside, listed):
        assert set(shown) & {"substatus", "payload"} == seen
        assert shown["status"] == "assigned"


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


# --- two shapes of errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("IotHubUnauthorizedAccess", {"token": ""}),
        ("IotHubUnauthorizedAccess", {"token": "expired"}),
        ("ArgumentInvalid", {"version": ""}),
        ("ArgumentInvalid", {"version": "2031-01-01"}),
        ("RouteNotFound", {"path": "/"}),
        ("MethodNotAllowed", {"method": "PATCH"}),
    ],
)
def test_what_stops_a_request_early_has_the_shape_of_a_hub_as_well(client, name, arguments):
    method, path = arguments.pop("method", "GET"), arguments.pop("path", "/enrollments/a")
    if arguments.get("token") == "expired":
        arguments["token"] = client.token(seconds=-5)
    body = client.send(method, path, **arguments).body
    assert body["Message"] == f"ErrorCode:{name};{body['message'].replace(';', ',')}"
    assert body["ExceptionMessage"].startswith(f"Tracking ID:{body['trackingId'].replace('-', '')}")
    assert body["code"] == body["errorCode"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/enrollments/a", None),
        ("PUT", "/enrollments/a", {}),
        ("PUT", "/enrollments/there", individual_body("there")),
        ("POST", "/enrollments", {}),
    ],
)
def test_what_an_operation_finds_has_the_shape_of_the_service_only(client, method, path, body):
    client.parts.enroll("there")
    answer = client.send(method, path, body)
    assert set(answer.body) == {"code", "errorCode", "trackingId", "message", "timestampUtc"}


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
