"""Both official Python clients of the service API go once through every operation that they offer."""

import asyncio
import base64
import inspect
import json
import shutil
import subprocess

import provisioningserviceclient as older
import pytest
from azure.core import MatchConditions
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.core.pipeline.transport import AsyncioRequestsTransport
from azure.iot.device import ProvisioningDeviceClient
from azure.iot.deviceprovisioning import DeviceProvisioningClient
from azure.iot.deviceprovisioning.aio import DeviceProvisioningClient as AsynchronousClient
from other_programs import skip
from patience import PATIENCE
from provisioningserviceclient.protocol.models import (
    AttestationMechanism,
    DeviceRegistrationState,
    ReprovisionPolicy,
    SymmetricKeyAttestation,
)
from sdk_clients import KEY, OTHER_KEY, derive

from helpers import certificates

KINDS = ["enrollment", "enrollment_group"]
ID_FIELDS = {"enrollment": "registrationId", "enrollment_group": "enrollmentGroupId"}
PLURALS = {"enrollment": "enrollments", "enrollment_group": "enrollmentGroups"}
EXISTS = {
    "enrollment": (409201, "Enrollment already exists."),
    "enrollment_group": (409202, "EnrollmentGroup already exists."),
}
MISSING = {"enrollment": 404201, "enrollment_group": 404202}


def symmetric_key(primary=KEY, secondary=OTHER_KEY):
    return {"type": "symmetricKey", "symmetricKey": {"primaryKey": primary, "secondaryKey": secondary}}


def register(sdk, registration_id, key):
    """Let a device register, with the official device SDK."""
    client = ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host=sdk.running.provisioning_host,
        id_scope=sdk.running.id_scope,
        registration_id=registration_id,
        symmetric_key=key,
        **sdk.device_options(),
    )
    return client.register()


# --- azure-iot-deviceprovisioning ---------------------------------------------------------------------------------


class Operations:
    """The operations on one kind of enrollments, and bodies for them."""

    def __init__(self, sdk, kind):
        self.kind = kind
        self.sdk = sdk
        self.client = sdk.service()
        self.operations = getattr(self.client, kind)
        self.id_field = ID_FIELDS[kind]

    def body(self, identifier, **fields):
        return {self.id_field: identifier, "attestation": symmetric_key(), **fields}

    def put(self, identifier, if_match=None, **fields):
        return self.operations.create_or_update(identifier, self.body(identifier, **fields), if_match=if_match)

    def bulk(self, mode, *items):
        return self.operations.run_bulk_operation({"mode": mode, PLURALS[self.kind]: list(items)})

    def all(self, **options):
        return [item[self.id_field] for item in self.operations.query({"query": "SELECT *"}, **options)]


@pytest.fixture(params=KINDS)
def operations(request, sdk):
    return Operations(sdk, request.param)


def test_the_newer_client_offers_what_is_tested_here():
    of_enrollments = {"get", "create_or_update", "delete", "query", "get_attestation_mechanism", "run_bulk_operation"}
    client = DeviceProvisioningClient.from_connection_string(
        f"HostName=none.test;SharedAccessKeyName=none;SharedAccessKey={KEY}"
    )
    offered = {
        name: {each for each, _ in inspect.getmembers(getattr(client, name), inspect.ismethod) if each[0] != "_"}
        for name in (*KINDS, "device_registration_state")
    }
    client.close()
    assert offered == {
        "enrollment": of_enrollments,
        "enrollment_group": of_enrollments,
        "device_registration_state": {"get", "delete", "query"},
    }


@pytest.mark.tried("Python SDKs", "enrollments")
def test_one_enrollment_from_beginning_to_end(operations):
    created = operations.put("One", initialTwin={"tags": {"floor": 3}}, provisioningStatus="enabled")
    assert created["attestation"] == symmetric_key()
    assert operations.operations.get_attestation_mechanism("one") == symmetric_key()
    shown = operations.operations.get("ONE")
    assert shown["attestation"] == {"type": "symmetricKey"}
    assert shown["initialTwin"] == {"tags": {"floor": 3}}
    assert shown["etag"] == created["etag"]
    # read, edited and written back
    shown["provisioningStatus"] = "disabled"
    updated = operations.operations.create_or_update("one", shown, if_match=shown["etag"])
    assert updated["provisioningStatus"] == "disabled"
    assert updated["etag"] != shown["etag"]
    assert operations.operations.get_attestation_mechanism("One") == symmetric_key()
    assert operations.all() == ["One"]
    assert operations.operations.delete("one", if_match=updated["etag"]) is None
    assert operations.all() == []


def test_what_is_refused(operations):
    etag = operations.put("a")["etag"]
    with pytest.raises(ResourceExistsError) as conflict:
        operations.put("a")
    code, text = EXISTS[operations.kind]
    assert conflict.value.error.code == code
    assert text in conflict.value.message
    operations.put("a", if_match=etag)
    for attempt in (
        lambda: operations.put("a", if_match=etag),
        lambda: operations.operations.delete("a", if_match=etag),
    ):
        with pytest.raises(HttpResponseError) as stale:
            attempt()
        assert stale.value.status_code == 412
    for attempt in (
        lambda: operations.operations.get("nobody"),
        lambda: operations.operations.delete("nobody"),
        lambda: operations.operations.get_attestation_mechanism("nobody"),
        lambda: operations.put("nobody", if_match="*"),
    ):
        with pytest.raises(ResourceNotFoundError) as missing:
            attempt()
        assert missing.value.error.code == MISSING[operations.kind]
    with pytest.raises(HttpResponseError) as wrong:
        operations.put("b", capabilities={"iotEdge": "yes"})
    assert wrong.value.status_code == 400
    assert "(400004) capabilities.iotEdge is 'yes'; it must be true or false." in wrong.value.message
    # what the service has is untouched
    assert operations.all() == ["a"]


def test_identifiers_with_every_character(operations):
    for identifier in ("a:b", "a.b_c-d", "UPPER-lower-1"):
        operations.put(identifier)
        assert operations.operations.get(identifier.swapcase())[operations.id_field] == identifier
        operations.operations.delete(identifier)
    with pytest.raises(HttpResponseError, match="must have 1 to 128 characters"):
        operations.put("a b/c")


@pytest.mark.parametrize("size", [None, 3, 7])
def test_pages(operations, size):
    names = [f"d-{number}" for number in range(7)]
    operations.bulk("create", *(operations.body(name) for name in names))
    assert operations.all(top=size) == names
    pages = [list(page) for page in operations.operations.query({"query": "select *"}, top=size).by_page()]
    assert all(pages)
    assert [len(page) for page in pages[:-1]] == [size] * (len(pages) - 1)


def test_a_token_of_another_list(sdk):
    groups, individuals = Operations(sdk, "enrollment_group"), Operations(sdk, "enrollment")
    for name in ("a", "b"):
        groups.put(name)
        individuals.put(name)
    pages = groups.operations.query({"query": "SELECT *"}, top=1).by_page()
    next(pages)
    with pytest.raises(HttpResponseError, match="x-ms-continuation is not a token of this list"):
        next(individuals.operations.query({"query": "SELECT *"}).by_page(pages.continuation_token))


def test_bulk_operations(operations):
    success = {"errors": [], "isSuccessful": True}
    assert operations.bulk("create", operations.body("a"), operations.body("b")) == success
    code, text = EXISTS[operations.kind]
    error = {operations.id_field: "a", "errorCode": code, "errorStatus": text}
    mixed = operations.bulk("create", operations.body("a"), operations.body("c"))
    assert mixed == {"errors": [error], "isSuccessful": False}
    assert operations.bulk("update", operations.body("a"))["errors"] == [error]
    read = [operations.operations.get(name) for name in ("a", "b")]
    for item in read:
        item["provisioningStatus"] = "disabled"
    assert operations.bulk("update", read[0]) == success
    assert operations.bulk("updateIfMatchETag", read[1]) == success
    again = operations.bulk("updateIfMatchETag", *read)
    assert [item["errorCode"] // 1000 for item in again["errors"]] == [412, 412]
    assert {operations.operations.get(name)["provisioningStatus"] for name in ("a", "b")} == {"disabled"}
    assert operations.operations.get_attestation_mechanism("a") == symmetric_key()
    assert operations.bulk("delete", *(operations.body(name) for name in ("a", "b", "c"))) == success
    gone = operations.bulk("delete", operations.body("a"))
    assert gone["errors"][0]["errorCode"] == MISSING[operations.kind]


def test_eleven_items(operations):
    with pytest.raises(HttpResponseError) as refused:
        operations.bulk("create", *(operations.body(f"d-{number}") for number in range(11)))
    assert refused.value.status_code == 400
    assert f"{PLURALS[operations.kind]} has 11 items; it must have 1 to 10" in refused.value.message
    assert operations.all() == []


def test_certificates_and_bulk(sdk):
    groups = Operations(sdk, "enrollment_group")
    root = certificates.create_root("Bulk test root")
    certificate = {"primary": {"certificate": root.certificate}}
    attestation = {"type": "x509", "x509": {"signingCertificates": certificate}}
    assert groups.bulk("create", groups.body("fleet", attestation=attestation))["isSuccessful"]
    shown = groups.operations.get("fleet")
    info = shown["attestation"]["x509"]["signingCertificates"]["primary"]
    assert set(info) == {"info"}
    assert groups.bulk("update", {**shown, "provisioningStatus": "disabled"})["isSuccessful"]
    again = groups.operations.get("fleet")
    assert (again["attestation"], again["provisioningStatus"]) == (shown["attestation"], "disabled")


def test_a_group_whose_certificate_is_deleted_can_still_be_disabled(sdk):
    groups = Operations(sdk, "enrollment_group")
    sdk.upload("contoso", certificates.create_root("Contoso root"))
    attestation = {"type": "x509", "x509": {"caReferences": {"primary": "contoso"}}}
    groups.put("fleet", attestation=attestation)
    service = {"resource_group_name": "any", "provisioning_service_name": sdk.running.service_host.partition(".")[0]}
    management = sdk.management().dps_certificate
    etag = management.get(certificate_name="contoso", **service).etag
    unchanged = MatchConditions.IfNotModified
    management.delete(certificate_name="contoso", etag=etag, match_condition=unchanged, **service)
    shown = groups.operations.get("fleet")
    assert shown["attestation"] == attestation
    shown["provisioningStatus"] = "disabled"
    assert groups.operations.create_or_update("fleet", shown, if_match=shown["etag"])["attestation"] == attestation
    with pytest.raises(HttpResponseError, match="uploaded: none"):
        groups.put("another", attestation=attestation)
    groups.operations.delete("fleet")


@pytest.mark.tried("Python SDKs", "registrations")
def test_registrations(sdk):
    client = sdk.service()
    states = client.device_registration_state
    sdk.enroll_group("fleet")
    with pytest.raises(ResourceNotFoundError):
        states.get("truck-1")
    assert list(states.query("fleet")) == []
    for name in ("truck-1", "truck-2"):
        assert register(sdk, name, derive(KEY, name)).status == "assigned"
    found = states.get("TRUCK-1")
    assert (found["registrationId"], found["assignedHub"], found["status"]) == ("truck-1", sdk.hub, "assigned")
    assert found["substatus"] == "initialAssignment"
    assert [item["registrationId"] for item in states.query("Fleet", top=1)] == ["truck-1", "truck-2"]
    with pytest.raises(HttpResponseError) as stale:
        states.delete("truck-1", if_match="c3RhbGU=")
    assert stale.value.status_code == 412
    assert states.delete("truck-1", if_match=found["etag"]) is None
    assert [item["registrationId"] for item in states.query("fleet")] == ["truck-2"]
    with pytest.raises(ResourceNotFoundError):
        states.query("nobody").next()


def test_who_may(sdk):
    strings = sdk.running.service_connection_string
    key = base64.b64encode(b"not the key of the policy").decode()
    host = sdk.running.service_host
    for connection_string in (
        f"HostName={host};SharedAccessKeyName=provisioningserviceowner;SharedAccessKey={key}",
        strings.replace("SharedAccessKeyName=", "SharedAccessKeyName=not-"),
    ):
        with pytest.raises(ClientAuthenticationError) as refused:
            sdk.service(connection_string).enrollment.get("a")
        assert refused.value.error.code == 401002
        assert refused.value.response.headers["x-ms-error-code"] == "401002"


# --- the same, asynchronous ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_asynchronous_client(sdk, kind):
    id_field, plural = ID_FIELDS[kind], PLURALS[kind]

    def body(identifier, **fields):
        return {id_field: identifier, "attestation": symmetric_key(), **fields}

    async def go_round():
        transport = AsyncioRequestsTransport(
            session=sdk.session(),
            session_owner=False,
            connection_verify=str(sdk.running.certificate_authority_file),
        )
        async with AsynchronousClient.from_connection_string(
            sdk.running.service_connection_string, transport=transport, retry_total=0
        ) as client:
            operations = getattr(client, kind)
            created = await operations.create_or_update("a", body("a"))
            with pytest.raises(ResourceExistsError):
                await operations.create_or_update("a", body("a"))
            changed = body("a", provisioningStatus="disabled")
            updated = await operations.create_or_update("a", changed, if_match=created["etag"])
            shown = await operations.get("A")
            assert (shown["etag"], shown["provisioningStatus"]) == (updated["etag"], "disabled")
            assert await operations.get_attestation_mechanism("a") == symmetric_key()
            made = await operations.run_bulk_operation({"mode": "create", plural: [body("b"), body("a")]})
            assert [error["errorCode"] for error in made["errors"]] == [EXISTS[kind][0]]
            found = [item[id_field] async for item in await operations.query({"query": "SELECT *"}, top=1)]
            assert found == ["a", "b"]
            await operations.delete("a", if_match=updated["etag"])
            states = client.device_registration_state
            for attempt in (operations.get("a"), states.get("a"), states.delete("a")):
                with pytest.raises(ResourceNotFoundError):
                    await attempt
            if kind == "enrollment_group":
                assert [item async for item in await states.query("b")] == []

    asyncio.run(go_round())


# --- the parser of the client for Node ----------------------------------------------------------------------------

TRANSLATE = """
const { RestApiClient } = require("azure-iot-http-base");
const [statusCode, body] = JSON.parse(require("fs").readFileSync(0));
const error = RestApiClient.translateError(body, { statusCode });
console.log(JSON.stringify([error.name, error.message]));
"""


@pytest.mark.clients
@pytest.mark.parametrize(
    ("path", "version", "error"),
    [
        ("/enrollments/a", "2021-10-01", ["UnauthorizedError", "Unauthorized"]),
        (
            "/enrollments/a",
            "2031-01-01",
            ["ArgumentError", "api-version '2031-01-01' is not supported by this simulator."],
        ),
        ("/enrollments", "2021-10-01", ["Error", "GET is not allowed on /enrollments, allowed: POST."]),
    ],
)
def test_the_client_for_node_finds_the_texts(sdk, repository, path, version, error):
    folder = repository / "tests" / "node"
    if shutil.which("node") is None:
        skip("Node.js is not installed")
    if not (folder / "node_modules" / "azure-iot-http-base").exists():
        skip("the packages for Node are not installed: run make test-clients")
    answer = sdk.session().get(
        f"https://{sdk.running.service_host}{path}",
        params={"api-version": version},
        verify=str(sdk.running.certificate_authority_file),
    )
    translated = subprocess.run(
        ["node", "-e", TRANSLATE],
        cwd=folder,
        input=json.dumps([answer.status_code, answer.text]),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert json.loads(translated.stdout) == error


# --- too many requests --------------------------------------------------------------------------------------------


def test_both_clients_meet_the_limit_of_the_service(client, sdk, unhurried_limits):
    """One hears of it, as its repetitions are switched off here; the other waits as it is told, and comes through."""
    sdk.enroll("one")
    newer = sdk.service()
    sdk.simulator.limits = "operations_per_minute=60"
    try:
        for _ in range(60):
            newer.enrollment.get("one")
        with pytest.raises(HttpResponseError) as refusal:
            newer.enrollment.get("one")
        assert (refusal.value.status_code, refusal.value.error.code) == (429, 429001)
        assert refusal.value.response.headers["Retry-After"] == "1"
        # the second that it was told to wait for has passed; somebody else is faster
        newer.enrollment.get("one")
        before = sdk.trace()[-1]["sequence"]
        assert client.get_individual_enrollment("one").registration_id == "one"
        answers = [event["status"] for event in sdk.trace() if event["sequence"] > before and event["status"]]
        assert answers == [429, 200]
    finally:
        sdk.simulator.limits = "off"


# --- azure-iothub-provisioningserviceclient -----------------------------------------------------------------------


@pytest.fixture
def client(sdk, monkeypatch):
    """The older client. It has no options of its own for a proxy and an authority; the environment has."""
    for name in ("NO_PROXY", "no_proxy", "https_proxy", "ALL_PROXY", "all_proxy", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", sdk.running.proxy_url)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(sdk.running.certificate_authority_file))
    return older.ProvisioningServiceClient.create_from_connection_string(sdk.running.service_connection_string)


def by_key(primary=KEY, secondary=OTHER_KEY):
    key = SymmetricKeyAttestation(primary_key=primary, secondary_key=secondary)
    return AttestationMechanism(type="symmetricKey", symmetric_key=key)


def individual(identifier="one", **fields):
    return older.IndividualEnrollment.create(identifier, fields.pop("attestation", None) or by_key(), **fields)


def group(identifier="fleet", **fields):
    return older.EnrollmentGroup.create(identifier, fields.pop("attestation", None) or by_key(), **fields)


def refused(attempt):
    with pytest.raises(older.ProvisioningServiceError) as caught:
        attempt()
    cause = caught.value.__cause__ or caught.value.cause
    return (str(caught.value), cause.error.error_code, cause.error.message)


def test_the_older_client_offers_what_is_tested_here():
    offered = {name for name, _ in inspect.getmembers(older.ProvisioningServiceClient, callable) if name[0] != "_"}
    assert offered == {
        "create_from_connection_string",
        "create_or_update",
        "get_individual_enrollment",
        "get_enrollment_group",
        "get_registration_state",
        "get_individual_enrollment_attestation_mechanism",
        "get_enrollment_group_attestation_mechanism",
        "delete",
        "delete_individual_enrollment_by_param",
        "delete_enrollment_group_by_param",
        "delete_registration_state_by_param",
        "run_bulk_operation",
        "create_individual_enrollment_query",
        "create_enrollment_group_query",
        "create_registration_state_query",
    }


def test_an_individual_enrollment_with_the_older_client(client, sdk):
    twin = older.models.InitialTwin.create(tags={"floor": 3}, desired_properties={"interval": 5})
    policy = ReprovisionPolicy(update_hub_assignment=True, migrate_device_data=False)
    created = client.create_or_update(
        individual(
            device_id="device-one",
            initial_twin=twin,
            reprovision_policy=policy,
            allocation_policy="static",
            iot_hubs=[sdk.hub],
            device_capabilities=older.models.DeviceCapabilities.create(iot_edge=True),
        )
    )
    assert created.attestation.symmetric_key.primary_key == KEY
    assert (created.allocation_policy, created.iot_hubs) == ("static", [sdk.hub])
    mechanism = client.get_individual_enrollment_attestation_mechanism("one")
    assert (mechanism.type, mechanism.symmetric_key.secondary_key) == ("symmetricKey", OTHER_KEY)
    shown = client.get_individual_enrollment("ONE")
    assert (shown.device_id, shown.registration_state.status) == ("device-one", "unassigned")
    assert (shown.initial_twin.tags, shown.initial_twin.desired_properties) == ({"floor": 3}, {"interval": 5})
    assert shown.reprovision_policy.migrate_device_data is False
    assert shown.capabilities.iot_edge is True
    # read, edited and written back; its etag goes along by itself
    shown.provisioning_status = "disabled"
    updated = client.create_or_update(shown)
    assert updated.provisioning_status == "disabled"
    assert client.get_individual_enrollment_attestation_mechanism("one").symmetric_key.primary_key == KEY
    assert refused(lambda: client.create_or_update(shown))[:2] == ("Service Error 412 - Precondition Failed", 412001)
    assert refused(lambda: client.delete(shown))[1] == 412001
    client.delete(updated)
    text, code, message = refused(lambda: client.get_individual_enrollment("one"))
    assert (text, code, message) == ("Service Error 404 - Not Found", 404201, "Enrollment not found.")


def test_what_the_older_client_does_not_know_survives_it(client, sdk):
    sdk.enroll("one", optionalDeviceInformation={"serial": "4711"})
    shown = client.get_individual_enrollment("one")
    assert not (shown.additional_properties or {}).get("optionalDeviceInformation")
    shown.provisioning_status = "disabled"
    client.create_or_update(shown)
    after = sdk.service().enrollment.get("one")
    assert (after["provisioningStatus"], after["optionalDeviceInformation"]) == ("disabled", {"serial": "4711"})


def test_a_group_with_the_older_client(client):
    created = client.create_or_update(group())
    assert created.attestation.symmetric_key.primary_key == KEY
    assert client.get_enrollment_group_attestation_mechanism("fleet").symmetric_key.primary_key == KEY
    shown = client.get_enrollment_group("fleet")
    assert shown.attestation.symmetric_key is None
    shown.provisioning_status = "disabled"
    updated = client.create_or_update(shown)
    assert refused(lambda: client.create_or_update(group())) == (
        "Service Error 409 - Conflict",
        *EXISTS["enrollment_group"],
    )
    assert refused(lambda: client.delete_enrollment_group_by_param("fleet", shown.etag))[1] == 412001
    client.delete_enrollment_group_by_param("fleet", updated.etag)
    assert refused(lambda: client.get_enrollment_group("fleet"))[1] == 404202
    client.delete(client.create_or_update(group("other")))


def test_certificates_and_keys_of_the_service_with_the_older_client(client):
    root = certificates.create_root("Older client root")
    signing = AttestationMechanism.create_with_x509_signing_certs(root.certificate)
    created = client.create_or_update(group("by-certificate", attestation=signing))
    info = created.attestation.x509.signing_certificates.primary.info
    assert (info.subject_name, info.version) == ("CN=Older client root", 3)
    # what was read has the info only, and is written back with it
    shown = client.get_enrollment_group("by-certificate")
    shown.provisioning_status = "disabled"
    assert client.create_or_update(shown).attestation.x509.signing_certificates.primary.info.version == 3
    made = client.create_or_update(individual("by-key", attestation=by_key(None, None)))
    assert made.attestation.symmetric_key.primary_key != made.attestation.symmetric_key.secondary_key


def test_bulk_operations_with_the_older_client(client):
    def bulk(mode, *items):
        result = client.run_bulk_operation(older.BulkEnrollmentOperation(mode, list(items)))
        errors = [(error.registration_id, error.error_code, error.error_status) for error in result.errors]
        assert result.is_successful == (not errors)
        return errors

    assert bulk(older.client.BULKOP_CREATE, individual("a"), individual("b")) == []
    assert bulk(older.client.BULKOP_UPDATE, individual("a")) == [("a", *EXISTS["enrollment"])]
    read = client.get_individual_enrollment("a")
    assert bulk(older.client.BULKOP_UPDATE_IF_MATCH_ETAG, read) == []
    assert bulk(older.client.BULKOP_UPDATE_IF_MATCH_ETAG, read)[0][1] == 412001
    assert bulk(older.client.BULKOP_DELETE, individual("a"), individual("b"), individual("c")) == [
        ("c", 404201, "Enrollment not found.")
    ]
    text, code, message = refused(
        lambda: bulk(older.client.BULKOP_CREATE, *(individual(f"d-{number}") for number in range(11)))
    )
    assert (text, code) == ("Service Error 400 - Bad Request", 400004)
    assert "enrollments has 11 items" in message


@pytest.mark.parametrize("size", [None, 2, 5])
def test_queries_with_the_older_client(client, size):
    names = [f"d-{number}" for number in range(5)]
    for name in names:
        client.create_or_update(individual(name))
        client.create_or_update(group(name))
    query = older.QuerySpecification("SELECT *")
    for pages, id_field in (
        (client.create_individual_enrollment_query(query, size), "registration_id"),
        (client.create_enrollment_group_query(query, size), "enrollment_group_id"),
    ):
        assert [getattr(item, id_field) for page in pages for item in page] == names
        assert not pages.has_next


def test_queries_for_nothing_with_the_older_client(client):
    assert list(client.create_individual_enrollment_query(older.QuerySpecification("SELECT * FROM enrollments"))) == []
    client.create_or_update(individual("truck"))
    # whatever the text says, the service lists everything
    (listed,) = client.create_individual_enrollment_query(older.QuerySpecification("DROP TABLE")).next()
    assert listed.registration_id == "truck"


def test_registrations_with_the_older_client(client, sdk):
    client.create_or_update(individual("truck"))
    assert refused(lambda: client.get_registration_state("truck"))[1] == 404203
    assert register(sdk, "truck", KEY).status == "assigned"
    state = client.get_registration_state("truck")
    assert isinstance(state, DeviceRegistrationState)
    assert (state.assigned_hub, state.substatus) == (sdk.hub, "initialAssignment")
    assert client.get_individual_enrollment("truck").registration_state.etag == state.etag
    assert refused(lambda: client.delete_registration_state_by_param("truck", "c3RhbGU="))[1] == 412001
    client.delete(state)
    assert client.get_individual_enrollment("truck").registration_state.status == "unassigned"
    client.delete_individual_enrollment_by_param("truck")
    # a mistake of the client, before it sends anything
    client.create_or_update(group())
    with pytest.raises(TypeError, match="raw"):
        client.create_registration_state_query("fleet").next()


def test_who_may_with_the_older_client(client, sdk):
    wrong = sdk.running.service_connection_string.replace("SharedAccessKeyName=", "SharedAccessKeyName=not-")
    stranger = older.ProvisioningServiceClient.create_from_connection_string(wrong)
    text, code, message = refused(lambda: stranger.get_individual_enrollment("a"))
    assert (text, code, message) == ("Service Error 401 - Unauthorized", 401002, "Unauthorized")
