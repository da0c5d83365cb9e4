"""From the commands of a TPM to what a diagram says about them."""

import pytest

from helpers.tpm.commands import Exchange
from helpers.views.tpm_lane import Act, acts_of

OPENING = (
    "TPM2_StartAuthSession",
    "TPM2_PolicySecret",
    "TPM2_ActivateCredential",
    "TPM2_FlushContext",
    "TPM2_Import",
    "TPM2_Load",
)
KEEPING = ("TPM2_EvictControl", "TPM2_EvictControl", "TPM2_FlushContext")
OPENED = Act("open the challenge", "opened, the key stays inside")
SIGNED = Act("sign this token", "the signature")


def run(*commands, **outcomes):
    return [Exchange(each, outcomes.get(each.removeprefix("TPM2_"), "success")) for each in commands]


def test_a_challenge_is_one_act_whether_or_not_a_key_was_there_before():
    first = run(*OPENING, "TPM2_ReadPublic", *KEEPING, ReadPublic="TPM_RC_HANDLE")
    again = run(*OPENING, "TPM2_ReadPublic", *KEEPING)
    assert acts_of(first) == acts_of(again) == [OPENED]


def test_after_the_assignment_what_is_opened_is_the_key_for_the_hub():
    (act,) = acts_of(run(*OPENING), assigned=True)
    assert act == Act("take in the key for the hub", "taken in, it stays inside")


def test_two_challenges_are_two_acts_and_so_are_two_signatures():
    assert acts_of(run(*OPENING, *OPENING)) == [OPENED, OPENED]
    assert acts_of(run("TPM2_HMAC", "TPM2_HMAC")) == [SIGNED, SIGNED]


def test_a_signature_in_pieces_is_one():
    pieces = run("TPM2_GetCapability", "TPM2_HMAC_Start", "TPM2_SequenceUpdate", "TPM2_SequenceComplete")
    assert acts_of(pieces) == [SIGNED]


def test_opening_and_signing():
    assert acts_of(run(*OPENING, *KEEPING, "TPM2_GetCapability", "TPM2_HMAC")) == [OPENED, SIGNED]


@pytest.mark.parametrize(
    ("commands", "asked"),
    [
        (["TPM2_ReadPublic", "TPM2_CreatePrimary", *KEEPING, "TPM2_ReadPublic"], "show your public keys"),
        (["TPM2_GetRandom", "TPM2_GetRandom"], "random bytes, please"),
        (["TPM2_GetCapability"], "what can you do?"),
        (["TPM2_SomethingNew"], "show your public keys"),
    ],
    ids=["keys", "random", "capability", "other"],
)
def test_the_rest_is_one_act_each(commands, asked):
    (act,) = acts_of(run(*commands))
    assert act.asked == asked
    assert not act.failed


def test_a_refusal_says_which_and_fails():
    (act,) = acts_of(run(*OPENING[:3], "TPM2_FlushContext", ActivateCredential="TPM_RC_INTEGRITY"))
    assert act == Act("open the challenge", "refused, TPM_RC_INTEGRITY", failed=True)


def test_a_tpm_that_is_gone_gives_no_answer():
    (act,) = acts_of(run("TPM2_ReadPublic", ReadPublic="no answer"))
    assert act == Act("show your public keys", "no answer", failed=True)


def test_nothing_asked_is_nothing_drawn():
    assert acts_of([]) == []
