"""The published operations of an IoT hub: those of its devices, and those of its service API."""

from __future__ import annotations

from typing import Any

from dps_simulator.errors.table import Hub, Provenance
from tools.fidelity.operations import (
    AmqpQuestion,
    Area,
    ConnectQuestion,
    Door,
    HttpQuestion,
    Operation,
    PublishQuestion,
    SubscribeQuestion,
)

_RECORDED = Provenance.RECORDED
_DOCUMENTED = Provenance.DOCUMENTED
_SDK_OBSERVED = Provenance.SDK_OBSERVED
_INFERRED = Provenance.INFERRED

_KEYS = {"type": "sas", "symmetricKey": {"primaryKey": "{key}", "secondaryKey": "{key}"}}
_DEVICE = {"deviceId": "{device}", "status": "enabled", "authentication": _KEYS}
_MODULE = {"deviceId": "{device}", "moduleId": "{module}", "authentication": _KEYS}
_DEVICE_CLIENT, _MODULE_CLIENT = "{device}", "{device}/{module}"
_TELEMETRY = "kept in a bounded buffer, and read through the simulator's management API; no routes, no Event Hubs"
_ANSWERS = "$iothub/twin/res/#"


def _ask(
    method: str, path: str, body: Any = None, *, accepted: tuple[int, ...] = (), guarded: bool = False, **samples: str
) -> HttpQuestion:
    names = {"id": "{device}", "mid": "{module}", "deviceId": "{device}", "moduleId": "{module}", **samples}
    return HttpQuestion(Door.HUB, method, path, body, {"If-Match": "*"} if guarded else {}, names, accepted)


_WITH_DEVICE = (
    _ask("PUT", "/devices/{device}", _DEVICE),
    _ask("PUT", "/devices/{device}/modules/{module}", _MODULE),
)


def _subscribe(topic_filter: str, client: str = _DEVICE_CLIENT) -> SubscribeQuestion:
    return SubscribeQuestion(Door.HUB_DEVICE, topic_filter, client)


def _publish(topic: str, payload: Any = "", answer: str = "", client: str = _DEVICE_CLIENT) -> PublishQuestion:
    return PublishQuestion(Door.HUB_DEVICE, topic, payload, answer, _ANSWERS if answer else "", client)


MQTT = Area(
    "Hub: devices and modules over MQTT 3.1.1",
    "Microsoft documentation, iot-mqtt-connect-to-iot-hub",
    notes=(
        "Devices prove themselves with keys, thumbprints or certificates of an uploaded CA. Every identity has one "
        "connection: a second one ends the first."
    ),
    setup=_WITH_DEVICE,
    operations=(
        Operation(
            "Connect",
            ConnectQuestion(Door.HUB_DEVICE),
            _SDK_OBSERVED,
            "CONNACK codes for unknown, disabled and wrong devices are inferred (5); never answers session present",
        ),
        Operation("Connect over WebSocket", ConnectQuestion(Door.HUB_DEVICE, websocket=True), _SDK_OBSERVED),
        Operation(
            "Connect with a will",
            ConnectQuestion(Door.HUB_DEVICE, will="devices/{device}/messages/events/"),
            _DOCUMENTED,
        ),
        Operation("Connect as module", ConnectQuestion(Door.HUB_DEVICE, _MODULE_CLIENT), _SDK_OBSERVED),
        Operation(
            "Send telemetry",
            _publish("devices/{device}/messages/events/"),
            _DOCUMENTED,
            _TELEMETRY,
            is_partial=True,
        ),
        Operation(
            "Send telemetry as module",
            _publish("devices/{device}/modules/{module}/messages/events/", client=_MODULE_CLIENT),
            _DOCUMENTED,
            _TELEMETRY,
            is_partial=True,
        ),
        Operation(
            "Receive messages from the cloud",
            _subscribe("devices/{device}/messages/devicebound/#"),
            _DOCUMENTED,
            "MQTT can only complete, not reject or abandon, as on Azure; feedback is not made",
            is_partial=True,
        ),
        Operation("Receive direct methods", _subscribe("$iothub/methods/POST/#"), _DOCUMENTED),
        Operation("Answer a direct method", _publish("$iothub/methods/res/200/?$rid={request}", {}), _DOCUMENTED),
        Operation("Receive answers about the twin", _subscribe(_ANSWERS), _DOCUMENTED),
        Operation(
            "Read the twin", _publish("$iothub/twin/GET/?$rid={request}", "", "$iothub/twin/res/200/"), _DOCUMENTED
        ),
        Operation(
            "Report properties",
            _publish("$iothub/twin/PATCH/properties/reported/?$rid={request}", {"probe": 1}, "$iothub/twin/res/204/"),
            _DOCUMENTED,
            "bodies of refusals are inferred",
        ),
        Operation(
            "Receive desired properties",
            _subscribe("$iothub/twin/PATCH/properties/desired/#"),
            _DOCUMENTED,
        ),
        Operation(
            "Receive inputs of a module",
            _subscribe("devices/{device}/modules/{module}/inputs/#", _MODULE_CLIENT),
            _DOCUMENTED,
            instead="needs IoT Edge; other subscriptions of modules work",
        ),
    ),
)


def _device_request(method: str, path: str, body: Any = None) -> HttpQuestion:
    return HttpQuestion(
        Door.HUB_DEVICE, method, path, body, {}, {"deviceId": "{device}", "etag": "0", "moduleId": "{module}"}
    )


_BY_MQTT = "use MQTT"
HTTPS = Area(
    "Hub: devices over HTTPS",
    "Microsoft documentation, rest/api/iothub/device, and the Python device SDK for files",
    notes="Whoever asks, with whatever token, is told that it is not supported by this simulator.",
    setup=_WITH_DEVICE,
    operations=(
        Operation(
            "Send device event",
            _device_request("POST", "/devices/{deviceId}/messages/events", {}),
            _DOCUMENTED,
            instead=_BY_MQTT,
        ),
        Operation(
            "Send module event",
            _device_request("POST", "/devices/{deviceId}/modules/{moduleId}/messages/events", {}),
            _SDK_OBSERVED,
            instead=_BY_MQTT,
        ),
        Operation(
            "Receive device bound notification",
            _device_request("GET", "/devices/{deviceId}/messages/deviceBound"),
            _DOCUMENTED,
            instead=_BY_MQTT,
        ),
        Operation(
            "Complete device bound notification",
            _device_request("DELETE", "/devices/{deviceId}/messages/deviceBound/{etag}"),
            _DOCUMENTED,
            instead=_BY_MQTT,
        ),
        Operation(
            "Abandon device bound notification",
            _device_request("POST", "/devices/{deviceId}/messages/deviceBound/{etag}/abandon"),
            _DOCUMENTED,
        ),
        Operation(
            "Create file upload",
            _device_request("POST", "/devices/{deviceId}/files", {"blobName": "probe"}),
            _DOCUMENTED,
        ),
        Operation(
            "Update file upload status",
            _device_request("POST", "/devices/{deviceId}/files/notifications", {"correlationId": "0"}),
            _DOCUMENTED,
        ),
    ),
)

AMQP = Area(
    "Hub: AMQP 1.0",
    "the official SDKs",
    notes="Every operation below needs an AMQP connection.",
    operations=(
        Operation(
            "Devices: telemetry",
            AmqpQuestion(Door.HUB_DEVICE, "`/devices/{deviceId}/messages/events`"),
            _SDK_OBSERVED,
            instead=_BY_MQTT,
        ),
        Operation(
            "Devices: messages from the cloud, methods and twins",
            AmqpQuestion(Door.HUB_DEVICE, "`/devices/{deviceId}/…`"),
            _SDK_OBSERVED,
            instead=_BY_MQTT,
        ),
        Operation(
            "Devices: over WebSocket",
            AmqpQuestion(Door.HUB_DEVICE, "`/devices/{deviceId}/…`", websocket=True),
            _SDK_OBSERVED,
            instead=_BY_MQTT,
        ),
        Operation(
            "Service: send to a device",
            AmqpQuestion(Door.HUB, "`/messages/devicebound`"),
            _SDK_OBSERVED,
            instead="`POST /simulator/hubs/HOST/devices/ID/messages`, or `Simulator.send_message` in Python",
        ),
        Operation("Service: feedback", AmqpQuestion(Door.HUB, "`/messages/serviceBound/feedback`"), _SDK_OBSERVED),
        Operation(
            "Service: notifications of files",
            AmqpQuestion(Door.HUB, "`/messages/serviceBound/filenotifications`"),
            _SDK_OBSERVED,
        ),
        Operation(
            "Service: read telemetry (Event Hubs)",
            AmqpQuestion(Door.HUB, "`messages/events`"),
            _SDK_OBSERVED,
            instead="`GET /simulator/hubs/HOST/telemetry`, or `Simulator.telemetry` in Python",
        ),
    ),
)

_OFFLINE = (Hub.DEVICE_NOT_ONLINE.code,)
_LANGUAGE = (
    "`devices` and `devices.modules`, no jobs; no functions but `IS_DEFINED` and `ARRAY_CONTAINS`; a change shows at "
    "once, and not later"
)
_EDGE = "set desired properties of each device; IoT Edge is not simulated"
_JOB = "repeat the operation for each device"

SERVICE = Area(
    "Hub: service API",
    "published API description 2021-04-12",
    notes=(
        "Every api-version since 2018-06-30, and 2017-11-08-preview. Shared access policies only, no Microsoft Entra "
        "tokens. Errors have the names and codes that are documented; their texts are not Azure's where the table of "
        "errors says inferred."
    ),
    operations=(
        Operation("Devices_CreateOrUpdateIdentity", _ask("PUT", "/devices/{id}", _DEVICE), _SDK_OBSERVED),
        Operation("Devices_GetIdentity", _ask("GET", "/devices/{id}"), _SDK_OBSERVED),
        Operation("Devices_GetDevices", _ask("GET", "/devices"), _SDK_OBSERVED, "in order of creation"),
        Operation(
            "BulkRegistry_UpdateRegistry",
            _ask("POST", "/devices", [{"id": "{device}", "importMode": "update", "status": "enabled"}]),
            _DOCUMENTED,
        ),
        Operation(
            "Query_GetTwins",
            _ask("POST", "/devices/query", {"query": "SELECT * FROM devices"}),
            _DOCUMENTED,
            _LANGUAGE,
            is_partial=True,
        ),
        Operation("Devices_GetTwin", _ask("GET", "/twins/{id}"), _DOCUMENTED),
        Operation("Devices_UpdateTwin", _ask("PATCH", "/twins/{id}", {"tags": {"probe": 1}}), _DOCUMENTED),
        Operation("Devices_ReplaceTwin", _ask("PUT", "/twins/{id}", {"tags": {}}), _DOCUMENTED),
        Operation(
            "Devices_InvokeMethod",
            _ask("POST", "/twins/{deviceId}/methods", {"methodName": "probe"}, accepted=_OFFLINE),
            _DOCUMENTED,
            "answers for devices that are not there, do not answer or answer nonsense are inferred in part",
        ),
        Operation("Modules_CreateOrUpdateIdentity", _ask("PUT", "/devices/{id}/modules/{mid}", _MODULE), _DOCUMENTED),
        Operation("Modules_GetIdentity", _ask("GET", "/devices/{id}/modules/{mid}"), _DOCUMENTED),
        Operation("Modules_GetModulesOnDevice", _ask("GET", "/devices/{id}/modules"), _DOCUMENTED),
        Operation("Modules_GetTwin", _ask("GET", "/twins/{id}/modules/{mid}"), _DOCUMENTED),
        Operation(
            "Modules_UpdateTwin", _ask("PATCH", "/twins/{id}/modules/{mid}", {"tags": {"probe": 1}}), _DOCUMENTED
        ),
        Operation("Modules_ReplaceTwin", _ask("PUT", "/twins/{id}/modules/{mid}", {"tags": {}}), _DOCUMENTED),
        Operation(
            "Modules_InvokeMethod",
            _ask(
                "POST",
                "/twins/{deviceId}/modules/{moduleId}/methods",
                {"methodName": "probe"},
                accepted=_OFFLINE,
            ),
            _DOCUMENTED,
        ),
        Operation("Modules_DeleteIdentity", _ask("DELETE", "/devices/{id}/modules/{mid}", guarded=True), _DOCUMENTED),
        Operation(
            "CloudToDeviceMessages_PurgeCloudToDeviceMessageQueue",
            _ask("DELETE", "/devices/{id}/commands"),
            _DOCUMENTED,
        ),
        Operation(
            "CloudToDeviceMessages_ReceiveFeedbackNotification",
            _ask("GET", "/messages/serviceBound/feedback"),
            _DOCUMENTED,
        ),
        Operation(
            "CloudToDeviceMessages_CompleteFeedbackNotification",
            _ask("DELETE", "/messages/serviceBound/feedback/{lockToken}", lockToken="0"),
            _DOCUMENTED,
        ),
        Operation(
            "CloudToDeviceMessages_AbandonFeedbackNotification",
            _ask("POST", "/messages/serviceBound/feedback/{lockToken}/abandon", lockToken="0"),
            _DOCUMENTED,
        ),
        Operation("Statistics_GetDeviceStatistics", _ask("GET", "/statistics/devices"), _SDK_OBSERVED),
        Operation("Statistics_GetServiceStatistics", _ask("GET", "/statistics/service"), _SDK_OBSERVED),
        Operation("Configuration_Get", _ask("GET", "/configurations/{id}"), _DOCUMENTED, instead=_EDGE),
        Operation(
            "Configuration_CreateOrUpdate",
            _ask("PUT", "/configurations/{id}", {"id": "{device}"}),
            _DOCUMENTED,
            instead=_EDGE,
        ),
        Operation("Configuration_Delete", _ask("DELETE", "/configurations/{id}"), _DOCUMENTED, instead=_EDGE),
        Operation("Configuration_GetConfigurations", _ask("GET", "/configurations"), _DOCUMENTED, instead=_EDGE),
        Operation(
            "Configuration_TestQueries",
            _ask("POST", "/configurations/testQueries", {"targetCondition": "*"}),
            _DOCUMENTED,
            instead=_EDGE,
        ),
        Operation(
            "Configuration_ApplyOnEdgeDevice",
            _ask("POST", "/devices/{id}/applyConfigurationContent", {}),
            _DOCUMENTED,
            instead=_EDGE,
        ),
        Operation(
            "Jobs_CreateImportExportJob",
            _ask("POST", "/jobs/create", {"type": "export"}),
            _DOCUMENTED,
            instead="use bulk operations",
        ),
        Operation("Jobs_GetImportExportJobs", _ask("GET", "/jobs"), _DOCUMENTED),
        Operation("Jobs_GetImportExportJob", _ask("GET", "/jobs/{id}"), _DOCUMENTED),
        Operation("Jobs_CancelImportExportJob", _ask("DELETE", "/jobs/{id}"), _DOCUMENTED),
        Operation("Jobs_CreateScheduledJob", _ask("PUT", "/jobs/v2/{id}", {"jobId": "0"}), _DOCUMENTED, instead=_JOB),
        Operation("Jobs_GetScheduledJob", _ask("GET", "/jobs/v2/{id}"), _DOCUMENTED, instead=_JOB),
        Operation("Jobs_QueryScheduledJobs", _ask("GET", "/jobs/v2/query"), _DOCUMENTED, instead=_JOB),
        Operation("Jobs_CancelScheduledJob", _ask("POST", "/jobs/v2/{id}/cancel"), _DOCUMENTED, instead=_JOB),
        Operation("DigitalTwin_GetDigitalTwin", _ask("GET", "/digitaltwins/{id}"), _DOCUMENTED),
        Operation("DigitalTwin_UpdateDigitalTwin", _ask("PATCH", "/digitaltwins/{id}", []), _DOCUMENTED),
        Operation(
            "DigitalTwin_InvokeRootLevelCommand",
            _ask("POST", "/digitaltwins/{id}/commands/{commandName}", {}, commandName="probe"),
            _DOCUMENTED,
            instead="call a direct method",
        ),
        Operation(
            "DigitalTwin_InvokeComponentCommand",
            _ask(
                "POST",
                "/digitaltwins/{id}/components/{componentPath}/commands/{commandName}",
                {},
                componentPath="probe",
                commandName="probe",
            ),
            _DOCUMENTED,
            instead="call a direct method",
        ),
        Operation("Devices_DeleteIdentity", _ask("DELETE", "/devices/{id}", guarded=True), _SDK_OBSERVED),
    ),
)

MORE = Area(
    "Hub: what only some clients ask",
    "the Azure CLI, and iot-identity-service",
    notes="In no list that is published. A device asks for its own modules with its own token.",
    setup=_WITH_DEVICE,
    operations=(
        Operation(
            "Service_BulkRegenerateDeviceKey",
            _ask("POST", "/devices/keys/regenerate", {"policyKey": "primaryKey", "devices": [{"id": "{device}"}]}),
            _SDK_OBSERVED,
            "the members of the answer are inferred",
        ),
        Operation(
            "Modules_OfTheDeviceItself",
            _device_request("GET", "/devices/{deviceId}/modules"),
            _SDK_OBSERVED,
            "with a certificate instead of a token it is inferred",
        ),
    ),
)

AREAS = (MQTT, HTTPS, AMQP, SERVICE, MORE)
