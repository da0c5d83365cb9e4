"""Errors as one meets them, and what may be behind each: the table that :mod:`helpers.diagnosis` looks things up in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from helpers import causes
from helpers.causes import BALANCE, ENROLL, FIRST, START, TPM_ENROLL, VERIFY, X509_ENROLL, X509_START, Cause


@dataclass(frozen=True)
class Symptom:
    """An error as one meets it, and what may be behind it.

    Attributes:
        name: short and unique.
        shown: what the learner sees.
        classes: names of exception classes, one of which is in the chain; empty: any.
        statuses: statuses of the service, one of which is in the chain; empty: any.
        text: regular expression that the chain's text must contain; empty: any.
        asks: services of the simulator whose trace knows more; empty: the error arose before anything was sent.
        causes: most frequent first.
    """

    name: str
    shown: str
    classes: frozenset[str]
    statuses: frozenset[int]
    text: str
    asks: frozenset[str]
    causes: tuple[Cause, ...]


def _symptom(
    name: str,
    shown: str,
    found: Sequence[Cause],
    *,
    classes: str = "",
    statuses: Iterable[int] = (),
    text: str = "",
    asks: str = "",
) -> Symptom:
    return Symptom(
        name, shown, frozenset(classes.split()), frozenset(statuses), text, frozenset(asks.split()), tuple(found)
    )


_REGISTERING = r"register request returned|query_status request returned|request returned a service error"

SYMPTOMS: tuple[Symptom, ...] = (
    _symptom(
        "registration refused",
        "register() fails, and 'status code 401' stands in the chain of causes",
        [*causes.TOKENS_REFUSED, *causes.TPMS_REFUSED, *causes.CERTIFICATES_REFUSED],
        statuses=[401],
        text=_REGISTERING,
        asks="provisioning",
    ),
    _symptom(
        "registration not found",
        "register() fails, and 'status code 404' stands in the chain of causes",
        [
            causes.UNKNOWN_TPM,
            Cause(
                "There is no service with this ID scope, or nothing is enrolled under this registration ID.",
                "Compare the ID scope with the one that your service shows ('0ne…'), then look at the enrollments.",
                f"{FIRST}, step 3",
            ),
        ],
        statuses=[404],
        text=_REGISTERING,
        asks="provisioning",
    ),
    _symptom(
        "storage root key missing",
        "register() fails, and 'storageRootKey is missing' stands in the chain of causes",
        [causes.NO_STORAGE_ROOT_KEY],
        statuses=[400],
        text=r"storageRootKey",
        asks="provisioning",
    ),
    _symptom(
        "registration malformed",
        "register() fails, and 'status code 400' stands in the chain of causes",
        [
            Cause(
                "The registration ID or the payload of the request is not valid.",
                "Use up to 128 letters, digits and . _ : - in the ID; send a payload that is a JSON object.",
                f"{FIRST}, step 3",
            )
        ],
        statuses=[400],
        text=_REGISTERING,
        asks="provisioning",
    ),
    _symptom(
        "enrollment disabled",
        "register() fails, and 'invalid registration status disabled' stands in the chain of causes",
        [
            Cause(
                "The device proved itself, but its individual enrollment is disabled; it goes before any group.",
                "Set its provisioningStatus to 'enabled', or leave it: this is how a single device is locked out.",
                f"{ENROLL}, step 2",
                r"individual enrollment",
            ),
            Cause(
                "The device proved itself, but its enrollment group is disabled, and with it all its members.",
                "Set the group's provisioningStatus to 'enabled', or enroll this device individually.",
                f"{X509_ENROLL}, step 6",
                r"enrollment group",
            ),
        ],
        text=r"^status disabled$|registration status disabled",
        asks="provisioning",
    ),
    _symptom(
        "registration failed",
        "register() fails, and 'failed registration status' stands in the chain of causes",
        [
            Cause(
                "DPS knows the device, but could not put it into a hub (no hub linked, or the hub was deleted).",
                "Look at the linked hubs of the service, and at errorMessage in the registration record.",
                f"{START}, step 4",
            ),
            Cause(
                "The allocation policy of the enrollment is custom, and its webhook did not answer with a linked hub.",
                "Read errorMessage in the registration record, and try the function with the documented request.",
                f"{BALANCE}, step 7",
            ),
        ],
        text=r"^status failed$|failed registration status",
    ),
    _symptom(
        "connection refused for these credentials",
        "CredentialError: Credentials invalid, could not connect",
        [
            Cause(
                "The hub does not know the device, or the device is disabled there.",
                "Read the device with the registry; register it again if it was deleted.",
                f"{VERIFY}, step 4",
                r"not registered|no (such )?device|disabled|unknown device",
            ),
            causes.AT_THE_HUB,
            causes.OTHER_RESOURCE,
            causes.EXPIRED_TOKEN,
            causes.MALFORMED_TOKEN,
            Cause(
                "The device connects with another key, or under another device ID, than the hub knows for it.",
                "Use the hub and the device ID that register() returned, and the same key that it registered with.",
                f"{VERIFY}, step 3",
                r"signature|signed|key",
            ),
            causes.OLDER_HUB_KEY,
        ],
        classes="CredentialError UnauthorizedError",
        asks="provisioning hub",
    ),
    _symptom(
        "challenge not opened",
        "ActivationError: The TPM cannot open part ... of the challenge",
        [causes.CHALLENGE_FOR_ANOTHER_TPM],
        classes="ActivationError",
    ),
    _symptom(
        "TPM not available",
        "TpmUnavailableError, before anything is sent",
        [causes.TPM_NOT_OPENED],
        classes="TpmUnavailableError",
    ),
    _symptom(
        "TPM silent",
        "TpmConnectionError or TpmProtocolError",
        [causes.TPM_SILENT],
        classes="TpmConnectionError TpmProtocolError",
    ),
    _symptom(
        "certificate files not usable",
        "CertificateError, before anything is sent",
        [
            Cause(
                "A certificate, its key or its pass phrase cannot be used; the message names the file and the fault.",
                "Follow the message.",
                f"{X509_START}, step 2",
            )
        ],
        classes="CertificateError CertificateFileError",
    ),
    _symptom(
        "key of another certificate",
        "SSLError: KEY_VALUES_MISMATCH",
        [
            Cause(
                "The private key does not belong to the first certificate of the certificate file.",
                "Put the device's own certificate first, and give the key that was made with it.",
                f"{X509_START}, step 2",
            )
        ],
        text=r"KEY_VALUES_MISMATCH",
    ),
    _symptom(
        "key too small",
        "SSLError: EE_KEY_TOO_SMALL, before anything is sent",
        [causes.WEAK_KEY],
        text=r"KEY_TOO_SMALL|MD_TOO_WEAK",
    ),
    _symptom(
        "certificate or key not readable",
        "SSLError: PEM lib",
        [
            Cause(
                "The pass phrase of the key file is wrong or missing.",
                "Give it as pass_phrase=... of X509(...).",
                f"{X509_START}, In practice",
            ),
            Cause(
                "A file holds no PEM certificate, or no PEM key (the .cer file is DER, which the SDK does not read).",
                "Give the .pem files: the chain as certificate file, the key as key file.",
                f"{X509_START}, step 2",
            ),
        ],
        text=r"(?i)\bPEM\b",
        classes="SSLError",
    ),
    _symptom(
        "file not there",
        "FileNotFoundError: No such file or directory",
        [
            Cause(
                "The certificate file or the key file that X509(...) names does not exist.",
                "Save the device's certificate again, and give the paths that save() returned.",
                f"{X509_START}, step 2",
            )
        ],
        classes="FileNotFoundError",
    ),
    _symptom(
        "certificate file gone",
        "OSError: Could not find a suitable TLS CA certificate bundle",
        [causes.SIMULATOR_GONE],
        text=r"TLS CA certificate bundle, invalid path",
    ),
    _symptom(
        "token not usable",
        "ValueError: Invalid SasToken provided",
        [causes.MALFORMED_TOKEN],
        text=r"Invalid SasToken",
    ),
    _symptom(
        "token expired",
        "ValueError: Provided SasToken has already expired",
        [causes.EXPIRED_TOKEN],
        text=r"(?i)SasToken has already expired",
    ),
    _symptom(
        "host refused by the way to it",
        "ProtocolProxyError or ProxyError with 403: Forbidden",
        [
            Cause(
                "Against the simulator: the host is none of its own, so it leads nowhere.",
                "Use dps.provisioning_host, and the hub that register() returned.",
                f"{FIRST}, step 2",
            ),
            Cause(
                "On Azure: the proxy of your network does not let this host through.",
                "Ask for *.azure-devices.net and *.azure-devices-provisioning.net to be allowed.",
                f"{FIRST}, In practice",
            ),
        ],
        text=r"403:? Forbidden",
    ),
    _symptom(
        "proxy unreachable",
        "ProtocolProxyError, ProxyError or 'Unable to connect to proxy'",
        [
            causes.SIMULATOR_GONE,
            Cause(
                "On Azure: the proxy of your network does not answer.",
                "Check HTTPS_PROXY, or ask whoever runs the network.",
                f"{FIRST}, In practice",
            ),
        ],
        classes="ProtocolProxyError ProxyError ProxyConnectionError ClientProxyConnectionError HTTPError",
        text=r"(?i)prox",
    ),
    _symptom(
        "certificate not trusted",
        "TlsExchangeAuthError, SSLError or 'certificate verify failed'",
        [causes.TRUST],
        text=r"(?i)certificate verify failed|TLS exchange|CERTIFICATE_VERIFY_FAILED|hostname mismatch|Tls",
        classes="TlsExchangeAuthError SSLError SSLCertVerificationError SSLZeroReturnError",
    ),
    _symptom(
        "host not reachable",
        "ConnectionFailedError: Could not connect",
        [
            Cause(
                "The host name is wrong, or has https:// in front, or belongs to another target.",
                "Give the bare host name (dps.provisioning_host), and **dps.device_options with it.",
                f"{FIRST}, step 3",
            ),
            Cause(
                "Port 8883 is closed in this network (companies and Binder do that).",
                "Use MQTT over WebSockets, which goes through port 443: websockets=True. dps.device_options does it.",
                f"{FIRST}, In practice",
            ),
            causes.SIMULATOR_GONE,
        ],
        classes="ConnectionFailedError gaierror ConnectionRefusedError NewConnectionError ServiceRequestError",
    ),
    _symptom(
        "connection lost",
        "ConnectionDroppedError or NoConnectionError",
        [
            Cause(
                "Another client connected under the same device ID, and a hub keeps only the newest one.",
                "Shut the older client down (restart the other notebook's kernel), then connect again.",
                f"{VERIFY}, Clean up",
                r"newer connection|took over|ForcefullyClosed",
            ),
            Cause(
                "The device was disabled or deleted in the hub while it was connected.",
                "Read the device with the registry.",
                f"{VERIFY}, step 4",
                r"disabled|deleted",
            ),
        ],
        classes="ConnectionDroppedError NoConnectionError",
        asks="provisioning hub",
    ),
    _symptom(
        "service key refused",
        "HTTP status 401 from the service API of DPS or of a hub",
        [causes.POLICY],
        statuses=[401],
        asks="enrollments registry",
    ),
    _symptom(
        "exists already",
        "HTTP status 409, ResourceExistsError",
        [
            Cause(
                "Something of that name exists, and the request asked to create it.",
                "To change it, read it first and give its ETag: create_or_update(..., if_match=found['etag']).",
                f"{ENROLL}, step 2",
            )
        ],
        statuses=[409],
        asks="enrollments registry",
    ),
    _symptom(
        "changed meanwhile",
        "HTTP status 412, precondition failed",
        [
            Cause(
                "Somebody changed it after you read it: its ETag is not the one that you gave.",
                "Read it again, apply your change to what you read, and write with the new ETag.",
                f"{ENROLL}, step 2",
            )
        ],
        statuses=[412],
        asks="enrollments registry",
    ),
    _symptom(
        "device not online",
        "HTTP status 404 with DeviceNotOnline, 404103",
        [
            Cause(
                "The device is not connected, or does not listen for methods.",
                "Connect it and let it wait for method calls before you call.",
                f"{VERIFY}, step 3",
            )
        ],
        text=r"404103|DeviceNotOnline|Timed out waiting for device",
        asks="registry",
    ),
    _symptom(
        "not found",
        "HTTP status 404, ResourceNotFoundError",
        [
            Cause(
                "There is no enrollment, registration record or device of that name.",
                "List what there is; device IDs are case-sensitive. A record exists only once the device registered.",
                f"{ENROLL}, step 4",
            )
        ],
        statuses=[404],
        asks="enrollments registry",
    ),
    _symptom(
        "endorsement key not usable",
        "HTTP status 400, 'attestation.tpm.endorsementKey ...'",
        [
            Cause(
                "What stands in the enrollment is not the endorsement key as a TPM writes it (TPM2B_PUBLIC in base64).",
                "Take tpm.endorsement_key. It begins with AToAAQ; a PEM file, a hash or an ID are something else.",
                f"{TPM_ENROLL}, step 4",
            )
        ],
        statuses=[400],
        text=r"endorsementKey",
        asks="enrollments",
    ),
    _symptom(
        "TPM in an enrollment group",
        "HTTP status 400, 'enrollment groups know no TPM attestation'",
        [
            Cause(
                "Groups admit many devices by one key or authority; every TPM has its own endorsement key.",
                "Enroll each TPM individually, or use a group with certificates whose keys lie in the TPMs.",
                f"{TPM_ENROLL}, step 6",
            )
        ],
        statuses=[400],
        text=r"(?i)groups?\b.*\bTPM|TPM.*\bgroups?",
        asks="enrollments",
    ),
    _symptom(
        "private key sent as certificate",
        "HTTP status 400, '... is a private key ...'",
        [
            Cause(
                "The private key was pasted where the certificate belongs.",
                "Send the certificate. A key that left its device is no secret any more: make new ones.",
                f"{X509_ENROLL}, step 3",
            )
        ],
        statuses=[400],
        text=r"is a private key",
        asks="enrollments",
    ),
    _symptom(
        "chain sent as certificate",
        "HTTP status 400, '... is a chain of 2 certificates ...'",
        [
            Cause(
                "A file with a whole chain was sent where one certificate is wanted.",
                "An individual enrollment takes the device's own certificate, a group that of one authority.",
                f"{X509_ENROLL}, step 3",
            )
        ],
        statuses=[400],
        text=r"is a chain of \d+ certificates",
        asks="enrollments",
    ),
    _symptom(
        "something else sent as certificate",
        "HTTP status 400, '... must be one certificate, as PEM or as base64 ...'",
        [
            Cause(
                "What was sent is no certificate: a signing request, a public key, half of a file, or a file name.",
                "Send the text from BEGIN CERTIFICATE to END CERTIFICATE with both lines, or base64 of the .cer.",
                f"{X509_ENROLL}, step 3",
            )
        ],
        statuses=[400],
        text=r"must be one certificate",
        asks="enrollments",
    ),
    _symptom(
        "possession not proven",
        "HTTP status 400, 'The certificate proves nothing', or code 400053",
        [
            Cause(
                "The verification certificate carries another code than DPS asked for last, or another key signed it.",
                "Ask for a code, put it into the common name, sign with the authority's own key, and send that.",
                f"{X509_ENROLL}, step 5",
            )
        ],
        statuses=[400],
        text=r"(?i)proves nothing|400053|proof.of.possession",
    ),
    _symptom(
        "request not valid",
        "HTTP status 400 from a service API",
        [
            Cause(
                "A field of the request is wrong; the message names it.",
                "Correct the field. Names are spelt like this: registrationId, attestation, symmetricKey.",
                f"{ENROLL}, step 2",
            )
        ],
        statuses=[400],
        asks="enrollments registry",
    ),
    _symptom(
        "too much at once",
        "HTTP status 429",
        [
            Cause(
                "More requests than the service takes in a minute.",
                "Wait as long as Retry-After says, and let devices boot at different moments.",
                f"{START}, In practice",
            )
        ],
        statuses=[429],
        asks="enrollments registry",
    ),
    _symptom(
        "simulator does not start",
        "LaunchError",
        [
            Cause(
                "A port is taken, or the state folder cannot be written or is damaged; the message says which.",
                "Follow the message. 90_clean_up removes the simulator's state; the next connect() makes a new one.",
                "90_clean_up",
            )
        ],
        classes="LaunchError",
    ),
    _symptom(
        "setting or parameter wrong",
        "TargetError, CredentialsError, ParameterError or WorkspaceError",
        [
            Cause(
                "A value that you gave cannot be used; the message names it.",
                "Follow the message.",
                f"{FIRST}, step 2",
            )
        ],
        classes="TargetError CredentialsError ParameterError WorkspaceError LessonError",
    ),
)

UNKNOWN = _symptom(
    "not in the table",
    "another error",
    [
        Cause(
            "This table has no entry for it.",
            "Read the chain of causes from below: the last line is where it began.",
            FIRST,
        )
    ],
)
