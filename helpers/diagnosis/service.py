"""What one meets while managing DPS and hubs, and what is behind it: a part of :mod:`helpers.diagnosis.table`."""

from __future__ import annotations

from . import causes, causes_at_client
from .causes import BALANCE, ENROLL, FAILS, FIRST, RETIRE, TPM_ENROLL, VERIFY, X509_ENROLL, Cause, may_be_meant
from .kinds import ENROLLMENTS, MANAGEMENT, REGISTRY, SERVICES, Symptom, symptom
from .lock_out import PROGRAM, LockOut

SYMPTOMS: tuple[Symptom, ...] = (
    symptom(
        "not in the simulator",
        "HTTP status 404, 400 or 501, '... not supported by this simulator'",
        [causes.NOT_IN_THE_SIMULATOR],
        codes="404900 400900 501900 415901 417900 RouteNotFound NotSupported ApiVersionNotSupported",
        asks=SERVICES,
        at_client=causes_at_client.TO_SERVICES,
    ),
    symptom(
        "simulator failed",
        "HTTP status 500, 'The simulator failed'",
        [causes.SIMULATOR_FAILED],
        codes="500900 InternalServerError",
        asks=SERVICES,
    ),
    symptom(
        "simulator cannot read the request",
        "HTTP status 400, 408 or 413 with code 400903, 408900 or 413900",
        [
            Cause(
                "Only the simulator answers so: what arrived is no HTTP, too large, or came in pieces for too long.",
                "Send the request with an SDK. If it was one, look for a proxy on the way, and at the body's size.",
                f"{FAILS}, In practice",
            )
        ],
        codes="400903 408900 413900",
        asks=SERVICES,
    ),
    symptom(
        "other access policy needed",
        "HTTP status 400 with code 400901, 'This simulator needs the owner's access policy'",
        [
            Cause(
                "Only the simulator answers so: it works with the policy provisioningserviceowner, which must stay.",
                "Leave that policy as it is; give its keys anew if you like, and add others beside it.",
                f"{FIRST}, In practice",
            )
        ],
        codes="400901",
        at=MANAGEMENT,
    ),
    symptom(
        "service key refused",
        "HTTP status 401 from the service API of DPS or of a hub",
        [
            Cause(
                "The token is for another host: that in the connection string is not spelt as the service is called.",
                "Copy the connection string again, with the bare host name and without blanks or line breaks.",
                f"{FIRST}, In practice",
                r"the token is for (the host )?'",
            ),
            causes.POLICY,
            Cause(
                "The token of your program has expired, or the clock of this machine is wrong.",
                "Set the clock (NTP), and let the SDK make a token from the connection string.",
                f"{FAILS}, In practice",
                r"expired",
                codes=frozenset({"401003"}),
            ),
        ],
        statuses=[401],
        at=f"{ENROLLMENTS} {REGISTRY}",
        at_client=[causes_at_client.DPS_AT_HUB, causes_at_client.HUB_AT_DPS],
    ),
    symptom(
        "login refused",
        "HTTP status 401 or 403 from the management plane, ClientAuthenticationError",
        [
            may_be_meant(
                "On Azure: the login has run out, or this login may not manage the service.",
                LockOut(
                    "by taking its role from it",
                    "give this login the role Contributor or Owner, which takes the owner of the subscription",
                    "log in with: az login; if that does not help, ask whoever owns the subscription for the role",
                    PROGRAM,
                ),
                f"{BALANCE}, In practice",
            ),
            Cause(
                "Against the simulator: it was started anew, and the client still shows the token from before.",
                "Run the cell with connect(target) again, and take a new client from it.",
                f"{FIRST}, step 2",
                r"management token",
                only_here=True,
            ),
        ],
        statuses=[401],
        at=MANAGEMENT,
    ),
    symptom(
        "limit reached",
        "HTTP status 403 with code 403001 or 403000",
        [
            Cause(
                "There are as many enrollments, groups or certificates as the service allows. Waiting does not help.",
                "Delete what you do not need any more, or put many devices into one enrollment group.",
                f"{ENROLL}, step 3",
            )
        ],
        codes="403001 403000",
        at=SERVICES,
    ),
    symptom(
        "quota used up",
        "HTTP status 403 with IotHubQuotaExceeded, 403002",
        [
            Cause(
                "The messages that the hub takes in a day are used up.",
                "Wait until midnight UTC, send less, or take a larger hub.",
                f"{FAILS}, In practice",
            )
        ],
        codes="403002 IotHubQuotaExceeded",
        at=REGISTRY,
    ),
    symptom(
        "queue of the device full",
        "HTTP status 403 with DeviceMaximumQueueDepthExceeded, 403004",
        [
            Cause(
                "As many messages wait for the device as the hub keeps for it (50).",
                "Let the device connect and fetch them, or purge the queue; then send again.",
                f"{VERIFY}, step 3",
            )
        ],
        codes="403004 DeviceMaximumQueueDepthExceeded",
        at=REGISTRY,
    ),
    symptom(
        "access forbidden",
        "HTTP status 403",
        [
            may_be_meant(
                "Who asks is known, and may not do this: a policy without the right, or a firewall of the service.",
                LockOut(
                    "by taking a right from its policy or role, or with a rule of the service's network",
                    "give the policy or the role the right that is missing, and look at the service's network rules",
                    "ask whoever manages the service for a policy with the right, and for nothing beyond it",
                    PROGRAM,
                ),
                f"{FIRST}, In practice",
            )
        ],
        statuses=[403],
        at=SERVICES,
    ),
    symptom(
        "exists already",
        "HTTP status 409, ResourceExistsError",
        [
            Cause(
                "An enrollment or group of that name exists, and the request asked to create it.",
                "To change it, read it first and give its ETag: create_or_update(..., if_match=found['etag']).",
                f"{ENROLL}, step 2",
                codes=frozenset({"409201", "409202"}),
            ),
            Cause(
                "A device of that name exists in the hub, and the request asked to create it.",
                "To change it, read it first and give its ETag. If it is a stranger's, choose another device ID.",
                f"{VERIFY}, step 4",
                codes=frozenset({"409001", "DeviceAlreadyExists"}),
            ),
            Cause(
                "The device has a module of that name already, and the request asked to create it.",
                "To change it, read it first and give its ETag, or choose another module ID.",
                f"{VERIFY}, step 4",
                codes=frozenset({"409301", "ModuleAlreadyExistsOnDevice"}),
            ),
        ],
        statuses=[409],
        at=f"{ENROLLMENTS} {REGISTRY}",
    ),
    symptom(
        "resource cannot move",
        "HTTP status 409 from the management plane, InvalidResourceLocation",
        [
            Cause(
                "The request names another location than the service has, and a service stays where it was made.",
                "Read the service, and send its own location back with your change.",
                f"{BALANCE}, step 2",
            )
        ],
        statuses=[409],
        at=MANAGEMENT,
    ),
    symptom(
        "resource exists already",
        "HTTP status 412 from the management plane, 'already'",
        [
            Cause(
                "A service or certificate of that name exists, and the request asked for a new one (If-None-Match).",
                "To change it, read it first and give its etag; else choose another name.",
                f"{X509_ENROLL}, step 5",
            )
        ],
        statuses=[412],
        text=r"(?i)already",
        at=MANAGEMENT,
    ),
    symptom(
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
        at=SERVICES,
    ),
    symptom(
        "etag needed",
        "HTTP status 428, If-Match is missing",
        [
            Cause(
                "Changing this needs the etag of what you read, so that nobody's change gets lost.",
                "Read it, then give etag=found.etag and match_condition=MatchConditions.IfNotModified.",
                f"{X509_ENROLL}, step 5",
            )
        ],
        statuses=[428],
        at=SERVICES,
    ),
    symptom(
        "device not online",
        "HTTP status 404 with DeviceNotOnline, 404103",
        [
            Cause(
                "The device is not connected, or does not listen for methods.",
                "Connect it and let it wait for method calls before you call.",
                f"{VERIFY}, step 3",
            )
        ],
        codes="404103 DeviceNotOnline",
        asks=REGISTRY,
    ),
    symptom(
        "device went away",
        "HTTP status 404 with DeviceConnectionClosedRemotely, 404104",
        [
            Cause(
                "The device closed its connection while it was asked; nobody knows whether it did what you wanted.",
                "Wait until it is connected again, look whether it was done, and call once more.",
                f"{VERIFY}, step 4",
            )
        ],
        codes="404104 DeviceConnectionClosedRemotely",
        asks=REGISTRY,
    ),
    symptom(
        "not found",
        "HTTP status 404, ResourceNotFoundError",
        [
            Cause(
                "There is no enrollment, group or registration record of that name.",
                "List what there is; mind spelling. A record exists only once the device registered.",
                f"{ENROLL}, step 4",
                codes=frozenset({"404201", "404202", "404203", "404204"}),
            ),
            Cause(
                "There is no device of that name in this hub.",
                "Mind capitals, and look into the other hubs. A device is in a hub only once it registered.",
                f"{VERIFY}, step 4",
                codes=frozenset({"404001", "DeviceNotFound"}),
            ),
            Cause(
                "The device has no module of that name.",
                "List the modules of the device; mind capitals.",
                f"{VERIFY}, step 4",
                codes=frozenset({"404010", "ModuleNotFound"}),
            ),
        ],
        statuses=[404],
        at=f"{ENROLLMENTS} {REGISTRY}",
        at_client=causes_at_client.TO_SERVICES,
    ),
    symptom(
        "resource not found",
        "HTTP status 404 from the management plane, ResourceNotFoundError",
        [
            Cause(
                "There is no certificate of that name in this service.",
                "List the certificates; mind spelling.",
                f"{X509_ENROLL}, step 5",
                codes=frozenset({"404000"}),
            ),
            Cause(
                "There is no provisioning service of that name in this resource group.",
                "Use dps.service_name and dps.resource_group; on Azure, look at AZURE_RESOURCE_GROUP.",
                f"{BALANCE}, step 2",
                codes=frozenset({"404001"}),
            ),
            Cause(
                "The service has no access policy of that name.",
                "List the policies; the one that may do everything is provisioningserviceowner.",
                f"{FIRST}, In practice",
                codes=frozenset({"404002"}),
            ),
            Cause(
                "The operation that the client asks about is not known (any more).",
                "Read the resource: it shows whether your change has arrived. If not, change it again.",
                f"{BALANCE}, step 2",
                codes=frozenset({"404003"}),
            ),
        ],
        statuses=[404],
        at=MANAGEMENT,
    ),
    symptom(
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
        at=ENROLLMENTS,
    ),
    symptom(
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
        at=ENROLLMENTS,
    ),
    symptom(
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
        at=ENROLLMENTS,
    ),
    symptom(
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
        at=ENROLLMENTS,
    ),
    symptom(
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
        at=ENROLLMENTS,
    ),
    symptom(
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
    symptom(
        "connection string of the hub refused",
        "HTTP status 400 from the management plane, 'The connection string leads to no hub'",
        [
            may_be_meant(
                "The connection string with which you link the hub is wrong: its host, its policy or its key.",
                LockOut(
                    "by giving the hub's policy a new key",
                    "take dps.hub_connection_string(hub); on Azure, copy that of the policy iothubowner again",
                    "ask whoever manages the hub for the connection string that counts now",
                    PROGRAM,
                ),
                f"{BALANCE}, step 2",
            )
        ],
        codes="400002",
        at=MANAGEMENT,
    ),
    symptom(
        "device stands twice in a list",
        "HTTP status 400 with DeviceDefinedMultipleTimes, 400011",
        [
            Cause(
                "A device stands more than once in the list of a bulk request.",
                "Name each device once; device IDs are case-sensitive.",
                f"{RETIRE}, step 10",
            )
        ],
        codes="400011 DeviceDefinedMultipleTimes",
        at=REGISTRY,
    ),
    symptom(
        "request not valid",
        "HTTP status 400 from a service API",
        [
            Cause(
                "A field of the request is wrong; the message names it.",
                "Correct the field. Names look like this: registrationId, attestation, symmetricKey.",
                f"{ENROLL}, step 2",
            )
        ],
        statuses=[400],
        at=SERVICES,
        at_client=causes_at_client.TO_SERVICES,
    ),
    symptom(
        "too many for a hub",
        "HTTP status 413 with TooManyDevices, 413002, or TooManyModulesOnDevice, 413003",
        [
            Cause(
                "The hub, or the device, has as many devices or modules as there can be.",
                "Delete those that are gone, or let DPS put further devices into another hub.",
                f"{BALANCE}, step 2",
            )
        ],
        codes="413002 413003 TooManyDevices TooManyModulesOnDevice",
        at=REGISTRY,
    ),
    symptom(
        "too large",
        "HTTP status 413",
        [
            Cause(
                "The request or the message is too large.",
                "Send less at once: fewer entries in a list, a smaller message or payload.",
                f"{VERIFY}, step 5",
            )
        ],
        statuses=[413],
        at=SERVICES,
    ),
    symptom(
        "request in a wrong form",
        "HTTP status 405, 406, 408, 411, 414, 415, 417 or 431",
        [
            Cause(
                "The service does not take this request: another method, or another content type than JSON.",
                "Let a current SDK send it. If you wrote the request yourself, compare it with the SDK's.",
                f"{FAILS}, In practice",
            )
        ],
        statuses=[405, 406, 408, 411, 414, 415, 417, 431],
        at=SERVICES,
        at_client=causes_at_client.TO_SERVICES,
    ),
    symptom(
        "too much at once",
        "HTTP status 429",
        [causes.TOO_MANY_REQUESTS],
        statuses=[429],
        at=SERVICES,
    ),
    symptom(
        "device does not answer",
        "HTTP status 504 with GatewayTimeout, 504101",
        [causes.DEVICE_SILENT],
        codes="504101 GatewayTimeout",
        at=REGISTRY,
    ),
    symptom(
        "service in trouble",
        "HTTP status 500, 502, 503 or 504, or 'too many 503 error responses'",
        # the client of a hub, when it has given up repeating, does not show the code
        [causes.NOT_AVAILABLE, causes.DEVICE_SILENT, causes.SIMULATOR_FAILED],
        statuses=range(500, 600),
        at=SERVICES,
    ),
    symptom(
        "not changed",
        "HTTP status 304, ResourceNotModifiedError",
        [
            Cause(
                "Nothing changed since you read it, so there was nothing to send. This is no fault.",
                "Go on with what you have, or read without the ETag.",
                f"{ENROLL}, step 2",
            )
        ],
        statuses=[304],
        at=SERVICES,
    ),
    symptom(
        "not logged in",
        "ClientAuthenticationError, CredentialUnavailableError, AuthenticationError or TokenExpiredError",
        [
            Cause(
                "Azure does not know who you are: there is no login on this machine, or it has run out.",
                "Log in with: az login. Then run the cell again.",
                f"{BALANCE}, In practice",
            )
        ],
        classes="ClientAuthenticationError CredentialUnavailableError AuthenticationError TokenExpiredError",
    ),
    symptom(
        "refused in another way",
        "HttpResponseError or HttpOperationError with another status, or without any",
        [
            Cause(
                "The service, or something on the way to it, answered what the client did not expect.",
                "Read the message. Look whether the host name is that of your service, and whether a proxy broke in.",
                f"{FAILS}, step 3",
            )
        ],
        at=SERVICES,
        classes="HttpResponseError HttpOperationError",
    ),
)
