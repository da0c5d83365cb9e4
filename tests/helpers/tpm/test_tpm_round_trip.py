"""From the challenge of a service to the signature of a device, on the embedded TPM and on swtpm."""

import base64
import hashlib
import hmac
from dataclasses import fields, replace

import pytest
from blob_maker import Blob, made_for, make_blob
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from thoroughness import examples

from helpers.tpm import ActivationBlob, ActivationError, TpmError
from helpers.tpm.activation import FIELDS, MAX_SIZE

KEY = bytes(range(32))

quick = settings(
    max_examples=examples(25),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def signed(key, data):
    return hmac.digest(key, data, "sha256")


# --- signing ----------------------------------------------------------------------------------------------------


@quick
@given(key=st.binary(min_size=1, max_size=64), data=st.binary(max_size=4000))
def test_the_tpm_signs_as_the_plain_key_would(lasting_device, key, data):
    lasting_device.activate(made_for(lasting_device, key))
    assert lasting_device.sign(data) == signed(key, data)


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 2047, 2048, 2049, 4000, 10_000])
def test_data_around_the_size_of_the_input_buffer(lasting_device, size):
    lasting_device.activate(made_for(lasting_device, KEY))
    data = bytes(number % 251 for number in range(size))
    assert lasting_device.sign(data) == signed(KEY, data)


def test_many_challenges_leave_nothing_loaded(lasting_device):
    # a TPM has three slots for keys and three for sessions; one that is not freed would show at the fourth
    for number in range(6):
        key = bytes([number]) * 32
        lasting_device.activate(made_for(lasting_device, key))
        assert lasting_device.sign(bytes(3000)) == signed(key, bytes(3000))


def test_failed_challenges_leave_nothing_loaded(lasting_device):
    for _ in range(6):
        blob = make_blob(lasting_device, KEY)
        with pytest.raises(ActivationError):
            lasting_device.activate(bytes(replace(blob, credential_blob=bytes(52))))
        with pytest.raises(ActivationError):
            lasting_device.activate(bytes(replace(blob, duplicate=bytes(142))))
    lasting_device.activate(made_for(lasting_device, KEY))
    assert lasting_device.sign(b"text") == signed(KEY, b"text")


def test_the_second_key_replaces_the_first(device):
    device.activate(made_for(device, b"first"))
    device.activate(made_for(device, b"second"))
    assert device.sign(b"text") == signed(b"second", b"text")


def test_without_a_key_the_tpm_says_how_it_gets_one(device):
    assert not device.has_key
    with pytest.raises(TpmError, match=r"no key to sign with yet.*registers with DPS"):
        device.sign(b"text")
    device.activate(made_for(device, KEY))
    assert device.has_key


def test_everything_is_there_after_a_restart(open_device):
    with open_device() as device:
        before = device.endorsement_key, device.storage_root_key, device.registration_id
        device.activate(made_for(device, KEY))
    again = open_device()
    assert (again.endorsement_key, again.storage_root_key, again.registration_id) == before
    assert again.sign(b"text") == signed(KEY, b"text")
    again.activate(made_for(again, b"new"))
    assert again.sign(b"text") == signed(b"new", b"text")


def test_another_folder_is_another_tpm(open_device):
    one, two = open_device("one"), open_device("two")
    assert one.endorsement_key != two.endorsement_key
    assert one.storage_root_key != two.storage_root_key
    assert one.registration_id != two.registration_id


# --- what it looks like -----------------------------------------------------------------------------------------


def test_the_keys_have_the_form_that_enrollments_want(device):
    endorsement = base64.b64decode(device.endorsement_key)
    storage = base64.b64decode(device.storage_root_key)
    assert len(endorsement) == 316
    assert len(storage) == 284
    assert device.endorsement_key.startswith("AToAAQALAAMAsgAg")
    assert device.storage_root_key.startswith("ARoAAQALAAMEcgAA")
    expected = base64.b32encode(hashlib.sha256(endorsement).digest()).decode().lower().rstrip("=")
    assert device.registration_id == expected
    assert len(expected) == 52


def test_a_challenge_has_six_parts_of_known_sizes(lasting_device):
    blob = made_for(lasting_device, KEY, uri=b"hub")
    assert len(blob) == 801
    parsed = ActivationBlob.parse(blob)
    assert parsed.sizes() == {
        "credential_blob": 52,
        "secret": 256,
        "duplicate": 142,
        "encrypted_seed": 256,
        "id_key_public": 80,
        "encrypted_uri": 3,
    }
    assert list(FIELDS) == [field.name for field in fields(ActivationBlob)]
    assert repr(parsed).startswith("ActivationBlob(credential_blob: 52 bytes, ")
    assert "\\x" not in repr(parsed)


def test_the_history_has_names_and_no_contents(device):
    device.activate(made_for(device, KEY))
    device.sign(b"text")
    commands = [f"{exchange.command} {exchange.outcome}" for exchange in device.history]
    at = commands.index("TPM2_StartAuthSession success")
    assert commands[at:] == [
        "TPM2_StartAuthSession success",
        "TPM2_PolicySecret success",
        "TPM2_ActivateCredential success",
        "TPM2_FlushContext success",
        "TPM2_Import success",
        "TPM2_Load success",
        "TPM2_ReadPublic TPM_RC_HANDLE",
        "TPM2_EvictControl success",
        "TPM2_FlushContext success",
        "TPM2_GetCapability success",
        "TPM2_HMAC success",
    ]


# --- challenges that were changed -------------------------------------------------------------------------------

# a TPM cannot tell whether part 3 was changed or part 5, which is bound to it; the text says so
NAMED = {
    "credential_blob": "credential_blob",
    "secret": "secret",
    "duplicate": "duplicate",
    "encrypted_seed": "encrypted_seed",
    "id_key_public": "duplicate",
}


@pytest.mark.parametrize("position", [-1, 40], ids=["last byte", "byte 40"])
@pytest.mark.parametrize("field", NAMED)
def test_a_changed_part_is_named(lasting_device, field, position):
    lasting_device.activate(made_for(lasting_device, b"before"))
    blob = make_blob(lasting_device, KEY, uri=b"contoso.azure-devices.net")
    changed = bytearray(getattr(blob, field))
    changed[position] ^= 1
    with pytest.raises(ActivationError) as caught:
        lasting_device.activate(bytes(replace(blob, **{field: bytes(changed)})))
    assert caught.value.field == NAMED[field]
    number = list(FIELDS).index(NAMED[field]) + 1
    assert f"part {number} of the challenge, {NAMED[field]} " in str(caught.value)
    if field == "id_key_public":
        assert "part 5 that is bound to it" in str(caught.value)
    assert lasting_device.sign(b"text") == signed(b"before", b"text")


def test_nothing_protects_the_address(lasting_device):
    # the sixth part has no integrity check, and neither the TPM nor an SDK reads it
    blob = make_blob(lasting_device, KEY, uri=b"contoso.azure-devices.net")
    lasting_device.activate(bytes(replace(blob, encrypted_uri=b"something else")))
    assert lasting_device.sign(b"text") == signed(KEY, b"text")


@pytest.mark.parametrize("field", [field.name for field in fields(Blob)])
def test_a_part_is_missing(lasting_device, field):
    blob = make_blob(lasting_device, KEY, uri=b"hub")
    changed = bytes(replace(blob, **{field: b""}))
    if field == "encrypted_uri":
        lasting_device.activate(changed)
        return
    with pytest.raises(ActivationError) as caught:
        lasting_device.activate(changed)
    # without its seed, the third part is taken for one that is not wrapped for the storage root key
    assert caught.value.field == ("duplicate" if field == "encrypted_seed" else field)


@quick
@given(data=st.data())
def test_whatever_was_changed_there_is_an_answer(lasting_device, data):
    blob = bytearray(made_for(lasting_device, KEY))
    for _ in range(data.draw(st.integers(1, 3))):
        blob[data.draw(st.integers(0, len(blob) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    field = None
    try:
        lasting_device.activate(bytes(blob))
    except ActivationError as error:
        field = error.field
    # two changes of one bit may undo each other
    assert field in {"", *FIELDS} or lasting_device.sign(b"text") == signed(KEY, b"text")


def test_a_challenge_that_was_cut_off(lasting_device):
    blob = made_for(lasting_device, KEY, uri=b"hub")
    ends = {0: 1, 1: 1, 53: 1, 54: 2, 311: 2, 313: 3, 455: 3, 713: 4, 714: 5, 795: 5, 796: 6, 800: 6}
    for end, part in ends.items():
        with pytest.raises(ActivationError, match=f"ends within its part {part} of 6") as caught:
            lasting_device.activate(blob[:end])
        assert caught.value.field == list(FIELDS)[part - 1]


def test_a_challenge_with_something_behind_it(lasting_device):
    with pytest.raises(ActivationError, match="1 bytes more than it should"):
        lasting_device.activate(made_for(lasting_device, KEY) + b"x")


def test_a_challenge_that_is_far_too_long(lasting_device):
    with pytest.raises(ActivationError, match=f"{MAX_SIZE + 1} bytes; it cannot have more than {MAX_SIZE}"):
        lasting_device.activate(bytes(MAX_SIZE + 1))


def test_a_challenge_for_another_tpm(open_device):
    mine, other = open_device("mine"), open_device("other")
    with pytest.raises(ActivationError) as caught:
        mine.activate(made_for(other, KEY))
    assert caught.value.field == "secret"
    assert "another TPM" in str(caught.value)
    assert "Compare the endorsement key" in str(caught.value)


class Mixed:
    """The public keys of two TPMs, as when one was changed between enrollment and start."""

    def __init__(self, endorsed, stored):
        self.endorsement_key = endorsed.endorsement_key
        self.storage_root_key = stored.storage_root_key


def test_a_challenge_for_another_storage_root_key(open_device):
    mine, other = open_device("mine"), open_device("other")
    with pytest.raises(ActivationError) as caught:
        mine.activate(made_for(Mixed(mine, other), KEY))
    assert caught.value.field == "credential_blob"
    assert "another storage root key" in str(caught.value)


def test_a_duplicate_for_another_storage_root_key(open_device):
    mine, other = open_device("mine"), open_device("other")
    inner_key = bytes(16)
    good = make_blob(mine, KEY, inner_key=inner_key)
    foreign = make_blob(other, KEY, inner_key=inner_key)
    mixed = replace(foreign, credential_blob=good.credential_blob, secret=good.secret)
    with pytest.raises(ActivationError) as caught:
        mine.activate(bytes(mixed))
    assert caught.value.field == "encrypted_seed"


def test_no_error_repeats_the_challenge(lasting_device):
    blob = make_blob(lasting_device, KEY)
    with pytest.raises(ActivationError) as caught:
        lasting_device.activate(bytes(replace(blob, secret=bytes(256))))
    text = repr(caught.value) + repr(caught.value.__cause__) + str(vars(caught.value))
    assert blob.credential_blob.hex() not in text
    assert "\\x" not in text
