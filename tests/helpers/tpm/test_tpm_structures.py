"""Bytes of a TPM, taken apart: numbers, sized buffers, public keys, response codes."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thoroughness import examples

from helpers.tpm import ActivationBlob, ActivationError, TpmError, TpmProtocolError, TpmResponseError
from helpers.tpm import response_codes as codes
from helpers.tpm.structures import (
    EK_POLICY,
    EK_TEMPLATE,
    SRK_TEMPLATE,
    CommandCode,
    PublicArea,
    Reader,
    sized,
    u16,
    u32,
)


def test_numbers_are_big_endian():
    assert (u16(0x0102), u32(0x01020304), sized(b"abc")) == (b"\1\2", b"\1\2\3\4", b"\0\3abc")


def test_a_reader_takes_a_message_apart():
    reader = Reader(bytes.fromhex("01 0203 04050607 0002 6162 63"))
    assert (reader.u8(), reader.u16(), reader.u32(), reader.sized()) == (1, 0x0203, 0x04050607, b"ab")
    assert reader.remaining == 1
    assert reader.rest() == b"c"
    reader.finish()


@pytest.mark.parametrize(
    "read", [Reader.u8, Reader.u16, Reader.u32, Reader.sized, lambda reader: reader.take(1)], ids=range(5)
)
def test_a_reader_says_where_a_message_ends_too_early(read):
    with pytest.raises(TpmProtocolError, match=r"The letter ends too early: \d bytes should follow byte 0, and 0 do"):
        read(Reader(b"", "The letter"))


def test_a_sized_buffer_that_says_too_much():
    with pytest.raises(TpmProtocolError, match="9 bytes should follow byte 2, and 3 do"):
        Reader(b"\0\x09abc").sized()


def test_a_reader_says_what_is_left():
    with pytest.raises(TpmProtocolError, match="The message has 2 bytes more than it should"):
        Reader(b"ab").finish()


@settings(max_examples=examples(200), deadline=None, derandomize=True)
@given(st.binary(max_size=400))
def test_any_bytes_are_a_public_key_or_a_protocol_error(data):
    try:
        public = PublicArea.parse(data)
    except TpmProtocolError:
        return
    assert data[2:] == public.area


@settings(max_examples=examples(200), deadline=None, derandomize=True)
@given(st.binary(max_size=400))
def test_any_bytes_are_six_parts_or_an_error(data):
    try:
        blob = ActivationBlob.parse(data)
    except ActivationError:
        return
    assert b"".join(map(sized, vars(blob).values())) == data


def test_the_templates_are_those_of_the_sdks():
    policy = "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa"
    assert EK_POLICY.hex() == policy
    ending = "0006008000430010080000000000" + "0000"
    assert EK_TEMPLATE.hex() == "0001000b000300b20020" + policy + ending
    assert SRK_TEMPLATE.hex() == "0001000b000304720000" + ending


def test_a_public_key_has_a_name():
    public = PublicArea.parse(sized(SRK_TEMPLATE))
    assert (public.algorithm, public.name_algorithm, public.attributes, public.policy) == (1, 11, 0x30472, b"")
    assert public.name == b"\0\x0b" + hashlib.sha256(SRK_TEMPLATE).digest()
    assert PublicArea.parse(sized(EK_TEMPLATE)).policy == EK_POLICY


def test_names_with_other_hashes_are_not_known():
    public = PublicArea.parse(sized(SRK_TEMPLATE.replace(u16(0x0B), u16(0x04), 1)))
    with pytest.raises(TpmProtocolError, match=r"0x0004; only SHA-256"):
        _ = public.name


@pytest.mark.parametrize("data", [b"", b"\0", sized(SRK_TEMPLATE) + b"x", sized(SRK_TEMPLATE[:9]), SRK_TEMPLATE])
def test_what_is_no_public_key(data):
    with pytest.raises(TpmProtocolError, match="The public key"):
        PublicArea.parse(data)


def test_commands_have_the_numbers_of_the_specification():
    assert CommandCode.ActivateCredential == 0x147
    assert len(CommandCode) == 16


# --- response codes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "name", "base", "position"),
    [
        (0x000, "TPM_RC_SUCCESS", 0x000, ""),
        (0x101, "TPM_RC_FAILURE", 0x101, ""),
        (0x922, "TPM_RC_RETRY", 0x922, ""),
        (0x14C, "TPM_RC_NV_DEFINED", 0x14C, ""),
        (0x1DF, "TPM_RC_INTEGRITY", 0x09F, "parameter 1"),
        (0x3DF, "TPM_RC_INTEGRITY", 0x09F, "parameter 3"),
        (0xFC4, "TPM_RC_VALUE", 0x084, "parameter 15"),
        (0x18B, "TPM_RC_HANDLE", 0x08B, "handle 1"),
        (0x28B, "TPM_RC_HANDLE", 0x08B, "handle 2"),
        (0xA9D, "TPM_RC_POLICY_FAIL", 0x09D, "session 2"),
        (0x9A2, "TPM_RC_BAD_AUTH", 0x0A2, "session 1"),
        (0x08D, "TPM_RC_RANGE", 0x08D, "handle 0"),
        (0x0A6, "TPM_RC_CURVE", 0x0A6, "handle 0"),
        (0x1FF, "TPM_RC_0x1FF", 0x0BF, "parameter 1"),
        (0x17F, "TPM_RC_0x17F", 0x17F, ""),
    ],
)
def test_a_response_code_has_a_name_and_a_position(code, name, base, position):
    assert codes.name_of(code) == name
    assert codes.base(code) == base
    assert codes.position(code) == position
    meaning = codes.meaning_of(code)
    assert meaning
    assert (position in meaning) if position else "(" not in meaning


def test_every_named_code_has_a_meaning():
    assert len(codes.ResponseCode) > 30
    for code in codes.ResponseCode:
        assert codes.name_of(code) == f"TPM_RC_{code.name}"
        assert "not in the table" not in codes.meaning_of(code)
        assert code.meaning


def test_a_code_outside_the_table_says_so():
    error = TpmResponseError("TPM2_Load", 0x1FF)
    assert str(error) == (
        "The TPM refused TPM2_Load: TPM_RC_0x1FF (0x1FF), which is not in the table of this project (parameter 1)."
    )
    assert (error.command, error.code, error.name) == ("TPM2_Load", 0x1FF, "TPM_RC_0x1FF")


def test_all_errors_are_errors_of_the_tpm():
    assert issubclass(ActivationError, TpmError)
    assert ActivationError("text").field == ""
    assert (str(ActivationError("text", "secret")), ActivationError("text", "secret").field) == ("text", "secret")
