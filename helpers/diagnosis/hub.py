"""What a device meets at its hub, and what may be behind it: a part of the table of :mod:`helpers.diagnosis.table`."""

from __future__ import annotations

from . import causes, causes_at_client
from .causes import FAILS, FIRST, FLEET, RETIRE, VERIFY, Cause, may_be_meant
from .kinds import HUB, PROVISIONING, SIMULATOR, Symptom, symptom

#: Names with which nothing can be reached, however good the proof is.
_NAMES_GIVEN = (
    causes_at_client.REGISTRATION_ID,
    causes_at_client.ID_SCOPE,
    causes_at_client.DEVICE_ID,
    causes_at_client.HUB_CLIENT_AT_DPS,
    causes_at_client.DPS_CLIENT_AT_HUB,
)

#: The hub, or DPS, answered.
REFUSALS: tuple[Symptom, ...] = (
    symptom(
        "connection refused for these credentials",
        "CredentialError: Credentials invalid, could not connect",
        [
            may_be_meant(
                "The hub does not know the device: it never was in this hub, was moved, or was deleted.",
                "by deleting it from the hub, as at the end of a device's life",
                "look for the device in the registry of every hub; if it is in none, let it register again, which "
                "works for as long as its enrollment stands",
                f"{RETIRE}, step 6",
                r"not registered|no (such )?device\b(?! endpoint)|unknown device",
                holder="register with DPS again, and connect to the hub that it names; if DPS refuses, leave it at "
                "that",
            ),
            may_be_meant(
                "The device is disabled in the hub.",
                "by disabling it in the hub",
                "set the status of the device to 'enabled' in the registry of the hub",
                f"{VERIFY}, step 4",
                r"disabled",
            ),
            causes.AT_THE_HUB,
            causes.OTHER_RESOURCE,
            causes.EXPIRED_TOKEN,
            causes.MALFORMED_TOKEN,
            may_be_meant(
                "The device connects with another key, or under another device ID, than the hub knows for it.",
                "by giving it other keys in the hub or in its enrollment",
                "compare the keys of the device in the hub with those of its enrollment",
                f"{VERIFY}, step 3",
                r"signature|signed|key",
                holder="use the hub and the device ID that register() returned, and the same key that it registered "
                "with; a new key is for whoever manages the service to give",
            ),
            causes.OLDER_HUB_KEY,
            Cause(
                "The host is one where no devices are served, such as that of the management of Azure.",
                "Use dps.provisioning_host to register, and then the hub that register() returned.",
                f"{VERIFY}, step 3",
                r"no device endpoint has the host name",
                only_here=True,
            ),
        ],
        classes="CredentialError UnauthorizedError",
        asks=f"{PROVISIONING} {HUB} {SIMULATOR}",
        at_client=_NAMES_GIVEN,
    ),
    symptom(
        "hub not available",
        "ConnectionFailedError: Connection Refused: broker unavailable",
        [
            Cause(
                "The hub takes no further connections now: too many came at once.",
                "Try again later, after a pause that grows with each attempt and has a random part.",
                f"{FLEET}, step 6",
                r"^(?!the fault ).*(connections|too many)",
            ),
            Cause(
                "The hub is not available at the moment.",
                "Try again later, after a pause that grows with each attempt and has a random part.",
                f"{FAILS}, step 12",
                r"fault|not available",
            ),
        ],
        text=r"(?i)(broker|server) unavailable",
        asks=f"{PROVISIONING} {HUB}",
    ),
    symptom(
        "connection not understood",
        "ClientError, and 'identifier rejected' or 'protocol version' stands in the chain of causes",
        "The device ID is not one that a hub can have, or something speaks another MQTT than 3.1.1.",
        "Use the device ID that register() returned, and the SDK's own client.",
        f"{VERIFY}, step 3",
        text=r"(?i)identifier rejected|unacceptable protocol version|Unknown CONNACK",
        asks=f"{PROVISIONING} {HUB}",
        at_client=_NAMES_GIVEN,
    ),
    symptom(
        "twin refused",
        "'twin operation returned status 400' or 413 stands in the chain of causes",
        "The reported properties cannot be stored: names with spaces, dots or $, too deep, or too large.",
        "Report a JSON object with plain names, at most 10 levels deep and 32 KB in all.",
        f"{VERIFY}, step 6",
        statuses=[400, 413],
        at=HUB,
    ),
    symptom(
        "twin put off",
        "'twin operation returned status 429' or above stands in the chain of causes",
        [causes.TOO_MANY_REQUESTS, causes.NOT_AVAILABLE, causes.SIMULATOR_FAILED],
        # what is not supported is not put off
        statuses={*range(429, 600)} - {501},
        at=HUB,
    ),
    symptom(
        "refused by the hub",
        "'operation returned' and another status stands in the chain of causes",
        [
            may_be_meant(
                "The hub refused what the device asked for.",
                "by disabling or deleting it in the hub",
                "look at the device in the registry, whether it is there and enabled; and not every hub offers "
                "everything",
                f"{VERIFY}, step 4",
            ),
            causes.NOT_IN_THE_SIMULATOR,
        ],
        statuses=range(300, 600),
        at=HUB,
    ),
)

#: Why a connection ends, most frequent first.
_ENDED_BY = (
    Cause(
        "Another client connected under the same device ID, and a hub keeps only the newest one.",
        "Shut the older client down (restart the other notebook's kernel), then connect again.",
        f"{VERIFY}, Clean up",
        r"newer (connection|one)|took over|ForcefullyClosed",
        codes=frozenset({"400027"}),
    ),
    may_be_meant(
        "The device was disabled or deleted in the hub while it was connected.",
        "by disabling or deleting it in the hub",
        "read the device with the registry; enable it, or let it register again if it was deleted",
        f"{VERIFY}, step 4",
        r"disabled|deleted",
    ),
    Cause(
        "The network was interrupted, or something on the way cut the connection.",
        "Connect again; the SDK does so by itself, unless connection_retry=False or it never was connected.",
        f"{FAILS}, step 11",
        r"connection is cut",
    ),
    Cause(
        "The client is not connected (any more), and was not told to connect by itself.",
        "Call connect() first, or make the client with auto_connect=True.",
        f"{VERIFY}, step 3",
    ),
    Cause(
        "The token of the device expired while it was connected.",
        "Let the SDK make the tokens: it renews them in time. Look at the device's clock.",
        f"{FAILS}, In practice",
        codes=frozenset({"401003"}),
    ),
    Cause(
        "A message is too large: a hub takes 256 KB, with its properties.",
        "Send less at once; large files go another way (file upload).",
        f"{VERIFY}, step 5",
        codes=frozenset({"413001"}),
    ),
    Cause(
        "The messages that the hub takes in a day are used up.",
        "Wait until midnight UTC, send less, or take a larger hub.",
        f"{FAILS}, In practice",
        codes=frozenset({"403002"}),
    ),
    Cause(
        "The device sends more than its hub takes at once.",
        "Send less often; after a pause that grows, connect again.",
        f"{FAILS}, step 12",
        codes=frozenset({"429001"}),
    ),
    Cause(
        "The device used a topic that the hub does not have.",
        "Let the SDK choose the topics. If you chose them, compare them with the ones in the trace.",
        f"{VERIFY}, step 7",
        codes=frozenset({"404900"}),
    ),
    Cause(
        "The device asked the simulator for this fault, with a property of a message.",
        "Nothing is wrong: connect again when the fault is over.",
        f"{FAILS}, step 11",
        codes=frozenset({"503900"}),
        only_here=True,
    ),
    causes.SIMULATOR_FAILED,
)

#: A connection that there was has ended, or nobody answers on it.
LOST: tuple[Symptom, ...] = (
    symptom(
        "connection lost",
        "ConnectionDroppedError or NoConnectionError",
        _ENDED_BY,
        classes="ConnectionDroppedError NoConnectionError",
        asks=f"{PROVISIONING} {HUB}",
        at_client=_NAMES_GIVEN,
    ),
    symptom(
        "answer cut off",
        "ServiceResponseError, 'Connection aborted' or 'Remote end closed connection'",
        [
            Cause(
                "The connection ended before the answer was there. Nobody knows whether the request was carried out.",
                "Look whether it was, then repeat it. If it stays like this, ask about the network.",
                f"{FAILS}, step 11",
                r"connection is cut",
            ),
            causes.SIMULATOR_GONE,
        ],
        classes="ServiceResponseError RemoteDisconnected ConnectionResetError ConnectionAbortedError BrokenPipeError "
        "ChunkedEncodingError IncompleteReadError IncompleteRead StreamClosedError",
        asks=f"{PROVISIONING} enrollments registry management",
    ),
    symptom(
        "host not reachable",
        "ConnectionFailedError: Could not connect",
        [
            causes_at_client.HOST,
            Cause(
                "The host name is misspelt, or belongs to another target.",
                "Give dps.provisioning_host, or the hub that register() returned, and **dps.device_options with it.",
                f"{FIRST}, step 3",
            ),
            Cause(
                "Port 8883 is closed in this network (companies and Binder do that).",
                "Use MQTT over WebSockets, which goes through port 443: websockets=True. dps.device_options does it.",
                f"{FIRST}, In practice",
            ),
            causes.SIMULATOR_GONE,
        ],
        classes="ConnectionFailedError gaierror ConnectionError NewConnectionError ServiceRequestError "
        "ClientRequestError ClientConnectorError",
        asks=SIMULATOR,
        at_client=[
            causes_at_client.HOST,
            causes_at_client.PROXY_KIND,
            causes_at_client.NO_OPTIONS,
            causes_at_client.OTHER_WAY,
            causes_at_client.DPS_AT_HUB,
            causes_at_client.HUB_AT_DPS,
        ],
    ),
    symptom(
        "no answer in time",
        "OperationTimeout, TimeoutError or ReadTimeout",
        [
            causes.TOO_MANY_REQUESTS,
            causes.NOT_AVAILABLE,
            causes.NOT_IN_THE_SIMULATOR,
            causes.SIMULATOR_FAILED,
            Cause(
                "The network or the service is slow, or an answer got lost.",
                "Try again, with a longer limit and after a pause. See whether it was carried out all the same.",
                f"{FAILS}, step 9",
            ),
        ],
        classes="OperationTimeout TimeoutError Timeout timeout",
        asks=f"{PROVISIONING} {HUB} enrollments registry management",
    ),
    symptom(
        "message not confirmed",
        "OperationCancelled: Operation cancelled before PUBACK received",
        _ENDED_BY,
        classes="OperationCancelled",
        text=r"before (PUB|SUB|UNSUB)ACK",
        asks=HUB,
    ),
    symptom(
        "work given up",
        "OperationCancelled or CancelledError",
        "The client was disconnected or shut down, or your program cancelled the work, before it was done.",
        "Wait for the answer before you disconnect; then connect and repeat.",
        f"{VERIFY}, step 3",
        classes="OperationCancelled CancelledError",
    ),
    symptom(
        "client shut down",
        "ClientError: Client has already been shut down",
        "The client was shut down: by shutdown(), or because one for DPS ends with its registration.",
        "Make a new client, and connect that.",
        f"{VERIFY}, step 3",
        text=r"already been shut down|Pipeline is not running",
        classes="ClientError PipelineNotRunning",
    ),
)
