import base64

import pytest

from dps_simulator.errors.table import Dps, ResourceManager, ServiceError
from dps_simulator.process.store import Store
from dps_simulator.provisioning import access_policies
from dps_simulator.provisioning.access_policies import (
    DEVICE_CONNECT,
    ENROLLMENT_READ,
    ENROLLMENT_WRITE,
    OWNER_RIGHTS,
    REGISTRATION_READ,
    REGISTRATION_WRITE,
    RIGHTS,
    SERVICE_CONFIG,
    AccessPolicies,
    AccessPolicy,
    new_key,
)

OWNER = "provisioningserviceowner"
KEY = base64.b64encode(b"the first key of the owner......").decode()
OTHER_KEY = base64.b64encode(b"another key of the owner........").decode()
THIRD_KEY = base64.b64encode(b"a third key....................").decode()


@pytest.fixture
def store():
    return Store()


def open_policies(store, name=OWNER, key=KEY, **options):
    return AccessPolicies(store, owner_name=name, owner_key=key, **options)


@pytest.fixture
def policies(store):
    return open_policies(store)


def described(name=OWNER, rights="EnrollmentWrite", **keys):
    return {"keyName": name, "rights": rights, **keys}


def fails(kind, what):
    with pytest.raises(ServiceError) as caught:
        what()
    assert caught.value.kind is kind
    return caught.value.message


def test_in_the_beginning_there_is_the_owner(policies):
    owner = policies.owner
    assert [each.name for each in policies.all()] == [OWNER]
    assert (owner.name, owner.primary_key, owner.rights) == (OWNER, KEY, OWNER_RIGHTS)
    assert len(base64.b64decode(owner.secondary_key)) == 32
    assert owner.decoded_keys() == (base64.b64decode(KEY), base64.b64decode(owner.secondary_key))
    assert all(owner.allows(right) for right in RIGHTS)
    assert KEY not in repr(owner)


@pytest.mark.parametrize(
    ("rights", "allowed"),
    [
        ((ENROLLMENT_READ,), {ENROLLMENT_READ}),
        ((ENROLLMENT_WRITE,), {ENROLLMENT_READ, ENROLLMENT_WRITE, REGISTRATION_READ, REGISTRATION_WRITE}),
        ((REGISTRATION_WRITE,), {REGISTRATION_READ, REGISTRATION_WRITE}),
        ((REGISTRATION_READ, SERVICE_CONFIG), {REGISTRATION_READ, SERVICE_CONFIG}),
        ((DEVICE_CONNECT,), {DEVICE_CONNECT}),
    ],
)
def test_rights_contain_others(rights, allowed):
    policy = AccessPolicy("a", KEY, OTHER_KEY, rights)
    assert {right for right in RIGHTS if policy.allows(right)} == allowed


def test_all_that_is_changed_survives(store, policies):
    policies.put(AccessPolicy("reader", KEY, OTHER_KEY, (ENROLLMENT_READ, REGISTRATION_READ)))
    again = open_policies(store)
    assert [each.name for each in again.all()] == [OWNER, "reader"]
    assert again.all() == policies.all()
    assert again.find("READER").rights == (ENROLLMENT_READ, REGISTRATION_READ)
    assert again.get("reader").to_json() == {
        "keyName": "reader",
        "primaryKey": KEY,
        "secondaryKey": OTHER_KEY,
        "rights": "EnrollmentRead, RegistrationStatusRead",
    }
    assert again.remove("Reader")
    assert not again.remove("reader")
    assert open_policies(store).find("reader") is None
    assert "'reader'; there are provisioningserviceowner" in fails(
        ResourceManager.POLICY_NOT_FOUND, lambda: again.get("reader")
    )


def roll(policies, **keys):
    policies.replace_all(policies.read("rules", [described(**keys)]))


def test_a_new_key_counts_until_the_settings_name_another(store, policies):
    roll(policies, primaryKey=OTHER_KEY)
    assert open_policies(store).owner.primary_key == OTHER_KEY
    secondary = policies.owner.secondary_key
    assert open_policies(store, key=THIRD_KEY).owner.primary_key == THIRD_KEY
    # and that one was taken over for good
    assert open_policies(store, key=THIRD_KEY).owner.secondary_key == secondary
    assert open_policies(store, key=KEY).owner.primary_key == KEY


def test_the_owner_may_get_another_name_in_the_settings(store, policies):
    roll(policies, primaryKey=OTHER_KEY)
    renamed = open_policies(store, "admin")
    assert [(each.name, each.primary_key) for each in renamed.all()] == [("admin", OTHER_KEY)]
    renamed.put(AccessPolicy("reader", THIRD_KEY, KEY, (ENROLLMENT_READ,)))
    taken = open_policies(store, "Reader")
    assert [(each.name, each.rights) for each in taken.all()] == [("Reader", (ENROLLMENT_WRITE,))]


def test_when_all_else_is_forgotten_the_keys_of_the_owner_stay(store, policies):
    policies.put(AccessPolicy("reader", THIRD_KEY, KEY, (ENROLLMENT_READ,)))
    roll(policies, primaryKey=OTHER_KEY, rights="EnrollmentRead")
    expected = AccessPolicy(OWNER, OTHER_KEY, policies.owner.secondary_key, OWNER_RIGHTS)
    policies.put(AccessPolicy("reader", THIRD_KEY, KEY, (ENROLLMENT_READ,)))
    policies.restore()
    assert policies.all() == [expected]
    store.clear(keep={"access policy of the owner"})
    assert open_policies(store).all() == [expected]


def test_keys_are_swapped_and_made(policies):
    first = policies.owner
    roll(policies, primaryKey=first.secondary_key, secondaryKey=first.primary_key)
    assert policies.owner.decoded_keys() == first.decoded_keys()[::-1]
    roll(policies, secondaryKey=OTHER_KEY)
    assert policies.owner.primary_key == first.secondary_key
    roll(policies, primaryKey=None, rights="enrollmentread,  SERVICECONFIG, EnrollmentRead")
    assert policies.owner == AccessPolicy(OWNER, first.secondary_key, OTHER_KEY, (ENROLLMENT_READ, SERVICE_CONFIG))
    policies.replace_all(policies.read("rules", [described(), described("reader", "EnrollmentRead")]))
    made = policies.get("reader")
    assert {len(key) for key in made.decoded_keys()} == {32}
    assert made.primary_key != made.secondary_key
    roll(policies)
    assert policies.find("reader") is None


def test_a_name_keeps_its_spelling(policies):
    policies.replace_all(policies.read("rules", [described(OWNER.upper())]))
    assert policies.owner.name == OWNER


def test_reading_changes_nothing(store, policies):
    before = policies.all()
    policies.read("rules", [described(primaryKey=OTHER_KEY), described("reader", "EnrollmentRead")])
    assert policies.all() == before


def test_who_waits_for_changes_hears_of_those_that_are_kept(store):
    heard = []
    policies = open_policies(store, changed=lambda: heard.append(policies.owner.primary_key))
    assert heard == []
    roll(policies, primaryKey=OTHER_KEY)
    assert heard == [OTHER_KEY]
    policies.put(AccessPolicy("reader", THIRD_KEY, KEY, (ENROLLMENT_READ,)))
    policies.remove("reader")
    assert len(heard) == 3
    heard.clear()

    def roll_and_fail():
        with store.transaction():
            roll(policies, primaryKey=THIRD_KEY)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        roll_and_fail()
    assert heard == []
    assert policies.owner.primary_key == OTHER_KEY


def test_the_owner_stays(policies):
    for what in (
        lambda: policies.remove(OWNER.upper()),
        lambda: policies.read("rules", []),
        lambda: policies.read("rules", [described("reader")]),
        lambda: policies.replace_all([]),
    ):
        assert "'provisioningserviceowner' cannot be removed" in fails(ResourceManager.OWNER_POLICY_NEEDED, what)
    assert policies.owner.primary_key == KEY


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "rules is an object; it must be a list"),
        ([described()] * 101, "rules has 101 policies; at most 100"),
        ([described(), described("a"), described("A")], "rules has the policy 'a' more than once"),
        ([described(extra=1)], "rules[0] has the unknown field 'extra'"),
        ([described(None)], "rules[0].keyName is None; it must have 1 to 64"),
        ([described("")], "rules[0].keyName is ''"),
        ([described("a b")], "rules[0].keyName is 'a b'"),
        ([described("a" * 65)], "rules[0].keyName"),
        ([described(), described("a", None)], "rules[1].rights is None"),
        ([described(rights="")], "contains ''"),
        ([described(rights="EnrollmentRead, All")], "rules[0].rights contains 'All'; a right is one of ServiceConfig"),
        ([described(rights="EnrollmentRead," * 20)], "rules[0].rights is a text"),
        ([described(primaryKey=7)], "rules[0].primaryKey is 7; it must be base64"),
        ([described(secondaryKey="not a key!")], "rules[0].secondaryKey is not base64"),
        ([described(primaryKey="ä" * 32)], "rules[0].primaryKey is not base64"),
        ([described(primaryKey="AAAA")], "rules[0].primaryKey has 3 bytes; it must be base64 of 16 to 64"),
        ([described(primaryKey=base64.b64encode(bytes(65)).decode())], "has 65 bytes"),
    ],
)
def test_what_is_refused(policies, value, text):
    message = fails(ResourceManager.INVALID_REQUEST, lambda: policies.read("rules", value))
    assert text in message
    assert "not a key!" not in message


def test_a_policy_is_an_object(policies):
    fails(Dps.INVALID_BODY, lambda: policies.read("rules", ["a"]))


def test_keys_differ():
    assert new_key() != new_key()
    assert len(base64.b64decode(new_key())) == access_policies.KEY_BYTES
