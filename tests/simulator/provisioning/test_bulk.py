import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from provisioning_parts import group_body, individual_body, symmetric_key

from dps_simulator.errors.table import Dps, ServiceError
from dps_simulator.provisioning.enrollments.bulk import MAX_ITEMS, run_bulk
from dps_simulator.provisioning.enrollments.kinds import GROUP, INDIVIDUAL

MAKE = {INDIVIDUAL: individual_body, GROUP: group_body}


@pytest.fixture(params=[INDIVIDUAL, GROUP], ids=lambda kind: kind.name)
def bulk(request, provisioning):
    return Bulk(provisioning, request.param)


class Bulk:
    """Runs bulk operations on one kind of enrollments."""

    def __init__(self, parts, kind):
        self.kind = kind
        self.book = parts.service.enrollments.of(kind)
        self.parts = parts

    def make(self, identifier, **fields):
        return MAKE[self.kind](identifier, **fields)

    def put(self, identifier, **fields):
        return self.book.put(identifier, self.make(identifier, **fields)).document["etag"]

    def run(self, mode, *items):
        return run_bulk(self.book, {"mode": mode, self.kind.plural: list(items)})

    def errors(self, mode, *items):
        result = self.run(mode, *items).to_json()
        assert result["isSuccessful"] == (not result["errors"])
        return [(error[self.kind.id_field], error["errorCode"], error["errorStatus"]) for error in result["errors"]]

    def refused(self, body):
        before = self.identifiers()
        with pytest.raises(ServiceError) as caught:
            run_bulk(self.book, body)
        assert caught.value.kind is Dps.INVALID_BODY
        assert self.identifiers() == before
        return caught.value.message

    def identifiers(self):
        return [enrollment.identifier for enrollment in self.book.all()]

    @property
    def exists(self):
        return (self.kind.exists.code, self.kind.exists.message)

    @property
    def missing(self):
        return (self.kind.not_found.code, self.kind.not_found.message)


def test_codes_and_texts_of_conflicts_are_the_recorded_ones():
    assert (INDIVIDUAL.exists.code, INDIVIDUAL.exists.message) == (409201, "Enrollment already exists.")
    assert (GROUP.exists.code, GROUP.exists.message) == (409202, "EnrollmentGroup already exists.")
    assert (INDIVIDUAL.not_found.code, GROUP.not_found.code) == (404201, 404202)


def test_create(bulk):
    bulk.put("old")
    assert bulk.errors("create", bulk.make("a"), bulk.make("OLD"), bulk.make("b")) == [("OLD", *bulk.exists)]
    assert bulk.identifiers() == ["old", "a", "b"]


def test_create_ignores_the_etag_of_what_was_read_elsewhere(bulk):
    assert bulk.errors("create", bulk.make("a", etag="IjEi")) == []
    assert bulk.book.get("a").document["etag"] != "IjEi"


def test_update_without_an_etag_is_a_conflict(bulk):
    """Recorded, for both kinds."""
    bulk.put("a")
    for etag in ({}, {"etag": None}, {"etag": ""}):
        assert bulk.errors("update", bulk.make("a", provisioningStatus="disabled", **etag)) == [("a", *bulk.exists)]
    assert not bulk.book.get("a").is_disabled


def test_update(bulk):
    etags = {name: bulk.put(name) for name in ("a", "b", "c")}
    bulk.parts.clock.advance(1)
    items = [
        bulk.make("a", provisioningStatus="disabled", etag=etags["a"]),
        bulk.make("b", provisioningStatus="disabled", etag=etags["a"]),
        bulk.make("c", provisioningStatus="disabled", etag="*"),
        bulk.make("d", etag="*"),
        bulk.make("e"),
    ]
    stale, *missing = bulk.errors("update", *items)
    assert stale[:2] == ("b", Dps.PRECONDITION_FAILED.code)
    assert "Read it again and retry" in stale[2]
    assert missing == [("d", *bulk.missing), ("e", *bulk.missing)]
    assert [bulk.book.get(name).is_disabled for name in "abc"] == [True, False, True]
    assert bulk.identifiers() == ["a", "b", "c"]
    assert bulk.book.get("a").document["etag"] != etags["a"]


@pytest.mark.parametrize("mode", ["updateIfMatchETag", "updateIfMatchEtag", "UPDATEIFMATCHETAG"])
def test_update_if_match(bulk, mode):
    etag = bulk.put("a")
    bulk.put("b")
    assert bulk.errors(mode, bulk.make("b"), bulk.make("a", provisioningStatus="disabled", etag=etag)) == [
        ("b", 400004, "etag is missing; updateIfMatchETag compares it.")
    ]
    assert bulk.book.get("a").is_disabled
    assert bulk.errors(mode, bulk.make("a", etag=etag))[0][1] == Dps.PRECONDITION_FAILED.code


def test_delete(bulk):
    etags = {name: bulk.put(name) for name in ("a", "b", "c", "d")}
    stale, missing = bulk.errors(
        "Delete",
        bulk.make("a"),
        {bulk.kind.id_field: "B", "etag": etags["b"]},
        {bulk.kind.id_field: "c", "etag": etags["b"]},
        {bulk.kind.id_field: "x"},
        {bulk.kind.id_field: "d", "etag": "*"},
    )
    assert stale[:2] == ("c", Dps.PRECONDITION_FAILED.code)
    assert missing == ("x", *bulk.missing)
    assert bulk.identifiers() == ["c"]


def test_the_same_enrollment_several_times(bulk):
    """As if the items came one by one."""
    assert bulk.errors("create", bulk.make("a"), bulk.make("A"), bulk.make("b")) == [("A", *bulk.exists)]
    etag = bulk.book.get("a").document["etag"]
    twice = [bulk.make("a", provisioningStatus=status, etag=etag) for status in ("disabled", "enabled")]
    assert [error[:2] for error in bulk.errors("updateIfMatchETag", *twice)] == [("a", Dps.PRECONDITION_FAILED.code)]
    assert bulk.book.get("a").is_disabled
    assert bulk.errors("delete", bulk.make("a"), bulk.make("a")) == [("a", *bulk.missing)]
    assert bulk.identifiers() == ["b"]


def test_a_wrong_field_of_one_item_leaves_the_others_alone(bulk):
    items = [
        bulk.make("a"),
        bulk.make("b", capabilities={"iotEdge": "yes"}),
        {bulk.kind.id_field: "c"},
        bulk.make("d e"),
        bulk.make("e", etag=5),
        bulk.make("f", attestation={"type": "none"}),
        bulk.make("g", iotHubs=["nowhere.test"], allocationPolicy="static"),
        bulk.make("h"),
    ]
    found = bulk.errors("create", *items)
    assert [(identifier, code) for identifier, code, _ in found] == [
        ("b", 400004),
        ("c", 400004),
        ("d e", 400004),
        ("f", Dps.NOT_SUPPORTED.code),
        ("g", 400004),
    ]
    texts = [text for *_, text in found]
    assert texts[0] == "capabilities.iotEdge is 'yes'; it must be true or false."
    assert texts[1] == "attestation is missing."
    assert f"{bulk.kind.id_field} is 'd e'" in texts[2]
    assert "iotHubs[0] is 'nowhere.test'" in texts[4]
    assert bulk.identifiers() == ["a", "e", "h"]
    assert bulk.errors("update", bulk.make("e", etag=5))[0][1:] == (
        400004,
        "etag is 5; it must be a text of 1 to 2048 characters.",
    )


def test_an_update_with_a_wrong_field_changes_nothing(bulk):
    etag = bulk.put("a")
    before = bulk.book.get("a").document
    assert bulk.errors("update", bulk.make("a", etag=etag, capabilities=5))[0][1] == 400004
    assert bulk.book.get("a").document == before


def test_a_limit_that_is_reached_in_the_middle(bulk):
    def refuse_the_third(_):
        if bulk.book.count() == 2:
            raise ServiceError(Dps.LIMIT_REACHED, "two are enough")

    bulk.book.when_created(refuse_the_third)
    found = bulk.errors("create", bulk.make("a"), bulk.make("b"), bulk.make("c"), bulk.make("B"))
    assert found == [("c", Dps.LIMIT_REACHED.code, "two are enough"), ("B", *bulk.exists)]
    assert bulk.identifiers() == ["a", "b"]


def test_identifiers_that_fit_nothing_do_not_come_back_at_full_length(bulk):
    ((identifier, code, _),) = bulk.errors("delete", {bulk.kind.id_field: "x" * 100_000})
    assert (identifier, code) == ("x" * 129, bulk.kind.not_found.code)


def test_keys_are_not_in_the_errors(bulk):
    key = "a/secret+key/that+is+not+base64"
    (error,) = bulk.errors("create", bulk.make("a", attestation=symmetric_key(key)))
    assert "not base64" in error[2]
    assert key not in str(error)


def test_the_reasons_are_told_apart_from_the_answer(bulk):
    bulk.put("a")
    result = bulk.run("update", bulk.make("a"), bulk.make("b", etag="*", capabilities=1), bulk.make("c", etag="*"))
    assert set(result.reasons()) == {"a", "b", "c"}
    assert result.reasons()["a"] == "an update of 'a' needs If-Match with its etag or *"
    assert bulk.run("create", bulk.make("z", capabilities=1)).reasons() == {}


@pytest.mark.parametrize("count", [0, MAX_ITEMS + 1, 500])
def test_too_few_or_too_many_items(bulk, count):
    items = [bulk.make(f"d-{number}") for number in range(count)]
    text = bulk.refused({"mode": "create", bulk.kind.plural: items})
    assert text == f"{bulk.kind.plural} has {count} items; it must have 1 to 10. Split it into several requests."
    assert bulk.errors("create", *(bulk.make(f"d-{number}") for number in range(MAX_ITEMS))) == []


@pytest.mark.parametrize("body", [None, [], "create", 5])
def test_a_body_that_is_no_object(bulk, body):
    assert f"mode and {bulk.kind.plural}" in bulk.refused(body)


@pytest.mark.parametrize("mode", [None, "", "upsert", 5, ["create"]])
def test_other_modes(bulk, mode):
    text = bulk.refused({"mode": mode, bulk.kind.plural: [bulk.make("a")]})
    assert "it must be one of create, update, updateIfMatchETag, delete" in text


def test_items_of_the_other_kind(bulk):
    other = GROUP if bulk.kind is INDIVIDUAL else INDIVIDUAL
    text = bulk.refused({"mode": "create", other.plural: [MAKE[other]("a")]})
    assert text == f"{bulk.kind.plural} is None; it must be an array."


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (None, "[1] is None; it must be a JSON object."),
        ([], "[1] is an array; it must be a JSON object."),
        ("b", "[1] is a text; it must be a JSON object."),
        ({}, "Id is None; it must be a text."),
        ({"registrationId": 7, "enrollmentGroupId": 7}, "Id is 7; it must be a text."),
    ],
)
def test_items_that_no_error_could_name(bulk, item, text):
    assert text in bulk.refused({"mode": "create", bulk.kind.plural: [bulk.make("a"), item]})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)
ITEMS = st.builds(
    lambda identifier, etag, fields: {**individual_body(identifier), **fields, **etag},
    st.sampled_from(["a", "b", "A", "no id"]),
    st.sampled_from([{}, {"etag": "*"}, {"etag": "stale"}]),
    st.dictionaries(st.sampled_from(["deviceId", "attestation", "capabilities", "initialTwin"]), JSON, max_size=1),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=JSON
    | st.fixed_dictionaries(
        {
            "mode": JSON | st.sampled_from(["create", "update", "updateIfMatchETag", "delete"]),
            "enrollments": JSON | st.lists(ITEMS | JSON, max_size=11),
        }
    )
)
def test_any_json_is_worked_on_or_refused(provisioning, body):
    book = provisioning.individuals
    book.clear()
    book.put("b", individual_body("b"))
    try:
        result = run_bulk(book, body)
    except ServiceError:
        assert [enrollment.identifier for enrollment in book.all()] == ["b"]
        return
    assert 0 <= len(result.refusals) <= len(body["enrollments"]) <= MAX_ITEMS
    assert result.to_json()["isSuccessful"] == (not result.refusals)
