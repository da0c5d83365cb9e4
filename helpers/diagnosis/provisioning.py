"""What a device meets at DPS, and what may be behind it: a part of the table of :mod:`helpers.diagnosis.table`."""

from __future__ import annotations

from . import causes, causes_at_client
from .causes import BALANCE, ENROLL, FAILS, FIRST, START, TPM_ENROLL, TPM_START, X509_ENROLL, Cause, may_be_meant
from .kinds import PROVISIONING, Symptom, symptom

SYMPTOMS: tuple[Symptom, ...] = (
    symptom(
        "registration refused",
        "register() fails, and 'status code 401' stands in the chain of causes",
        [*causes.TOKENS_REFUSED, *causes.TPMS_REFUSED, *causes.CERTIFICATES_REFUSED],
        statuses=[401],
        at=PROVISIONING,
        at_client=[causes_at_client.REGISTRATION_ID],
    ),
    symptom(
        "registration not found",
        "register() fails, and 'status code 404' stands in the chain of causes",
        [
            Cause(
                "There is no service with this ID scope.",
                "Compare the ID scope with the one that your service shows ('0ne…').",
                f"{FAILS}, step 3",
                codes=frozenset({"404002"}),
            ),
            causes.UNKNOWN_TPM,
            may_be_meant(
                "Nothing is enrolled under this registration ID.",
                "by deleting its enrollment",
                "look at the list of enrollments; mind spelling, and enroll the device if it is missing",
                f"{ENROLL}, step 4",
                holder="mind the spelling of the registration ID; if it is right, ask whoever manages the service",
            ),
            Cause(
                "The device asked how a registration is going that DPS does not know: too old, or of another device.",
                "Register again from the beginning, and use the operation ID of the newest answer only.",
                f"{START}, step 5",
                codes=frozenset({"404203", "404204"}),
            ),
            causes.NOT_IN_THE_SIMULATOR,
        ],
        statuses=[404],
        at=PROVISIONING,
        at_client=[causes_at_client.ID_SCOPE, causes_at_client.REGISTRATION_ID],
    ),
    symptom(
        "storage root key missing",
        "register() fails, and 'storageRootKey is missing' stands in the chain of causes",
        [causes.NO_STORAGE_ROOT_KEY],
        statuses=[400],
        text=r"storageRootKey",
        asks=PROVISIONING,
    ),
    symptom(
        "registration malformed",
        "register() fails, and 'status code 400' stands in the chain of causes",
        [
            causes_at_client.REGISTRATION_ID,
            Cause(
                "The payload of the request is not valid.",
                "Send a payload that is a JSON object, and no other registration ID in it than that of the client.",
                f"{FIRST}, step 3",
                r"(?i)\b(body|payload|JSON)\b",
            ),
            Cause(
                "The enrollment is one for a TPM, and the device registers over MQTT, which carries no TPM's proof.",
                "Register over HTTPS: TpmProvisioningDeviceClient of helpers.tpm does.",
                f"{TPM_START}, step 2",
                r"no TPM attestation",
            ),
            causes.NOT_IN_THE_SIMULATOR,
            causes.SIMULATOR_FAILED,
        ],
        statuses=[400],
        at=PROVISIONING,
    ),
    symptom(
        "registration beyond a limit",
        "register() fails, and 'status code 403' stands in the chain of causes",
        "DPS holds as many registrations as it allows. Waiting does not help.",
        "Delete registration records of devices that are gone, or take a second DPS.",
        f"{FAILS}, In practice",
        statuses=[403],
        at=PROVISIONING,
    ),
    symptom(
        "registration too large",
        "register() fails, and 'status code 413' stands in the chain of causes",
        "The request of the device is too large, most often its payload.",
        "Send a smaller payload; what is large belongs into telemetry, after the registration.",
        f"{START}, step 5",
        statuses=[413],
        at=PROVISIONING,
    ),
    symptom(
        "registration put off",
        "register() does not return, or fails with a status above 428",
        [
            causes.TOO_MANY_REQUESTS,
            causes.NOT_AVAILABLE,
            causes.NOT_IN_THE_SIMULATOR,
            causes.SIMULATOR_FAILED,
        ],
        statuses=range(429, 600),
        at=PROVISIONING,
    ),
    symptom(
        "answer not from DPS",
        "'This is not DPS', or a redirection",
        "Something else than DPS answered: the host name is that of another service, or a proxy broke in.",
        "Use dps.provisioning_host, a bare host name; on a company's network, ask about its proxy.",
        f"{FAILS}, step 3",
        text=r"This is not DPS|a redirection, and DPS has none",
    ),
    symptom(
        "registration request not understood",
        "register() fails, and another status from 300 to 428 stands in the chain of causes",
        [
            Cause(
                "The request is not one that DPS knows: wrong method, path or content type, or it came too slowly.",
                "Let a current SDK send it. If you wrote the request yourself, compare it with the SDK's.",
                f"{START}, step 5",
            ),
            causes.NOT_IN_THE_SIMULATOR,
        ],
        statuses=range(300, 429),
        at=PROVISIONING,
    ),
    symptom(
        "enrollment disabled",
        "register() fails, and 'invalid registration status disabled' stands in the chain of causes",
        [
            may_be_meant(
                "The device proved itself, but its individual enrollment is disabled; it goes before any group.",
                "by disabling its enrollment",
                "set the provisioningStatus of its enrollment to 'enabled'",
                f"{ENROLL}, step 2",
                r"individual enrollment",
            ),
            may_be_meant(
                "The device proved itself, but its enrollment group is disabled, and with it all its members.",
                "by disabling its enrollment group, and all other members with it",
                "set the group's provisioningStatus to 'enabled'; to admit one member only, enroll it individually",
                f"{X509_ENROLL}, step 6",
                r"enrollment group",
            ),
        ],
        text=r"^status disabled$|registration status disabled",
        asks=PROVISIONING,
    ),
    symptom(
        "registration failed",
        "register() fails, and 'failed registration status' stands in the chain of causes",
        [
            Cause(
                "DPS knows the device, but has no hub for it: none is linked, or none that its enrollment allows.",
                "Link a hub, or name a linked one in the enrollment; the record's errorMessage says more.",
                f"{BALANCE}, step 2",
                codes=frozenset({"400208"}),
            ),
            Cause(
                "DPS knows the device, but the hub that it is meant for does not exist (any more).",
                "Compare the linked hubs with those that there are, and unlink the one that is gone.",
                f"{BALANCE}, step 2",
                codes=frozenset({"401001"}),
            ),
            Cause(
                "The allocation policy of the enrollment is custom, and its webhook did not answer with a linked hub.",
                "Read errorMessage in the registration record, and try the function with the documented request.",
                f"{BALANCE}, step 7",
                codes=frozenset({"400207"}),
            ),
        ],
        text=r"^status failed\b|failed registration status",
        asks=PROVISIONING,
    ),
    symptom(
        "registration ended oddly",
        "register() fails, and 'invalid registration status' or an answer without a part stands in the chain of causes",
        "DPS accepted the device, and then its answer was not what the client can use; the message says why.",
        "Register again. If it stays like this, read the registration record and the enrollment.",
        f"{START}, step 4",
        text=r"invalid registration status|^status (?!assigned$)\w+$|authenticationKey|without an operationId"
        r"|was assigned, but|request was answered with status code|still says 'assigning'",
        asks=PROVISIONING,
    ),
    symptom(
        "challenge not opened",
        "ActivationError: The TPM cannot open part ... of the challenge",
        [causes.CHALLENGE_FOR_ANOTHER_TPM],
        classes="ActivationError",
    ),
    symptom(
        "TPM not available",
        "TpmUnavailableError, before anything is sent",
        [causes.TPM_NOT_OPENED],
        classes="TpmUnavailableError",
    ),
    symptom(
        "TPM silent",
        "TpmConnectionError or TpmProtocolError",
        [causes.TPM_SILENT],
        classes="TpmConnectionError TpmProtocolError",
    ),
    symptom(
        "TPM refuses",
        "TpmError or TpmResponseError",
        "The TPM refused a command, or was asked for something that it cannot do yet; the message says which.",
        "Register the device first: that gives the TPM the key it signs with. Else follow the message.",
        f"{TPM_ENROLL}, In practice",
        classes="TpmError",
    ),
)
