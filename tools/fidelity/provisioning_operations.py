"""The published operations of the provisioning service: those of its devices, and those of its service API."""

from __future__ import annotations

from dps_simulator.errors.table import Provenance
from tools.fidelity.operations import (
    AmqpQuestion,
    Area,
    ConnectQuestion,
    Door,
    HttpQuestion,
    Operation,
    PublishQuestion,
)
from tools.fidelity.operations import SubscribeQuestion as Subscription

_RECORDED = Provenance.RECORDED
_DOCUMENTED = Provenance.DOCUMENTED
_SDK_OBSERVED = Provenance.SDK_OBSERVED
_INFERRED = Provenance.INFERRED

_KEYS = {"type": "symmetricKey", "symmetricKey": {"primaryKey": "{key}", "secondaryKey": "{key}"}}
_ENROLLMENT = {"registrationId": "{device}", "attestation": _KEYS}


def _enroll(identifier: str) -> HttpQuestion:
    body = {"registrationId": identifier, "attestation": _KEYS}
    return HttpQuestion(Door.SERVICE, "PUT", f"/enrollments/{identifier}", body)


_REGISTRATION = "/{idScope}/registrations/{registrationId}"
_ANSWERS = "$dps/registrations/res/#"

MQTT = Area(
    "DPS: devices over MQTT 3.1.1",
    "Microsoft documentation, iot-dps-mqtt-support",
    notes=(
        "Port 8883 and the WebSocket paths are those of the SDKs. Symmetric keys and certificates, for individual "
        "enrollments and for groups; MQTT carries no TPM attestation, neither on Azure nor here."
    ),
    setup=(_enroll("{device}"),),
    operations=(
        Operation(
            "Connect",
            ConnectQuestion(Door.PROVISIONING),
            _RECORDED,
            "a wrong key gets CONNACK 0 and then 401, as captured; CONNACK codes for malformed names are inferred",
        ),
        Operation("Connect over WebSocket", ConnectQuestion(Door.PROVISIONING, websocket=True), _SDK_OBSERVED),
        Operation("Subscribe to answers", Subscription(Door.PROVISIONING, _ANSWERS), _DOCUMENTED),
        Operation(
            "Register",
            PublishQuestion(
                Door.PROVISIONING,
                "$dps/registrations/PUT/iotdps-register/?$rid={request}",
                {"registrationId": "{device}"},
                "$dps/registrations/res/20",
                _ANSWERS,
            ),
            _RECORDED,
            "assigned after 0.3 s (`pace = azure`), at once or after n polls; certificates on request (`csr`) are "
            "refused",
            is_partial=True,
        ),
        Operation(
            "Ask for the operation's status",
            PublishQuestion(
                Door.PROVISIONING,
                "$dps/registrations/GET/iotdps-get-operationstatus/?$rid={request}&operationId={operation}",
                "",
                "$dps/registrations/res/20",
                _ANSWERS,
            ),
            _RECORDED,
        ),
    ),
)

HTTPS = Area(
    "DPS: devices over HTTPS",
    "published API description of the device API (RuntimeRegistration)",
    notes="Symmetric keys, certificates and TPMs.",
    setup=(_enroll("{device}"),),
    operations=(
        Operation(
            "RegisterDevice",
            HttpQuestion(Door.PROVISIONING, "PUT", f"{_REGISTRATION}/register", {"registrationId": "{device}"}),
            _DOCUMENTED,
            "certificates on request (`csr`) are refused; the text beside a TPM's challenge is ours",
            is_partial=True,
        ),
        Operation(
            "OperationStatusLookup",
            HttpQuestion(Door.PROVISIONING, "GET", f"{_REGISTRATION}/operations/{{operationId}}"),
            _DOCUMENTED,
        ),
        Operation(
            "DeviceRegistrationStatusLookup",
            HttpQuestion(Door.PROVISIONING, "POST", _REGISTRATION, {"registrationId": "{device}"}),
            _DOCUMENTED,
            "what it tells of a TPM's key is inferred",
        ),
    ),
)

_OVER_AMQP = "register over MQTT or, with a TPM, over HTTPS"
AMQP = Area(
    "DPS: devices over AMQP 1.0",
    "the official SDKs for C, Java, C# and Node",
    operations=(
        Operation("Register", AmqpQuestion(Door.PROVISIONING, "`iotdps-register`"), _SDK_OBSERVED, instead=_OVER_AMQP),
        Operation(
            "Ask for the operation's status",
            AmqpQuestion(Door.PROVISIONING, "`iotdps-get-operationstatus`"),
            _SDK_OBSERVED,
            instead=_OVER_AMQP,
        ),
        Operation(
            "Register over WebSocket",
            AmqpQuestion(Door.PROVISIONING, "`iotdps-register`", websocket=True),
            _SDK_OBSERVED,
            instead=_OVER_AMQP,
        ),
    ),
)


def _service(method: str, path: str, body: object = None, **samples: str) -> HttpQuestion:
    return HttpQuestion(Door.SERVICE, method, path, body, samples={"id": "{device}", **samples})


_GROUP = {"enrollmentGroupId": "{group}", "attestation": _KEYS}
_PAGES = (
    "everything is listed whatever the query says, as on Azure; order and shape of continuation tokens are not Azure's"
)
_MODES = "which items `update` and `delete` accept without an etag is recorded for `update`, inferred for `delete`"

SERVICE = Area(
    "DPS: service API",
    "published API description 2021-10-01; a recording of the real service (2023-05-19) for most answers",
    notes=(
        "api-version 2018-04-01, 2018-09-01-preview, 2019-03-31 and 2021-10-01. What the older ones do not show is "
        "inferred. Shared access policies only, no Microsoft Entra tokens."
    ),
    setup=(
        _enroll("{device}-2"),
        ConnectQuestion(Door.PROVISIONING, "{device}-2"),
        PublishQuestion(
            Door.PROVISIONING,
            "$dps/registrations/PUT/iotdps-register/?$rid={request}",
            {"registrationId": "{device}-2"},
            "$dps/registrations/res/20",
            _ANSWERS,
            "{device}-2",
        ),
    ),
    operations=(
        Operation("IndividualEnrollment_CreateOrUpdate", _service("PUT", "/enrollments/{id}", _ENROLLMENT), _RECORDED),
        Operation("IndividualEnrollment_Get", _service("GET", "/enrollments/{id}"), _RECORDED),
        Operation(
            "IndividualEnrollment_Query",
            _service("POST", "/enrollments/query", {"query": "SELECT *"}),
            _RECORDED,
            _PAGES,
        ),
        Operation(
            "IndividualEnrollment_GetAttestationMechanism",
            _service("POST", "/enrollments/{id}/attestationmechanism"),
            _RECORDED,
        ),
        Operation(
            "IndividualEnrollment_RunBulkOperation",
            _service("POST", "/enrollments", {"mode": "update", "enrollments": [{**_ENROLLMENT, "etag": "*"}]}),
            _RECORDED,
            _MODES,
        ),
        Operation("IndividualEnrollment_Delete", _service("DELETE", "/enrollments/{id}"), _RECORDED),
        Operation(
            "EnrollmentGroup_CreateOrUpdate", _service("PUT", "/enrollmentGroups/{id}", _GROUP, id="{group}"), _RECORDED
        ),
        Operation("EnrollmentGroup_Get", _service("GET", "/enrollmentGroups/{id}", id="{group}"), _RECORDED),
        Operation(
            "EnrollmentGroup_Query",
            _service("POST", "/enrollmentGroups/query", {"query": "SELECT *"}),
            _RECORDED,
            _PAGES,
        ),
        Operation(
            "EnrollmentGroup_GetAttestationMechanism",
            _service("POST", "/enrollmentGroups/{id}/attestationmechanism", id="{group}"),
            _RECORDED,
        ),
        Operation(
            "EnrollmentGroup_RunBulkOperation",
            _service("POST", "/enrollmentGroups", {"mode": "update", "enrollmentGroups": [{**_GROUP, "etag": "*"}]}),
            _RECORDED,
            _MODES,
        ),
        Operation(
            "DeviceRegistrationState_Query",
            _service("POST", "/registrations/{id}/query", id="{group}"),
            _RECORDED,
            "order and shape of continuation tokens are not Azure's",
        ),
        Operation("EnrollmentGroup_Delete", _service("DELETE", "/enrollmentGroups/{id}", id="{group}"), _RECORDED),
        Operation("DeviceRegistrationState_Get", _service("GET", "/registrations/{id}", id="{device}-2"), _RECORDED),
        Operation(
            "DeviceRegistrationState_Delete", _service("DELETE", "/registrations/{id}", id="{device}-2"), _RECORDED
        ),
    ),
)

AREAS = (MQTT, HTTPS, AMQP, SERVICE)
