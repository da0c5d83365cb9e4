"""What the services do beyond single requests: rules that no one operation shows, with where each comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from dps_simulator.errors.table import Provenance


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        subject: what it is about.
        text: what happens here.
        differences: what is different from Azure or not known.
        provenance: where that comes from.
    """

    subject: str
    text: str
    differences: str = ""
    provenance: Provenance = field(kw_only=True)


_recorded = partial(Rule, provenance=Provenance.RECORDED)
_documented = partial(Rule, provenance=Provenance.DOCUMENTED)
_observed = partial(Rule, provenance=Provenance.SDK_OBSERVED)
_inferred = partial(Rule, provenance=Provenance.INFERRED)
_own = partial(Rule, provenance=Provenance.SIMULATOR_ONLY)

RULES: tuple[Rule, ...] = (
    _own(
        "A state that cannot be changed",
        "on a full disk a device's message is answered (500 on the twin topic, 400902 by the provisioning service) and "
        "not acknowledged; a session that cannot begin gets CONNACK 3; other connections end",
        "Azure has no such disk; what its services answer in trouble of their own is not published",
    ),
    _documented(
        "Attestation by key",
        "individual keys and keys derived from a group's; primary or secondary",
        "which spelling of a registration ID a derived key belongs to is not published: as given, then lower case",
    ),
    _documented(
        "Attestation by certificate",
        "a device's own certificate, or a chain to an enrolled intermediate or a verified CA; the nearest group counts",
        "two texts are recorded; which mistake gets which of them is inferred",
    ),
    _observed(
        "A certificate that is removed",
        "the secondary certificate of an enrollment stays alone when the primary one is removed",
        "live tests of the Azure CLI, for individual enrollments; for groups, and that answers leave the primary one "
        "out then, inferred",
    ),
    _documented(
        "Host names of devices",
        "a device may register at the host name of the service as well as at the global one: private endpoints",
        "over MQTT, WebSockets and HTTPS; both lead to the same here, whatever the network",
    ),
    _recorded(
        "Registrations that are no JSON",
        "400012 with the recorded text; what is wrong stands in the trace",
        "recorded over HTTPS; over MQTT, and for bodies that are nested too deeply, inferred",
    ),
    _inferred(
        "Keys of certificates",
        "RSA from 2048 bits, and ECDSA on the curves P-256, P-384 and P-521; others are refused as `notSupported`",
        "RSA and ECDSA are documented (cipher suites, page on TLS support of iot-dps); curves and sizes are inferred",
    ),
    _inferred(
        "What a certificate may look like",
        "what OpenSSL reads is read, and chains are verified by OpenSSL; a limit beyond that is named as one",
        "a chain of several certificates, UTF-16 and keys are refused where one certificate is wanted",
    ),
    _observed(
        "Attestation by TPM",
        "the two-step challenge over HTTPS; the key can only be taken in by the TPM that was enrolled",
        "the order of the parts is what the SDKs read; choices that they leave open may be other ones on Azure",
    ),
    _documented(
        "Allocation `hashed`",
        "in proportion to the weights of the linked hubs; always the same hub for the same device",
        "Azure's hash is not published: single devices may go to other hubs, shares do not",
    ),
    _documented(
        "Allocation `geoLatency`",
        "the hub with the lowest latency",
        "latencies are set, not measured; hubs without one come last",
    ),
    _documented("Allocation `static`", "the hub of the enrollment", "without one, the first linked hub"),
    _documented(
        "Allocation `custom`",
        "the webhook gets the documented request and decides hub, initial twin and payload",
        "time-out, headers and the errors for answers that cannot be used are inferred; 400207 for a bad status is "
        "recorded",
    ),
    _documented(
        "Reprovisioning",
        "the three policies; twins move, are reset or stay, and the old hub loses the device",
        "`substatus` of a device that stays is recorded for the default policy, inferred for the others, and for API "
        "versions before 2019-04-15, which say `initialAssignment` again",
    ),
    _observed("Disabled enrollments", "registering begins, then ends as `disabled`", "for groups it is inferred"),
    _inferred("Deleting", "an enrollment takes its registrations along; devices stay in their hubs"),
    _documented(
        "Device keys in the hub",
        "the hub gets the device's own key, its thumbprint, or for a TPM a new key at every registration",
        "for a TPM it is inferred",
    ),
    _observed(
        "Modules of a device",
        "a device makes, reads and deletes its own modules with its own token, without a policy's name",
        "iot-identity-service and the SDK for C; that a certificate does as well is inferred",
    ),
    _documented(
        "Modules of an Edge device",
        "`$edgeAgent` and `$edgeHub` come and go with the capability `iotEdge`",
        "that they have keys at once, and count in no limit, is inferred",
    ),
    _observed(
        "Scopes of devices",
        "`deviceScope` of a leaf and `parentScopes` of an Edge device name another Edge device of the hub",
        "an end-to-end test of the SDK for Node; code 400004, and that it holds for `parentScopes`, are inferred",
    ),
    _documented(
        "`modelId` of a twin",
        "what the device announced as `model-id` in its MQTT user name",
        "that it stays when the device connects without one, and is left out before, is inferred",
    ),
    _observed(
        "`tags` of a twin", "no member where there are no tags", "live tests of the Azure CLI and of the SDK for C"
    ),
    _documented(
        "Messages to devices",
        "each is locked for whoever was handed it: over HTTPS for a minute, over MQTT until the connection ends; after "
        "ten deliveries, or when it is rejected or has expired, it is gone. A lock that is lost gets 412002",
        "a lock that has run out, and a message that has expired, are noticed by whoever asks next",
    ),
    _documented(
        "Properties of messages over HTTPS",
        "application properties are headers with `iothub-app-` in front, and keep their spelling; other headers become "
        "system properties",
        "Azure documents letters, digits and some signs; here a value may have all printable ASCII characters, and "
        "anything else gets 400004 (inferred)",
    ),
    _documented(
        "Devices over HTTPS are not connected",
        "`connectionState` stays as it is, `lastActivityTime` moves with every request that is let in",
    ),
    _documented("Two connections of one device", "the newer one stays, the older one is closed"),
    _documented(
        "Expired tokens",
        "end the connection of a device in the second in which they expire",
        "after a jump of the clock, within a second of it",
    ),
    _documented(
        "Access policies",
        "names, rights and both keys as on Azure, for DPS; a rolled key is worthless at once",
        "a hub has one policy, whose name gives it its rights",
    ),
    _inferred(
        "Throttling",
        "off, unless asked for; then the published numbers, 429 and `Retry-After`",
        "how Azure counts is not published: an even bucket here, and no shaping of traffic",
    ),
    _observed(
        "Faults on request (`AzIoTHub_FaultOperationType`)",
        "the ones that MQTT and HTTPS can show: connections end, requests are refused, and devices are kept out for a "
        "while",
        "faults of AMQP are refused in the trace; over HTTPS the error that belongs to the fault is inferred",
    ),
    _own(
        "Faults that a person switches on (`PUT /simulator/faults`)",
        "slow answers, cut connections, 429 and 503, for a while",
        "a service of Azure that is in trouble may look otherwise",
    ),
    _own("Event Grid, diagnostics, routing, IP filters, private links", "not there"),
    _own("Time", "a change shows at once everywhere", "on Azure, lists and queries may lag by seconds"),
    _inferred(
        "TLS",
        "1.2 and 1.3; certificates of devices are judged after the handshake, with a reason in the trace",
        "one certificate for all host names; sessions are not resumed; host names end in `.test`",
    ),
)
