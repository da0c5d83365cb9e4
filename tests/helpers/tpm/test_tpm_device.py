"""The TPM of a device: opening it, its keys, and what it says when a TPM refuses."""

import base64
import os
import struct
from pathlib import Path

import pytest
from blob_maker import made_for, make_blob
from tpm_messages import template

from helpers.tpm import ActivationError, TpmDevice, TpmResponseError, TpmUnavailableError, open_tpm
from helpers.tpm.commands import Tpm
from helpers.tpm.embedded.tpm import SoftTpm
from helpers.tpm.structures import EK_HANDLE, EK_POLICY, EK_TEMPLATE, SRK_HANDLE, Attribute, CommandCode, Handle, sized


def count(device, command):
    return sum(exchange.command == command for exchange in device.history)


def test_the_keys_are_made_once_and_read_afterwards(open_device):
    with open_device() as device:
        assert device.endorsement_key == device.endorsement_key
        assert device.storage_root_key == device.storage_root_key
        assert count(device, "TPM2_CreatePrimary") == 2
        keys = device.endorsement_key, device.storage_root_key
    again = open_device()
    assert (again.endorsement_key, again.storage_root_key) == keys
    assert count(again, "TPM2_CreatePrimary") == 0


def test_an_endorsement_key_that_is_there_stays(transport):
    """Other software makes the key with 256 zeros as ``unique``, which is another key."""
    tpm = Tpm(transport)
    other = EK_TEMPLATE[:-2] + sized(bytes(256))
    handle, public = tpm.create_primary(Handle.ENDORSEMENT, other)
    tpm.evict_control(Handle.OWNER, handle, EK_HANDLE)
    tpm.flush_context(handle)
    device = TpmDevice(tpm, "under test")
    assert base64.b64decode(device.endorsement_key) == public
    device.activate(made_for(device, b"key"))
    assert device.sign(b"text")
    assert tpm.read_public(EK_HANDLE) == public
    # the key that the template of the SDKs would give is another one
    assert tpm.create_primary(Handle.ENDORSEMENT, EK_TEMPLATE)[1] != public


def test_a_storage_root_key_that_is_there_stays(transport):
    tpm = Tpm(transport)
    handle, public = tpm.create_primary(
        Handle.OWNER, template(symmetric=bytes.fromhex("0006 0080 0043"), exponent=65537)
    )
    tpm.evict_control(Handle.OWNER, handle, SRK_HANDLE)
    tpm.flush_context(handle)
    assert base64.b64decode(TpmDevice(tpm, "under test").storage_root_key) == public


def test_an_endorsement_key_of_another_policy_cannot_be_used(transport):
    tpm = Tpm(transport)
    handle, _ = tpm.create_primary(Handle.ENDORSEMENT, EK_TEMPLATE.replace(EK_POLICY, bytes(32)))
    tpm.evict_control(Handle.OWNER, handle, EK_HANDLE)
    tpm.flush_context(handle)
    device = TpmDevice(tpm, "under test")
    with pytest.raises(ActivationError, match="TPM_RC_POLICY_FAIL") as caught:
        device.activate(made_for(device, b"key"))
    assert caught.value.field == ""


def test_a_tpm_that_was_cleared_has_other_keys(open_device, tmp_path, tpm_kind):
    with open_device() as device:
        before = device.endorsement_key
        device.activate(made_for(device, b"key"))
        blob = made_for(device, b"key")
    (tmp_path / "one").rename(tmp_path / "old")
    again = open_device()
    assert again.endorsement_key != before
    assert not again.has_key
    with pytest.raises(ActivationError) as caught:
        again.activate(blob)
    assert caught.value.field == "secret"


def test_it_is_described_without_secrets(device):
    assert repr(device) == f"TpmDevice({device.description})"
    assert device.description
    device.close()
    device.close()


def test_the_embedded_tpm_is_called_a_teaching_aid(tmp_path):
    with open_tpm(folder=tmp_path) as device:
        assert "teaching aid" in device.description
        assert (tmp_path / "soft_tpm.json").exists()


def test_a_device_file_is_opened_by_its_path():
    with open_tpm(os.devnull) as device:
        assert device.description == f"the TPM of this machine, {os.devnull}"


@pytest.mark.parametrize("kind", ["", "chip", "Embedded", "dev/tpmrm0"])
def test_an_unknown_kind(tmp_path, kind):
    with pytest.raises(TpmUnavailableError, match=f"The kind of TPM is '{kind}'; it must be 'embedded', 'swtpm' or"):
        open_tpm(kind, tmp_path)


@pytest.mark.parametrize("kind", ["embedded", "swtpm"])
def test_without_a_folder(kind):
    with pytest.raises(TpmUnavailableError, match=f"The {kind} TPM keeps its keys in a folder; say in which"):
        open_tpm(kind)


def test_a_device_file_that_is_missing(tmp_path):
    with pytest.raises(TpmUnavailableError, match="There is no"):
        open_tpm(str(tmp_path / "tpmrm0"))


# --- a TPM that refuses -----------------------------------------------------------------------------------------


class Refusing:
    """The embedded TPM, except that one command gets another answer."""

    def __init__(self, command, code, after=0):
        self._tpm = SoftTpm(None)
        self._command = command
        self._code = code
        self._left = after

    def exchange(self, command):
        if int.from_bytes(command[6:10], "big") == self._command:
            self._left -= 1
            if self._left < 0:
                return struct.pack(">HII", 0x8001, 10, self._code)
        return self._tpm.exchange(command)

    def close(self):
        self._tpm.close()


@pytest.mark.parametrize(
    ("command", "code", "field", "text"),
    [
        (CommandCode.ActivateCredential, 0x1DF, "credential_blob", "part 1 of the challenge"),
        (CommandCode.ActivateCredential, 0x2C4, "secret", "part 2 of the challenge"),
        (CommandCode.ActivateCredential, 0x101, "secret", "part 2 of the challenge"),
        (CommandCode.ActivateCredential, 0x3C4, "", "cannot be opened"),
        (CommandCode.ActivateCredential, 0x921, "", "TPM_RC_LOCKOUT"),
        (CommandCode.ActivateCredential, 0x28A, "", "handle 2"),
        (CommandCode.Import, 0x2D5, "id_key_public", "part 5 of the challenge"),
        (CommandCode.Import, 0x4C4, "encrypted_seed", "part 4 of the challenge"),
        (CommandCode.Import, 0x101, "encrypted_seed", "part 4 of the challenge"),
        (CommandCode.Load, 0x902, "", "too many keys are loaded"),
        (CommandCode.Load, 0x101, "", "TPM_RC_FAILURE"),
    ],
)
def test_a_refusal_is_explained(command, code, field, text):
    device = TpmDevice(Tpm(Refusing(command, code)), "under test")
    with pytest.raises(ActivationError, match=text) as caught:
        device.activate(made_for(device, b"key"))
    assert caught.value.field == field
    assert isinstance(caught.value.__cause__, TpmResponseError)


def test_a_session_that_ended_by_itself_hides_no_error():
    device = TpmDevice(Tpm(Refusing(CommandCode.FlushContext, 0x1CB, after=2)), "under test")
    blob = make_blob(device, b"key")
    blob.secret = bytes(256)
    with pytest.raises(ActivationError, match="part 2 of the challenge"):
        device.activate(bytes(blob))


def test_keys_that_cannot_be_kept_are_unloaded():
    tpm = Tpm(Refusing(CommandCode.EvictControl, 0x923))
    device = TpmDevice(tpm, "under test")
    for _ in range(5):
        with pytest.raises(TpmResponseError, match="TPM_RC_NV_UNAVAILABLE"):
            _ = device.endorsement_key


def test_a_refused_signature_is_passed_on():
    device = TpmDevice(Tpm(Refusing(CommandCode.HMAC, 0x101)), "under test")
    device.activate(made_for(device, b"key"))
    with pytest.raises(TpmResponseError, match="TPM_RC_FAILURE"):
        device.sign(b"text")


def test_another_process_was_faster_with_the_key(tmp_path):
    """It made the endorsement key between our look and our command; its key counts."""
    state = tmp_path / "soft_tpm.json"
    other = TpmDevice(Tpm(SoftTpm(state)), "other")

    class Slow(SoftTpm):
        def exchange(self, command):
            if int.from_bytes(command[6:10], "big") == CommandCode.EvictControl:
                assert other.endorsement_key
            return super().exchange(command)

    device = TpmDevice(Tpm(Slow(state)), "slow")
    assert device.endorsement_key == other.endorsement_key


def test_folders_may_be_given_as_paths(tmp_path):
    with open_tpm("embedded", Path(tmp_path) / "a" / "b") as device:
        assert device.registration_id


def test_a_key_that_the_tpm_does_not_keep_is_told_apart_from_one_it_cannot_open(device):
    device.activate(made_for(device, b"the key before"))
    lost_at_power_off = Attribute.SIGN | Attribute.NO_DA | Attribute.USER_WITH_AUTH | Attribute.ST_CLEAR
    with pytest.raises(ActivationError, match=r"did not keep the key in it .* the key before is gone") as caught:
        device.activate(made_for(device, b"another key", attributes=lost_at_power_off))
    assert caught.value.field == "id_key_public"
    assert not device.has_key
    device.activate(made_for(device, b"and a third one"))
    assert device.has_key
