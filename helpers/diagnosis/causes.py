"""What may be wrong when something fails: cause, remedy, and where it is taught."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from .lock_out import ASK, DEVICE, PROGRAM, LockOut

FIRST = "00_start_here"
ENROLL = "11_symmetric_key_enroll"
START = "12_symmetric_key_start"
VERIFY = "13_symmetric_key_verify"
X509_ENROLL = "21_x509_enroll"
X509_START = "22_x509_start"
X509_VERIFY = "23_x509_verify"
TPM_ENROLL = "31_tpm_enroll"
TPM_START = "32_tpm_start"
TPM_VERIFY = "33_tpm_verify"
BALANCE = "41_load_balanced_hubs"
RETIRE = "42_reprovision_and_retire"
FAILS = "51_when_it_fails"
FLEET = "52_provision_a_fleet"
CLEAN_UP = "90_clean_up"

SYMMETRIC_KEY, X509, TPM = "symmetricKey", "x509", "tpm"


@dataclass(frozen=True)
class Cause:
    """One thing that may be wrong.

    Attributes:
        cause: what is wrong.
        remedy: what to do about it; where somebody may have meant it, that question first.
        taught: notebook that shows it.
        reason: regular expression over the simulator's reason that proves this cause.
        findings: words of the simulator, such as ``certificateExpired``, one of which must stand beside the reason.
        attestation: ``symmetricKey``, ``x509`` or ``tpm`` where only such devices can run into it; empty: any.
        codes: error codes of the service that prove this cause, as six digits or as the name that a hub gives.
        only_here: whether it can only be the cause where the simulator is the target.
        lock_out: how somebody brings it about on purpose, to lock a device out; ``None`` where nobody would.
        fault: word of :mod:`helpers.diagnosis.attempts` for what the client was given, which proves this cause.
    """

    cause: str
    remedy: str
    taught: str
    reason: str = ""
    findings: frozenset[str] = frozenset()
    attestation: str = ""
    codes: frozenset[str] = frozenset()
    only_here: bool = False
    lock_out: LockOut | None = None
    fault: str = ""


def may_be_meant(
    cause: str,
    deed: str,
    owner: str,
    taught: str,
    reason: str = "",
    *,
    holder: str = ASK,
    who: str = DEVICE,
    findings: str = "",
    attestation: str = "",
) -> Cause:
    """A cause that somebody may have brought about on purpose: whatever admitted the device does so no more.

    A date that has passed is none of these: nobody did anything, and renewing takes the authority's key anyway.

    Arguments:
        cause: what is wrong.
        deed: how it is done on purpose, and so on as in :class:`~helpers.diagnosis.lock_out.LockOut`.
        owner: what to do where the service is managed.
        taught: notebook that shows it.
        reason: regular expression over the simulator's reason that proves this cause.
        holder: what to do at the device.
        who: who is locked out.
        findings: words of the simulator, separated by spaces.
        attestation: ``symmetricKey``, ``x509`` or ``tpm`` where only such devices can run into it.
    """
    lock_out = LockOut(deed, owner, holder, who)
    return Cause(cause, lock_out.advice, taught, reason, frozenset(findings.split()), attestation, lock_out=lock_out)


def _found(attestation: str, cause: str, remedy: str, taught: str, findings: str = "", reason: str = "") -> Cause:
    """A cause by the words of the simulator's verdicts, separated by spaces."""
    return Cause(cause, remedy, taught, reason, frozenset(findings.split()), attestation)


GROUP_KEY = Cause(
    "The key of the enrollment group was used as if it were the device's key.",
    "Derive the device's key: HMAC-SHA256 over the registration ID, keyed with the group key.",
    f"{ENROLL}, step 3",
    r"key of enrollment group .* itself",
    attestation=SYMMETRIC_KEY,
)
WRONG_KEY = may_be_meant(
    "The device's key is not one of the two keys of its enrollment.",
    "by giving its enrollment new keys",
    "hand the device the primary or the secondary key of its enrollment, every character of it",
    f"{ENROLL}, step 2",
    r"decides alone, and neither|signature|signed with another key|key does not match|not signed",
    holder="ask whoever manages the service; a key is theirs to give",
    attestation=SYMMETRIC_KEY,
)
UNKNOWN_DEVICE = may_be_meant(
    "DPS has no enrollment for this registration ID: none of its own, and no group whose derived key fits.",
    "by deleting its enrollment, or by deleting its group or giving that new keys",
    "look for the ID in the enrollment list; enroll the device, or derive its key from the right group",
    f"{ENROLL}, step 4",
    r"no individual enrollment",
    holder="mind the spelling of the registration ID; if it is right, ask whoever manages the service",
    attestation=SYMMETRIC_KEY,
)
EXPIRED_TOKEN = Cause(
    "The token of the device has expired, or the clock of the device is wrong.",
    "Set the clock (NTP). Let the SDK make the tokens: it renews them in time.",
    f"{START}, In practice",
    r"expired",
    attestation=SYMMETRIC_KEY,
)
OTHER_RESOURCE = Cause(
    "The token was made for another host, ID scope, registration ID or device ID than the one it is shown to.",
    "Give the SDK the host, the ID scope and the ID of this very device; it puts them into the token.",
    f"{START}, step 2",
    r"token is for|for another|does not (match|belong)|resource|other device",
    attestation=SYMMETRIC_KEY,
)
MALFORMED_TOKEN = Cause(
    "The token cannot be read: a part is missing, or a key was put where a token belongs.",
    "A token begins with 'SharedAccessSignature'. Better: hand the key to the SDK and let it make the token.",
    f"{START}, In practice",
    r"malformed|not a (SAS|token)|SharedAccessSignature|lacks|base64",
    attestation=SYMMETRIC_KEY,
)
SIMULATOR_GONE = Cause(
    "The simulator of this workspace does not run any more (it stops after an idle hour).",
    "Run the cell with connect(target) again: it starts the simulator. Enrollments and devices were kept.",
    f"{FIRST}, step 2",
    only_here=True,
)
TRUST = Cause(
    "This program does not trust the authority that made the server's certificate, or the name is not in it.",
    "Pass **dps.device_options to the client. Behind a company's proxy: add its root certificate to your machine's.",
    f"{FIRST}, In practice",
)
TOO_MANY_REQUESTS = Cause(
    "More requests came than the service takes in this time.",
    "Wait as long as Retry-After says, and let devices boot at different moments.",
    f"{FLEET}, step 4",
    codes=frozenset({"429001", "ThrottlingException"}),
)
NOT_AVAILABLE = Cause(
    "The service is not available at the moment. That passes, and nothing is wrong with your request.",
    "Try again later, after a pause that grows with each attempt and has a random part.",
    f"{FAILS}, step 12",
    codes=frozenset({"503001", "ServiceUnavailable"}),
)
DEVICE_SILENT = Cause(
    "The device is connected, but did not answer the method call in time.",
    "Look whether its program handles this method; call again with a longer response timeout.",
    f"{VERIFY}, step 3",
    codes=frozenset({"504101", "GatewayTimeout"}),
)
#: Codes whose last three digits begin with 9 are the simulator's own.
NOT_IN_THE_SIMULATOR = Cause(
    "Only the simulator answers so: it does not have this operation, or not in this API version.",
    "docs/fidelity.md lists what it has. For the rest, you need Azure.",
    f"{FAILS}, In practice",
    codes=frozenset(
        {
            *("400900", "400901", "404900", "501900", "415901", "417900"),
            *("RouteNotFound", "NotSupported", "ApiVersionNotSupported"),
        }
    ),
    only_here=True,
)
SIMULATOR_FAILED = Cause(
    "Only the simulator answers so: it failed, through no fault of yours.",
    "Read the end of its log, simulator.log in the state folder, and repeat. 90_clean_up makes it anew.",
    f"{FAILS}, In practice",
    codes=frozenset({"400902", "500900", "InternalServerError"}),
    only_here=True,
)
POLICY = may_be_meant(
    "The shared access policy's name or key is wrong, or the policy may not do this.",
    "by giving its policy a new key, deleting the policy or taking a right from it",
    "copy the connection string of the policy again; for enrollments it needs the rights to read and write them",
    f"{FIRST}, In practice",
    r"policy|signature|key",
    holder="ask whoever manages the service for the connection string that counts now",
    who=PROGRAM,
)

# --- certificates ---------------------------------------------------------------------------------------------------

_certificate = partial(_found, X509)
_certificate_not_admitted = partial(may_be_meant, attestation=X509)

ONLY_THE_LEAF = _certificate(
    "The device shows only its own certificate, without the authorities between it and the one that DPS knows.",
    "Give the SDK the file with the whole chain: the device's certificate first, then each issuer in turn.",
    f"{X509_START}, step 5",
    "intermediateMissing",
    r"shows only its own certificate",
)
GAP_IN_CHAIN = _certificate(
    "A certificate in the middle of the chain is missing: the chain that the device shows ends too early.",
    "Put the missing authority's certificate into the chain file, between the one that it signed and its own issuer.",
    f"{X509_START}, step 5",
    "intermediateMissing",
)
UNKNOWN_AUTHORITY = _certificate_not_admitted(
    "No enrollment group knows any of the authorities in the chain that the device shows.",
    "by deleting the group of its authority, or by putting another authority's certificate into the group",
    "enroll one of the authorities, root or intermediate, as the signing certificate of an enrollment group",
    f"{X509_ENROLL}, step 6",
    findings="unknownAuthority",
)
NOT_VERIFIED = _certificate_not_admitted(
    "The group's authority is enrolled, but neither it nor one above it is proven to be yours (any more).",
    "by deleting the certificate of the authority, or of the root above it, from the service",
    "upload it or its root, and prove possession: sign a certificate whose common name is the verification code",
    f"{X509_ENROLL}, step 5",
    findings="authorityNotVerified",
)
OTHER_CERTIFICATE = _certificate_not_admitted(
    "The individual enrollment of this registration ID knows another certificate than the device shows.",
    "by putting another certificate into its enrollment",
    "compare the thumbprints; if the device has renewed its certificate, enroll the new one as the secondary one",
    f"{X509_VERIFY}, step 7",
    r"decides alone",
    holder="show the newest certificate that was issued to it; if that is refused, too, ask whoever manages the "
    "service",
    findings="unknownCertificate",
)
NOT_ENROLLED = _certificate_not_admitted(
    "Nothing is enrolled for this registration ID, and a self-signed certificate belongs to no group.",
    "by deleting its enrollment",
    "enroll the certificate individually, under the common name that stands in it",
    f"{X509_ENROLL}, step 3",
    findings="unknownCertificate",
)
ENROLLED_ELSEWHERE = _certificate(
    "The certificate is enrolled, but under another registration ID.",
    "Register with the ID that the enrollment has, which must also be the certificate's common name.",
    f"{X509_ENROLL}, step 3",
    "enrolledElsewhere",
)
OTHER_NAME = _certificate(
    "The common name (CN) in the device's certificate is not its registration ID.",
    "Make a certificate with the right name, or register under the name that stands in it; case does not matter.",
    f"{X509_ENROLL}, step 2",
    "commonNameMismatch commonNameMissing",
)
EXPIRED_CERTIFICATE = _certificate(
    "A certificate of the chain has expired: the device's own, or one of the authorities above it.",
    "Renew it (same name, same issuer, new dates) before it expires, and let old and new overlap.",
    f"{X509_START}, step 6",
    "certificateExpired",
)
NOT_YET_VALID = _certificate(
    "A certificate is not valid yet. Most often a clock is wrong, where it was made or where it is used.",
    "Set the clocks (NTP), and let certificates begin a little before the moment when they are made.",
    f"{X509_START}, In practice",
    "certificateNotYetValid",
)
SIGNED_BY_NO_AUTHORITY = _certificate(
    "A certificate in the chain is signed by one that may not sign others, such as that of another device.",
    "Sign with the certificate of an authority: basic constraints CA:TRUE, and keyCertSign if it has a key usage.",
    f"{X509_ENROLL}, step 4",
    "issuerNotAuthority",
)
AUTHORITY_AS_DEVICE = _certificate(
    "The certificate of an authority is used as if it were the device's.",
    "Issue a certificate to the device; it gets that one and its key, never those of the authority.",
    f"{X509_ENROLL}, step 4",
    "authorityUsedAsDevice",
)
OTHER_SIGNER = _certificate_not_admitted(
    "A certificate names the right issuer, but another key signed it, as after an authority was made anew.",
    "by making its authority anew, under the same name and with another key",
    "issue a certificate below the new authority to the device, and to no other",
    f"{X509_ENROLL}, step 4",
    holder="show the certificate of the authority that really signed; if that is refused, too, ask whoever manages the "
    "service",
    findings="signatureInvalid",
)
TOO_LONG = _certificate(
    "There are more authorities in the chain than one of them allows below itself (its path length).",
    "Let an authority higher up sign the device's certificate, or make the authority with a longer path length.",
    f"{X509_ENROLL}, step 4",
    "pathTooLong",
)
WRONG_USAGE = _certificate(
    "The extended key usage of the device's certificate does not contain clientAuth: it was made for a server.",
    "Make it again with clientAuth, or without that extension.",
    f"{X509_ENROLL}, In practice",
    "wrongExtendedKeyUsage",
)
WEAK_KEY = _certificate(
    "A key or a signature in the chain is too weak: RSA below 2048 bits, a small curve, SHA-1 or MD5.",
    "Make the certificate again with a key on the curve P-256 (or RSA from 2048 bits) and SHA-256.",
    f"{X509_ENROLL}, In practice",
    "weakKey",
)
OTHER_PROOF = may_be_meant(
    "The enrollment of this registration ID expects another proof than the device shows: key, certificate or TPM.",
    "by enrolling it with another proof than it has",
    "compare the attestation of the enrollment with what the device has, and enroll it with that",
    f"{X509_ENROLL}, step 3",
    holder="register with the proof that the device was given for this; if it has no other, ask whoever manages the "
    "service",
    findings="attestationMismatch",
)
NOT_SUPPORTED = _certificate(
    "The chain is beyond a limit: another kind of key than RSA, P-256, P-384 or P-521, or more than is followed here.",
    "Make a certificate within the limit that the reason names. Where it is one of the simulator's own, Azure may have "
    "none.",
    f"{X509_ENROLL}, In practice",
    "notSupported",
)
CHAIN_INVALID = _certificate(
    "The chain cannot be read or does not hold together.",
    "Look at every certificate of the chain file: the device's own first, then each issuer, PEM and nothing else.",
    f"{X509_START}, step 5",
    "chainInvalid",
)
AT_THE_HUB = _certificate_not_admitted(
    "The device connects with another certificate than the one it registered with: the hub keeps its thumbprint.",
    "by putting another thumbprint into the device's entry in the hub",
    "compare the thumbprints; if the enrollment has the right certificate, let the device register again",
    f"{X509_VERIFY}, step 7",
    r"(?i)certificate|thumbprint",
    holder="connect with the certificate that the device registered with; after a renewal, register first",
)

# --- TPMs -----------------------------------------------------------------------------------------------------------

_tpm = partial(_found, TPM)

#: A device that shows another TPM than the enrolled one may be another device.
_ANOTHER_TPM = (
    "by enrolling another TPM under its registration ID",
    (
        "an impostor with a TPM of its own looks the same, so only if you know that the chip was replaced: write the "
        "new endorsement key into the enrollment, as the maker lists it or as you read it from the device yourself"
    ),
)
UNKNOWN_TPM = may_be_meant(
    "Nothing is enrolled under this registration ID. A TPM needs an individual enrollment; groups admit none.",
    "by deleting its enrollment",
    "enroll the TPM by its endorsement key; a registration ID that is made of it changes when the TPM is replaced",
    f"{TPM_ENROLL}, step 4",
    r"by the endorsement key of its TPM",
    holder="mind the spelling of the registration ID; if it is right, ask whoever manages the service",
    attestation=TPM,
)
OTHER_ENDORSEMENT_KEY = may_be_meant(
    "The endorsement key of the enrollment belongs to another TPM: the chip was replaced, or the text mixed up.",
    *_ANOTHER_TPM,
    f"{TPM_START}, step 5",
    findings="endorsementKeyMismatch",
    attestation=TPM,
)
CHALLENGE_LATE = _tpm(
    "The device answered the challenge too late: the key in it is good for a limited time only.",
    "Register again; the device gets a new challenge.",
    f"{TPM_START}, step 4",
    "challengeExpired",
)
NO_CHALLENGE = _tpm(
    "The device sent a token, but no challenge was given to it before (or a newer one replaced it).",
    "Register from the beginning: first the keys of the TPM without a token, then the token.",
    f"{TPM_START}, step 2",
    "challengeMissing",
)
OTHER_TPM_KEY = _tpm(
    "The token was not signed with the key of the newest challenge.",
    "Activate the newest challenge in the TPM, then sign. Two programs that register at once disturb each other.",
    f"{TPM_START}, step 4",
    "signatureInvalid",
    r"challenge",
)
TPM_TOKEN_EXPIRED = _tpm(
    "The token that the TPM signed has expired, or the clock of the device is wrong.",
    "Set the clock (NTP), and sign a new token.",
    f"{TPM_START}, step 4",
    "tokenExpired",
)
OTHER_TPM_RESOURCE = _tpm(
    "The token that the TPM signed is for another ID scope or registration ID.",
    "Sign the text that belongs to this device: ID scope, 'registrations', registration ID.",
    f"{TPM_START}, step 4",
    "resourceMismatch",
)
OTHER_STORAGE_ROOT_KEY = _tpm(
    "The storage root key is not the one that the challenge was made for: the TPM was cleared in between.",
    "Register from the beginning: the device then sends the key that it has now.",
    f"{TPM_START}, step 2",
    "storageRootKeyMismatch",
)
NO_STORAGE_ROOT_KEY = _tpm(
    "The request names the endorsement key without the storage root key, and a challenge needs both.",
    "Send both public keys of the TPM.",
    f"{TPM_START}, step 2",
    "storageRootKeyMissing",
)
OLDER_HUB_KEY = may_be_meant(
    "The token was signed with another key than the hub has: every registration gives the device a new one.",
    "by giving the device another key in the hub",
    "let the device register again; if it must not, disable its enrollment: another key in the hub does not keep "
    "it out for long",
    f"{TPM_VERIFY}, step 8",
    r"signature|signed|key",
    holder="sign a new token with the TPM after register(), and use none from before",
    attestation=TPM,
)
CHALLENGE_FOR_ANOTHER_TPM = may_be_meant(
    "The challenge was made for another TPM, or it was changed on the way; the message names the part.",
    *_ANOTHER_TPM,
    f"{TPM_START}, step 5",
    attestation=TPM,
)
TPM_NOT_OPENED = _tpm(
    "The TPM is not installed, does not exist, may not be opened, or is in use; the message says which.",
    "Follow the message. The embedded TPM needs nothing: tpm_kind = 'embedded'.",
    f"{TPM_ENROLL}, In practice",
)
TPM_SILENT = _tpm(
    "The TPM stopped answering: its program ended, or another one is talking to it.",
    "Close the TPM in other notebooks, open it again and register again. Its keys were kept.",
    f"{TPM_VERIFY}, In practice",
)

#: Why a device with a TPM is refused by DPS, most frequent first.
TPMS_REFUSED = (
    OTHER_ENDORSEMENT_KEY,
    CHALLENGE_LATE,
    NO_CHALLENGE,
    OTHER_TPM_KEY,
    TPM_TOKEN_EXPIRED,
    OTHER_TPM_RESOURCE,
    OTHER_STORAGE_ROOT_KEY,
)
#: Why a device that shows certificates is refused by DPS, most frequent first.
CERTIFICATES_REFUSED = (
    ONLY_THE_LEAF,
    NOT_VERIFIED,
    OTHER_NAME,
    UNKNOWN_AUTHORITY,
    GAP_IN_CHAIN,
    OTHER_CERTIFICATE,
    NOT_ENROLLED,
    EXPIRED_CERTIFICATE,
    NOT_YET_VALID,
    AUTHORITY_AS_DEVICE,
    ENROLLED_ELSEWHERE,
    OTHER_PROOF,
    OTHER_SIGNER,
    SIGNED_BY_NO_AUTHORITY,
    WRONG_USAGE,
    WEAK_KEY,
    TOO_LONG,
    NOT_SUPPORTED,
    CHAIN_INVALID,
)
#: Why a device that shows a token is refused by DPS, most frequent first.
TOKENS_REFUSED = (GROUP_KEY, WRONG_KEY, UNKNOWN_DEVICE, OTHER_RESOURCE, EXPIRED_TOKEN, MALFORMED_TOKEN)
