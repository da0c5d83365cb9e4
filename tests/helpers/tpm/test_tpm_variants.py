"""Challenges that differ in what the SDKs leave open: which of them a TPM opens, and how it refuses the others."""

import hmac

import pytest
from blob_maker import ID_KEY_ATTRIBUTES, NULL_SCHEME, Parent, made_for, make_blob

from helpers.tpm import ActivationError, TpmResponseError

KEY = bytes(range(32))

ACCEPTED = {
    "as designed": {},
    "with an address": {"uri": b"contoso.azure-devices.net"},
    "password of 32 zeros, as TPM2_Duplicate makes it": {"auth": bytes(32)},
    "no policy for duplication": {"policy": b""},
    "inner key of 256 bits": {"inner_key": bytes(range(32))},
    "not wrapped for the storage root key": {"with_outer": False},
    "claims that the TPM made the key": {"attributes": ID_KEY_ATTRIBUTES | 0x20},
    "must be duplicated encrypted": {"attributes": ID_KEY_ATTRIBUTES | 0x800},
    "counts wrong passwords": {"attributes": ID_KEY_ATTRIBUTES & ~0x400},
    "signs and decrypts, scheme left to the command": {
        "attributes": ID_KEY_ATTRIBUTES | 0x20000,
        "scheme": NULL_SCHEME,
    },
}

# what is varied, the response code, and the part of the challenge that the error names
REFUSED = {
    "fixed to a TPM": ({"attributes": ID_KEY_ATTRIBUTES | 0x02}, 0x2C2, "id_key_public"),
    "fixed to a parent": ({"attributes": ID_KEY_ATTRIBUTES | 0x10}, 0x2C2, "id_key_public"),
    "a reserved attribute": ({"attributes": ID_KEY_ATTRIBUTES | 0x01}, 0x2E1, "id_key_public"),
    "signs without a scheme": ({"scheme": NULL_SCHEME}, 0x2D2, "id_key_public"),
    "signs and decrypts with a scheme": ({"attributes": ID_KEY_ATTRIBUTES | 0x20000}, 0x2D2, "id_key_public"),
    "decrypts with the scheme of signing": ({"attributes": 0x00020440}, 0x2D2, "id_key_public"),
    "neither signs nor decrypts, with a scheme": ({"attributes": 0x00000440}, 0x2D2, "id_key_public"),
    "restricted, signs and decrypts": (
        {"attributes": ID_KEY_ATTRIBUTES | 0x30000, "scheme": NULL_SCHEME},
        0x2C2,
        "id_key_public",
    ),
    "restricted, neither signs nor decrypts": (
        {"attributes": 0x00010440, "scheme": NULL_SCHEME},
        0x2C2,
        "id_key_public",
    ),
    "decrypts without a scheme": ({"attributes": 0x00020440, "scheme": NULL_SCHEME}, 0x2D2, "id_key_public"),
    "unknown hash": ({"scheme": bytes.fromhex("0005 00aa")}, 0x2C3, "id_key_public"),
    "unknown scheme": ({"scheme": bytes.fromhex("0077")}, 0x2C4, "id_key_public"),
    "unknown kind of key": ({"kind": bytes.fromhex("7777")}, 0x2CA, "id_key_public"),
    "policy of 16 bytes": ({"policy": bytes(16)}, 0x2D5, "id_key_public"),
    "policy of 65 bytes": ({"policy": bytes(65)}, 0x2D5, "id_key_public"),
    "public and private half do not belong together": ({"unique": bytes(32)}, 0x0A5, ""),
    "unique of 16 bytes": ({"unique": bytes(16)}, 0x0A5, ""),
    "nothing hides the key": ({"hiding": b""}, 0x3C7, "duplicate"),
    "16 bytes hide the key": ({"hiding": bytes(16)}, 0x3C7, "duplicate"),
    "33 bytes hide the key": ({"hiding": bytes(33)}, 0x3C7, "duplicate"),
    "65 bytes hide the key": ({"hiding": bytes(65)}, 0x3D5, "duplicate"),
    "password of 33 bytes": ({"auth": bytes(33)}, 0x3D5, "duplicate"),
    "password of 65 bytes": ({"auth": bytes(65)}, 0x3D5, "duplicate"),
    "wrong inner integrity": ({"inner_digest": bytes(32)}, 0x3DF, "duplicate"),
    "no inner integrity": ({"inner_digest": b""}, 0x3DF, "duplicate"),
    "private half of a symmetric key": ({"kind_of_sensitive": bytes.fromhex("0025")}, 0x3CA, "duplicate"),
    "private half of an unknown kind": ({"kind_of_sensitive": bytes.fromhex("7777")}, 0x3CA, "duplicate"),
    "bytes behind the private half": ({"behind_sensitive": b"x"}, 0x3D5, "duplicate"),
    "must be wrapped twice, and is not": (
        {"attributes": ID_KEY_ATTRIBUTES | 0x800, "with_outer": False},
        0x4C2,
        "encrypted_seed",
    ),
    "inner key of 192 bits": ({"inner_key": bytes(24)}, 0x5C4, ""),
}


@pytest.mark.parametrize("choices", ACCEPTED.values(), ids=ACCEPTED)
def test_a_tpm_opens(lasting_device, choices):
    lasting_device.activate(made_for(lasting_device, KEY, **choices))
    assert lasting_device.sign(b"text") == hmac.digest(KEY, b"text", "sha256")


@pytest.mark.parametrize(("choices", "code", "field"), REFUSED.values(), ids=REFUSED)
def test_a_tpm_refuses_and_the_key_before_stays(lasting_device, choices, code, field):
    lasting_device.activate(made_for(lasting_device, b"the key before"))
    with pytest.raises(ActivationError) as caught:
        lasting_device.activate(made_for(lasting_device, KEY, **choices))
    assert (caught.value.__cause__.command, hex(caught.value.__cause__.code)) == ("TPM2_Import", hex(code))
    assert caught.value.field == field
    assert "Register again" in str(caught.value)
    assert lasting_device.sign(b"text") == hmac.digest(b"the key before", b"text", "sha256")


@pytest.mark.parametrize("size", [0, 1, 16, 32, 63, 64])
def test_a_key_of_up_to_64_bytes_is_taken(lasting_device, size):
    key = bytes(range(size))
    lasting_device.activate(made_for(lasting_device, key))
    assert lasting_device.sign(b"text") == hmac.digest(key, b"text", "sha256")


@pytest.mark.parametrize(("size", "code"), [(65, 0x3C7), (128, 0x3C7), (129, 0x3D5), (200, 0x3D5)])
def test_a_longer_key_is_refused(lasting_device, size, code):
    with pytest.raises(ActivationError) as caught:
        lasting_device.activate(made_for(lasting_device, bytes(size)))
    assert caught.value.__cause__.code == code
    assert caught.value.field == "duplicate"


@pytest.mark.parametrize(
    ("attributes", "code", "name"),
    [(0x00040400, 0x12F, "TPM_RC_AUTH_UNAVAILABLE"), (0x00050440, 0x182, "TPM_RC_ATTRIBUTES")],
    ids=["no password allowed", "restricted"],
)
def test_a_key_that_may_be_taken_in_but_not_used(lasting_device, attributes, code, name):
    lasting_device.activate(made_for(lasting_device, KEY, attributes=attributes))
    with pytest.raises(TpmResponseError) as caught:
        lasting_device.sign(b"text")
    assert (caught.value.code, caught.value.name, caught.value.command) == (code, name, "TPM2_HMAC")


def test_a_key_with_a_password_cannot_be_used_without(lasting_device):
    lasting_device.activate(made_for(lasting_device, KEY, auth=b"secret"))
    with pytest.raises(TpmResponseError) as caught:
        lasting_device.sign(b"text")
    assert caught.value.name == "TPM_RC_BAD_AUTH"


def test_a_key_that_only_decrypts_does_not_sign(lasting_device):
    lasting_device.activate(made_for(lasting_device, KEY, attributes=0x00000440, scheme=NULL_SCHEME))
    with pytest.raises(TpmResponseError) as caught:
        lasting_device.sign(b"text")
    assert (caught.value.name, caught.value.code) == ("TPM_RC_KEY", 0x19C)


@pytest.mark.parametrize(
    ("field", "key", "label", "code"),
    [
        ("secret", "endorsement_key", b"IDENTITY", 0x2C4),
        ("encrypted_seed", "storage_root_key", b"DUPLICATE", 0x4C4),
    ],
)
def test_a_seed_is_not_larger_than_a_digest(lasting_device, field, key, label, code):
    blob = make_blob(lasting_device, KEY)
    setattr(blob, field, Parent(getattr(lasting_device, key)).encrypt(label, bytes(33)))
    with pytest.raises(ActivationError) as caught:
        lasting_device.activate(bytes(blob))
    assert (hex(caught.value.__cause__.code), caught.value.field) == (hex(code), field)


@pytest.mark.parametrize(
    ("field", "key", "label"),
    [("secret", "endorsement_key", b"DUPLICATE"), ("encrypted_seed", "storage_root_key", b"IDENTITY")],
)
def test_a_seed_for_another_purpose(lasting_device, field, key, label):
    blob = make_blob(lasting_device, KEY)
    setattr(blob, field, Parent(getattr(lasting_device, key)).encrypt(label, bytes(32)))
    with pytest.raises(ActivationError) as caught:
        lasting_device.activate(bytes(blob))
    # libtpms 0.9 calls it a failure, 0.10 names the parameter
    parameter = {"secret": "0x2c4", "encrypted_seed": "0x4c4"}[field]
    assert hex(caught.value.__cause__.code) in ("0x101", parameter)
    assert caught.value.field == field
