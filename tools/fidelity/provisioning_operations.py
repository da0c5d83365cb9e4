"""The published operations of the provisioning service: those of its devices, and those of its service API."""

from __future__ import annotations

from tools.fidelity.operations import (
    AmqpQuestion,
    Area,
    ConnectQuestion,
    Door,
    HttpQuestion,
    PublishQuestion,
    SubscribeQuestion,
    documented,
    observed,
    recorded,
)

_KEYS = {"type": "symmetricKey", "symmetricKey": {"primaryKey": "{key}", "secondaryKey": "{key}"}}
_ENROLLMENT = {"registrationId": "{device}", "attestation": _KEYS}


def _enroll(identifier: str) -> HttpQuestion:
    body = {"registrationId": identifier, "attestation": _KEYS}
    return HttpQuestion(Door.SERVICE, "PUT", f"/enrollments/{identifier}", body)


_REGISTRATION = "/{idScope}/registrations/{registrationId}"
_ANSWERS = "$dps/registrations/res/#"
_REGISTER = "PUT/iotdps-register/?$rid={request}"


def _publish(request: str, body: object, client: str = "{device}") -> PublishQuestion:
    topic, answer = f"$dps/registrations/{request}", "$dps/registrations/res/20"
    return PublishQuestion(Door.PROVISIONING, topic, body, answer, _ANSWERS, client)


MQTT = Area(
    "DPS: devices over MQTT 3.1.1",
    "Microsoft documentation, iot-dps-mqtt-support",
    notes=(
        "Port 8883 and the WebSocket paths are those of the SDKs. Symmetric keys and certificates, for individual "
        "enrollments and for groups; MQTT carries no TPM attestation, neither on Azure nor here."
    ),
    setup=(_enroll("{device}"),),
    operations=(
        recorded(
            "Connect",
            ConnectQuestion(Door.PROVISIONING),
            "a wrong key gets CONNACK 0 and then 401, as captured; CONNACK codes for malformed names are inferred",
        ),
        observed("Connect over WebSocket", ConnectQuestion(Door.PROVISIONING, websocket=True)),
        documented("Subscribe to answers", SubscribeQuestion(Door.PROVISIONING, _ANSWERS)),
        recorded(
            "Register",
            _publish(_REGISTER, {"registrationId": "{device}"}),
            missing="assigned after 0.3 s (`pace = azure`), at once or after n polls; certificates on request (`csr`) "
            "are refused",
        ),
        recorded(
            "Ask for the operation's status",
            _publish("GET/iotdps-get-operationstatus/?$rid={request}&operationId={operation}", ""),
        ),
    ),
)

HTTPS = Area(
    "DPS: devices over HTTPS",
    "published API description of the device API (RuntimeRegistration)",
    notes="Symmetric keys, certificates and TPMs.",
    setup=(_enroll("{device}"),),
    operations=(
        documented(
            "RegisterDevice",
            HttpQuestion(Door.PROVISIONING, "PUT", f"{_REGISTRATION}/register", {"registrationId": "{device}"}),
            missing="certificates on request (`csr`) are refused; the text beside a TPM's challenge is ours",
        ),
        documented(
            "OperationStatusLookup",
            HttpQuestion(Door.PROVISIONING, "GET", f"{_REGISTRATION}/operations/{{operationId}}"),
        ),
        documented(
            "DeviceRegistrationStatusLookup",
            HttpQuestion(Door.PROVISIONING, "POST", _REGISTRATION, {"registrationId": "{device}"}),
            "what it tells of a TPM's key is inferred",
        ),
    ),
)

_LINK = "{idScope}/registrations/{device}"
AMQP = Area(
    "DPS: devices over AMQP 1.0",
    "the official SDKs for C, Java, C# and Node",
    notes=(
        "Symmetric keys by SASL PLAIN, TPMs by SASL TPM, certificates in TLS. Requests are messages, which are "
        "accepted or rejected."
    ),
    setup=(_enroll("{device}"),),
    operations=(
        observed(
            "Register",
            AmqpQuestion(Door.PROVISIONING, _LINK, purpose="`iotdps-register`"),
            "which condition a refusal has is inferred, and that a wrong token is told as the outcome of the request; "
            "a TPM that is not enrolled hears of it there as well",
        ),
        observed(
            "Ask for the operation's status",
            AmqpQuestion(Door.PROVISIONING, _LINK, purpose="`iotdps-get-operationstatus`"),
        ),
        observed("Answers", AmqpQuestion(Door.PROVISIONING, _LINK, sends=False)),
        observed("Register over WebSocket", AmqpQuestion(Door.PROVISIONING, _LINK, websocket=True)),
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
        _publish(_REGISTER, {"registrationId": "{device}-2"}, "{device}-2"),
    ),
    operations=(
        recorded("IndividualEnrollment_CreateOrUpdate", _service("PUT", "/enrollments/{id}", _ENROLLMENT)),
        recorded("IndividualEnrollment_Get", _service("GET", "/enrollments/{id}")),
        recorded("IndividualEnrollment_Query", _service("POST", "/enrollments/query", {"query": "SELECT *"}), _PAGES),
        recorded(
            "IndividualEnrollment_GetAttestationMechanism", _service("POST", "/enrollments/{id}/attestationmechanism")
        ),
        recorded(
            "IndividualEnrollment_RunBulkOperation",
            _service("POST", "/enrollments", {"mode": "update", "enrollments": [{**_ENROLLMENT, "etag": "*"}]}),
            _MODES,
        ),
        recorded("IndividualEnrollment_Delete", _service("DELETE", "/enrollments/{id}")),
        recorded("EnrollmentGroup_CreateOrUpdate", _service("PUT", "/enrollmentGroups/{id}", _GROUP, id="{group}")),
        recorded("EnrollmentGroup_Get", _service("GET", "/enrollmentGroups/{id}", id="{group}")),
        recorded("EnrollmentGroup_Query", _service("POST", "/enrollmentGroups/query", {"query": "SELECT *"}), _PAGES),
        recorded(
            "EnrollmentGroup_GetAttestationMechanism",
            _service("POST", "/enrollmentGroups/{id}/attestationmechanism", id="{group}"),
        ),
        recorded(
            "EnrollmentGroup_RunBulkOperation",
            _service("POST", "/enrollmentGroups", {"mode": "update", "enrollmentGroups": [{**_GROUP, "etag": "*"}]}),
            _MODES,
        ),
        recorded(
            "DeviceRegistrationState_Query",
            _service("POST", "/registrations/{id}/query", id="{group}"),
            "order and shape of continuation tokens are not Azure's",
        ),
        recorded("EnrollmentGroup_Delete", _service("DELETE", "/enrollmentGroups/{id}", id="{group}")),
        recorded("DeviceRegistrationState_Get", _service("GET", "/registrations/{id}", id="{device}-2")),
        recorded("DeviceRegistrationState_Delete", _service("DELETE", "/registrations/{id}", id="{device}-2")),
    ),
)

AREAS = (MQTT, HTTPS, AMQP, SERVICE)
