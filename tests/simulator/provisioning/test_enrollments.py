import base64

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from provisioning_parts import PRIMARY_KEY, SECONDARY_KEY, Provisioning, group_body, individual_body, symmetric_key
from tpm_parts import PaperTpm

from dps_simulator.errors.table import Dps, ServiceError
from dps_simulator.provisioning.enrollments.book import ReprovisionPolicy
from dps_simulator.provisioning.enrollments.fields import FIELDS
from dps_simulator.provisioning.enrollments.kinds import GROUP, INDIVIDUAL

HUB = "hub-1.azure-devices.test"
NO_DESIRED = {"properties": {"desired": None}}
TWIN = {"tags": {"room": 5}, "properties": {"desired": {"interval": 3, "nested": {"a": [1, None]}}}}
CUSTOM = {"webhookUrl": "https://example.test/allocate", "apiVersion": "2019-03-31"}


def key_texts(enrollment):
    return tuple(key.text for key in enrollment.keys)


def fails(call, kind, text=""):
    with pytest.raises(ServiceError) as error:
        call()
    assert error.value.kind is kind
    assert text in error.value.message
    return error.value


def test_a_new_enrollment_shows_what_was_sent_and_no_defaults(provisioning):
    nulls = dict.fromkeys(set(FIELDS) - {"registrationId", "attestation", "provisioningStatus"})
    enrollment = provisioning.enroll(provisioningStatus=None, **nulls)
    shown = enrollment.to_json(with_keys=True)
    assert list(shown) == [
        "registrationId",
        "attestation",
        "etag",
        "provisioningStatus",
        "createdDateTimeUtc",
        "lastUpdatedDateTimeUtc",
    ]
    assert shown["provisioningStatus"] is None
    assert shown["createdDateTimeUtc"] == shown["lastUpdatedDateTimeUtc"] == "2026-01-01T00:00:00Z"
    assert not enrollment.is_disabled


def test_an_absent_status_is_the_default_of_the_api_description(provisioning):
    assert provisioning.enroll().document["provisioningStatus"] == "enabled"


def test_an_initial_twin_comes_back_as_it_was_sent(provisioning):
    for number, twin in enumerate([{}, {"tags": None}, NO_DESIRED, TWIN]):
        assert provisioning.enroll(f"d-{number}", initialTwin=twin).to_json()["initialTwin"] == twin


def test_all_fields_in_the_order_of_the_answers(provisioning):
    enrollment = provisioning.enroll(
        customAllocationDefinition=CUSTOM,
        iotHubs=[HUB],
        allocationPolicy="Custom",
        reprovisionPolicy={"migrateDeviceData": False, "updateHubAssignment": True},
        provisioningStatus="Disabled",
        initialTwin=TWIN,
        capabilities={"iotEdge": True},
        optionalDeviceInformation={"any": "thing"},
        deviceId="Dev@1",
    )
    shown = enrollment.to_json(registration_state={"status": "unassigned"})
    assert list(shown) == [n for n in FIELDS if n not in ("enrollmentGroupId", "iotHubHostName")]
    assert shown["attestation"] == {"type": "symmetricKey"}
    assert shown["allocationPolicy"] == "custom"
    assert shown["provisioningStatus"] == "disabled"
    assert list(shown["reprovisionPolicy"]) == ["updateHubAssignment", "migrateDeviceData"]
    assert shown["initialTwin"] == TWIN
    assert (enrollment.device_id, enrollment.is_iot_edge, enrollment.hub_hosts) == ("Dev@1", True, (HUB,))
    assert enrollment.reprovision_policy == ReprovisionPolicy(True, False)
    assert enrollment.is_disabled
    assert PRIMARY_KEY not in repr(enrollment)


def test_fields_of_individuals_do_not_exist_in_groups(provisioning):
    group = provisioning.enroll_group(deviceId="d", optionalDeviceInformation={"a": 1}, iotHubHostName=HUB)
    assert "deviceId" not in group.document
    assert "optionalDeviceInformation" not in group.document
    assert group.hub_hosts == (HUB,)


@pytest.mark.parametrize(
    "attestation",
    [
        {"type": "symmetricKey"},
        {"type": "SymmetricKey", "symmetricKey": None},
        symmetric_key(None, None),
        symmetric_key("", ""),
        {"type": "symmetricKey", "symmetricKey": {}, "x509": None, "tpm": None},
    ],
)
def test_keys_are_made_when_none_are_given(provisioning, attestation):
    first = key_texts(provisioning.enroll("a", attestation=attestation))
    second = key_texts(provisioning.enroll("b", attestation=attestation))
    assert len({*first, *second}) == 4
    assert {len(base64.b64decode(key)) for key in first} == {64}


def test_an_update_keeps_the_keys_that_it_does_not_give(provisioning):
    provisioning.enroll()
    assert key_texts(provisioning.enroll(if_match="*", attestation={"type": "symmetricKey"})) == (
        PRIMARY_KEY,
        SECONDARY_KEY,
    )
    new = base64.b64encode(b"x" * 16).decode()
    updated = provisioning.enroll(
        if_match="*", attestation={"type": "symmetricKey", "symmetricKey": {"primaryKey": new}}
    )
    assert key_texts(updated) == (new, SECONDARY_KEY)
    assert updated.attestation_mechanism() == symmetric_key(new, SECONDARY_KEY)


@pytest.mark.parametrize("size", [16, 36, 64])
def test_key_sizes(provisioning, size):
    key = base64.b64encode(bytes(size)).decode()
    assert key_texts(provisioning.enroll(attestation=symmetric_key(key, key))) == (key, key)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (base64.b64encode(bytes(15)).decode(), "has 15 bytes; it must have 16 to 64"),
        (base64.b64encode(bytes(65)).decode(), "has 65 bytes"),
        ("secret/key", "primaryKey is not base64"),
        ("schlüssel", "is not base64"),
        (5, "is not base64"),
    ],
)
def test_wrong_keys_are_not_repeated(provisioning, key, text):
    error = fails(lambda: provisioning.enroll(attestation=symmetric_key(key)), Dps.INVALID_BODY, text)
    assert str(key) not in error.message or key == 5


def test_times_and_tags_over_an_update(provisioning):
    created = provisioning.enroll().document
    provisioning.clock.advance(1.25)
    updated = provisioning.enroll(if_match=created["etag"]).document
    assert updated["createdDateTimeUtc"] == created["createdDateTimeUtc"]
    assert updated["lastUpdatedDateTimeUtc"] == "2026-01-01T00:00:01.25Z"
    assert updated["etag"] != created["etag"]
    assert provisioning.individuals.get("device-1").document == updated


def test_what_was_read_can_be_written_back(provisioning):
    provisioning.enroll(initialTwin=TWIN, reprovisionPolicy={}, allocationPolicy="static", iotHubs=[HUB])
    provisioning.register()
    shown = provisioning.service.show_enrollment(INDIVIDUAL, "device-1")
    assert shown["registrationState"]["status"] == "assigned"
    written = provisioning.individuals.put("device-1", shown, shown["etag"])
    assert key_texts(written) == (PRIMARY_KEY, SECONDARY_KEY)
    again = provisioning.service.show_enrollment(INDIVIDUAL, "device-1")
    assert {**again, "etag": ""} == {**shown, "etag": ""}


@pytest.mark.parametrize("kind", [INDIVIDUAL, GROUP])
def test_preconditions(provisioning, kind):
    book = provisioning.service.enrollments.of(kind)
    body = individual_body("x") if kind is INDIVIDUAL else group_body("x")
    error = fails(lambda: book.put("x", body, "*"), kind.not_found)
    assert "there is no 'x'" in error.reason
    etag = book.put("x", body).document["etag"]
    error = fails(lambda: book.put("X", body), kind.exists)
    assert "needs If-Match" in error.reason
    book.put("x", body, f'W/"{etag}"')
    fails(lambda: book.put("x", body, etag), Dps.PRECONDITION_FAILED, "If-Match")
    fails(lambda: book.delete("x", etag), Dps.PRECONDITION_FAILED)
    book.delete("X")
    fails(lambda: book.get("x"), kind.not_found)
    fails(lambda: book.delete("x"), kind.not_found)


def test_identifiers_ignore_case_but_keep_their_spelling(provisioning):
    provisioning.enroll("Device-A")
    assert provisioning.individuals.get("dEVICE-a").identifier == "Device-A"
    assert provisioning.individuals.put("device-a", individual_body("DEVICE-A"), "*").identifier == "DEVICE-A"
    assert provisioning.individuals.count() == 1


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"registrationId": None}, "registrationId is missing"),
        ({"registrationId": "other"}, "must agree"),
        ({"registrationId": "no spaces"}, "registrationId is 'no spaces'"),
        ({"attestation": None}, "attestation is missing"),
        ({"attestation": []}, "attestation is an array; it must be a JSON object"),
        ({"attestation": {}}, "attestation.type is None"),
        ({"attestation": {"type": "password"}}, "attestation.type is 'password'; it must be one of symmetricKey"),
        ({"attestation": {"type": 5}}, "attestation.type is 5"),
        ({"attestation": {"type": "symmetricKey", "symmetricKey": "k"}}, "attestation.symmetricKey is a text"),
        ({"attestation": {"type": "symmetricKey", "x509": {}}}, "must not contain 'x509'"),
        ({"deviceId": "a b"}, "deviceId is 'a b'"),
        ({"deviceId": 7}, "deviceId is 7"),
        ({"optionalDeviceInformation": "x"}, "optionalDeviceInformation is a text"),
        ({"capabilities": {"iotEdge": "yes"}}, "capabilities.iotEdge is 'yes'; it must be true or false"),
        ({"iotHubHostName": "no.azure-devices.test"}, f"linked to the provisioning service (linked: {HUB})"),
        ({"iotHubHostName": ""}, "iotHubHostName is ''"),
        ({"iotHubs": [HUB]}, "allocationPolicy must be given together with iotHubs"),
        ({"iotHubs": HUB, "allocationPolicy": "hashed"}, "a list of host names"),
        ({"iotHubs": ["x"], "allocationPolicy": "hashed"}, "iotHubs[0] is 'x'"),
        ({"iotHubs": [HUB, HUB.upper()], "allocationPolicy": "hashed"}, "without repetitions"),
        ({"iotHubs": [HUB], "iotHubHostName": HUB, "allocationPolicy": "hashed"}, "exclude each other"),
        ({"initialTwin": 1}, "initialTwin is 1"),
        ({"initialTwin": {"tags": 1}}, "initialTwin.tags is 1"),
        ({"initialTwin": {"properties": 1}}, "initialTwin.properties is 1"),
        ({"initialTwin": {"properties": {"desired": 1}}}, "initialTwin.properties.desired is 1"),
        ({"provisioningStatus": "on"}, "provisioningStatus is 'on'; it must be one of enabled, disabled"),
        ({"reprovisionPolicy": {"migrateDeviceData": 1}}, "reprovisionPolicy.migrateDeviceData is 1"),
        ({"allocationPolicy": "random"}, "one of hashed, geoLatency, static, custom"),
        ({"allocationPolicy": "custom"}, "customAllocationDefinition is missing"),
        ({"customAllocationDefinition": {"webhookUrl": "u"}}, "customAllocationDefinition.apiVersion is None"),
        ({"customAllocationDefinition": {"webhookUrl": "u" * 3000}}, "1 to 2048 characters"),
    ],
)
def test_wrong_fields_are_named_with_their_value(provisioning, fields, text):
    fails(lambda: provisioning.enroll(**fields), Dps.INVALID_BODY, text)
    assert provisioning.individuals.count() == 0


def test_static_needs_one_hub():
    parts = Provisioning(hubs=["a.test", "b.test"])
    fails(
        lambda: parts.enroll(allocationPolicy="static", iotHubs=["a.test", "b.test"]),
        Dps.INVALID_BODY,
        "must be one hub",
    )
    assert parts.enroll(allocationPolicy="static", iotHubs=[]).hub_hosts == ()
    parts.store.close()


def test_without_linked_hubs_the_error_says_so():
    parts = Provisioning(hubs=[])
    fails(lambda: parts.enroll(iotHubHostName="a.test"), Dps.INVALID_BODY, "linked: none")
    parts.store.close()


@pytest.mark.parametrize("value", [None, [], "text", 5, True])
def test_a_body_that_is_no_object(provisioning, value):
    fails(lambda: provisioning.individuals.put("a", value), Dps.INVALID_BODY, "individual enrollment")


def test_an_address_that_is_no_identifier(provisioning):
    fails(lambda: provisioning.enroll("a b"), Dps.INVALID_BODY, "registrationId is 'a b'")
    fails(lambda: provisioning.enroll_group("a/b"), Dps.INVALID_BODY, "enrollmentGroupId is 'a/b'")


def test_other_attestation_types_are_said_to_be_unsupported(provisioning):
    text = "not supported by this simulator"
    fails(lambda: provisioning.enroll(attestation={"type": "none", "none": {}}), Dps.NOT_SUPPORTED, text)


def test_groups_know_no_tpm_attestation(provisioning):
    fails(lambda: provisioning.enroll_group(attestation={"type": "tpm"}), Dps.INVALID_BODY, "no TPM attestation")
    body = PaperTpm().attestation()
    fails(lambda: provisioning.enroll_group(attestation=body), Dps.INVALID_BODY, "no TPM attestation")


def test_every_answer_shows_the_public_keys_of_a_tpm(provisioning):
    body = PaperTpm().attestation()
    enrollment = provisioning.enroll(attestation=body)
    assert (enrollment.attestation_type, enrollment.is_for_tpm) == ("tpm", True)
    assert enrollment.endorsement_key == body["tpm"]["endorsementKey"]
    for shown in (enrollment.to_json(with_keys=True), enrollment.to_json()):
        assert shown["attestation"] == body
    assert enrollment.attestation_mechanism() == body
    (listed,) = provisioning.individuals.query("SELECT *").documents
    assert provisioning.individuals.shown(listed)["attestation"] == body
    # what was read can be written back, and some clients write every field
    again = {**body, "symmetricKey": None, "x509": None, "tpm": {**body["tpm"], "storageRootKey": None}}
    assert provisioning.enroll(if_match="*", attestation=again).to_json()["attestation"] == body


def test_a_storage_root_key_is_checked_and_comes_back(provisioning):
    tpm = PaperTpm()
    body = {"type": "tpm", "tpm": tpm.keys()}
    assert provisioning.enroll(attestation=body).to_json()["attestation"] == body
    wrong = {"type": "tpm", "tpm": tpm.keys(storageRootKey=tpm.keys()["endorsementKey"])}
    text = "attestation.tpm.storageRootKey is an endorsement key"
    fails(lambda: provisioning.enroll("other", attestation=wrong), Dps.INVALID_BODY, text)


@pytest.mark.parametrize(
    ("mechanism", "text"),
    [
        ({}, "attestation.tpm.endorsementKey is missing"),
        ({"tpm": None}, "attestation.tpm.endorsementKey is missing"),
        ({"tpm": {}}, "attestation.tpm.endorsementKey is missing"),
        ({"tpm": "AToA"}, "attestation.tpm is a text; it must be a JSON object"),
        ({"tpm": {"endorsementKey": "AToA"}}, "attestation.tpm.endorsementKey has 3 bytes"),
        ({"tpm": PaperTpm().keys(), "symmetricKey": {}}, "must not contain 'symmetricKey'"),
    ],
)
def test_wrong_tpm_attestations(provisioning, mechanism, text):
    fails(lambda: provisioning.enroll(attestation={"type": "tpm", **mechanism}), Dps.INVALID_BODY, text)


def test_an_enrollment_is_found_by_its_tpm(provisioning):
    first, second = PaperTpm(), PaperTpm(endorsement_number=1)
    provisioning.enroll("a", attestation=first.attestation())
    provisioning.enroll("b", attestation=first.attestation())
    individuals = provisioning.individuals
    key, other = (tpm.keys()["endorsementKey"] for tpm in (first, second))
    assert individuals.with_endorsement_key(key).identifier == "a"
    assert individuals.with_endorsement_key(other) is None
    provisioning.enroll("a", if_match="*", attestation=second.attestation())
    assert individuals.with_endorsement_key(key).identifier == "b"
    assert individuals.with_endorsement_key(other).identifier == "a"
    individuals.delete("b")
    assert individuals.with_endorsement_key(key) is None
    assert provisioning.enroll("c").endorsement_key == ""


def test_queries(provisioning):
    for number in range(5):
        provisioning.enroll(f"d-{number}")
    provisioning.enroll_group("g")
    page = provisioning.individuals.query("SELECT *", size=3)
    rest = provisioning.individuals.query("select * from ENROLLMENTS ;", size=3, continuation=page.continuation)
    shown = [provisioning.individuals.shown(document) for document in (*page.documents, *rest.documents)]
    assert [item["registrationId"] for item in shown] == [f"d-{number}" for number in range(5)]
    assert all(item["attestation"] == {"type": "symmetricKey"} for item in shown)
    assert rest.continuation is None
    assert len(provisioning.groups.query("SELECT * FROM enrollmentGroups").documents) == 1
    wrong = page.continuation
    fails(lambda: provisioning.groups.query("SELECT *", continuation=wrong), Dps.INVALID_BODY, "x-ms-continuation")


def test_a_page_ends_when_it_is_large_enough(provisioning):
    large = {"a": "x" * 500_000}
    for number in range(12):
        provisioning.enroll(f"device-{number}", optionalDeviceInformation=large if number != 3 else {})
    book, pages, token = provisioning.individuals, [], None
    while token is not None or not pages:
        page = book.query("*", size=100, continuation=token)
        pages.append([stored.key for stored in page.documents])
        token = page.continuation
    assert [key for page in pages for key in page] == [f"device-{number}" for number in range(12)]
    assert [len(page) for page in pages] == [10, 2]


@pytest.mark.parametrize("query", [None, 5, [], {"query": "SELECT *"}])
def test_wrong_queries(provisioning, query):
    fails(lambda: provisioning.individuals.query(query), Dps.INVALID_BODY)


@pytest.mark.parametrize(
    "query",
    [
        *("*", "", "DELETE", "SELECT * FROM devices", "select registrationId from enrollments"),
        "SELECT * FROM enrollments WHERE registrationId = 'a'",
        "{'additional_properties': {}, 'query': 'SELECT *'}",
    ],
)
def test_a_query_lists_everything_whatever_it_says(provisioning, query):
    provisioning.enroll("a")
    provisioning.enroll("b")
    provisioning.enroll_group("g")
    assert len(provisioning.individuals.query(query).documents) == 2
    assert len(provisioning.groups.query(query).documents) == 1


def test_all_goes_through_every_page(provisioning, monkeypatch):
    monkeypatch.setattr("dps_simulator.provisioning.enrollments.book.MAX_PAGE_SIZE", 2)
    for number in range(4):
        provisioning.enroll_group(f"g-{number}")
    assert [group.identifier for group in provisioning.groups.all()] == ["g-0", "g-1", "g-2", "g-3"]


def test_a_failing_write_changes_nothing(provisioning):
    provisioning.enroll()
    before = provisioning.individuals.get("device-1").document
    fails(lambda: provisioning.enroll(if_match="*", capabilities=[1]), Dps.INVALID_BODY)
    assert provisioning.individuals.get("device-1").document == before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)
PLAUSIBLE = st.sampled_from(
    [
        True,
        "hashed",
        "static",
        "custom",
        "disabled",
        [HUB],
        HUB,
        {"iotEdge": True},
        CUSTOM,
        TWIN,
        "a-1",
        symmetric_key(),
    ]
)
BODIES = st.builds(
    lambda base, fields: {**base, **fields},
    st.sampled_from([individual_body(), group_body()]),
    st.dictionaries(st.sampled_from(list(FIELDS)), JSON | PLAUSIBLE, max_size=4),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=JSON | BODIES, if_match=st.none() | st.just("*"), kind=st.sampled_from([INDIVIDUAL, GROUP]))
def test_any_json_is_stored_or_refused(provisioning, body, if_match, kind):
    book = provisioning.service.enrollments.of(kind)
    book.clear()
    if if_match:
        book.put("device-1", {kind.id_field: "device-1", "attestation": symmetric_key()})
    try:
        enrollment = book.put("device-1", body, if_match)
    except ServiceError:
        return
    assert book.get("device-1").document == enrollment.document
    shown = provisioning.service.show_enrollment(kind, "device-1")
    assert all(value is not None for name, value in shown.items() if name != "provisioningStatus")
    # whatever is stored can register
    state = provisioning.register("device-1", enrollment).state
    assert {"registrationId", "status", "etag"} <= set(state)


CONNECTION_STRING = f"HostName={HUB};SharedAccessKeyName=iothubowner;SharedAccessKey={PRIMARY_KEY}"


@pytest.mark.parametrize(
    "fields",
    [
        {"attestation": PRIMARY_KEY},
        {"attestation": [{"symmetricKey": {"primaryKey": PRIMARY_KEY}}]},
        {"attestation": {"type": "symmetricKey", "symmetricKey": PRIMARY_KEY}},
        {"attestation": {"type": {"primaryKey": PRIMARY_KEY}}},
        {"attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": [PRIMARY_KEY]}}},
        {"allocationPolicy": "static", "iotHubs": [CONNECTION_STRING]},
        {"allocationPolicy": "static", "iotHubs": CONNECTION_STRING},
        {"iotHubHostName": CONNECTION_STRING},
    ],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(provisioning, fields):
    error = fails(lambda: provisioning.enroll(**fields), Dps.INVALID_BODY)
    assert PRIMARY_KEY[:20] not in error.message
    assert "must" in error.message or "is not" in error.message


@pytest.mark.parametrize("key", ["QUJDREVGR0hJSktMTU5PUA=", "QUJDREVGR0hJSktMTU5PUA===", "QUJDREVGR0hJSktMTU5PU===="])
def test_wrong_padding_is_refused_by_every_python(provisioning, key):
    fails(lambda: provisioning.enroll(attestation=symmetric_key(key)), Dps.INVALID_BODY, "primaryKey is not base64")
