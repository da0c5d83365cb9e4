"""The published operations of an IoT hub: those of its devices, and those of its service API."""

from __future__ import annotations

from typing import Any

from dps_simulator.errors.table import Hub
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
)

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
        observed(
            "Connect",
            ConnectQuestion(Door.HUB_DEVICE),
            "CONNACK codes for unknown, disabled and wrong devices are inferred (5); never answers session present",
        ),
        observed("Connect over WebSocket", ConnectQuestion(Door.HUB_DEVICE, websocket=True)),
        documented("Connect with a will", ConnectQuestion(Door.HUB_DEVICE, will="devices/{device}/messages/events/")),
        observed("Connect as module", ConnectQuestion(Door.HUB_DEVICE, _MODULE_CLIENT)),
        documented("Send telemetry", _publish("devices/{device}/messages/events/"), missing=_TELEMETRY),
        documented(
            "Send telemetry as module",
            _publish("devices/{device}/modules/{module}/messages/events/", client=_MODULE_CLIENT),
            missing=_TELEMETRY,
        ),
        documented(
            "Receive messages from the cloud",
            _subscribe("devices/{device}/messages/devicebound/#"),
            missing="MQTT can only complete, not reject or abandon, as on Azure; feedback is not made",
        ),
        documented("Receive direct methods", _subscribe("$iothub/methods/POST/#")),
        documented("Answer a direct method", _publish("$iothub/methods/res/200/?$rid={request}", {})),
        documented("Receive answers about the twin", _subscribe(_ANSWERS)),
        documented("Read the twin", _publish("$iothub/twin/GET/?$rid={request}", "", "$iothub/twin/res/200/")),
        documented(
            "Report properties",
            _publish("$iothub/twin/PATCH/properties/reported/?$rid={request}", {"probe": 1}, "$iothub/twin/res/204/"),
            "bodies of refusals are inferred",
        ),
        documented("Receive desired properties", _subscribe("$iothub/twin/PATCH/properties/desired/#")),
        documented(
            "Receive inputs of a module",
            _subscribe("devices/{device}/modules/{module}/inputs/#", _MODULE_CLIENT),
            instead="needs IoT Edge; other subscriptions of modules work",
        ),
    ),
)


def _device_request(method: str, path: str, body: Any = None, accepted: tuple[int, ...] = ()) -> HttpQuestion:
    names = {"deviceId": "{device}", "etag": "0", "moduleId": "{module}", "correlationId": "probe"}
    return HttpQuestion(Door.HUB_DEVICE, method, path, body, {}, names, accepted)


_NO_LOCK = (Hub.DEVICE_MESSAGE_LOCK_LOST.code,)
HTTPS = Area(
    "Hub: devices over HTTPS",
    "Microsoft documentation, rest/api/iothub/device, and the Python device SDK for files",
    notes=(
        "Every request brings its proof, which is judged as over MQTT; a device is not connected by it. There are "
        "neither twins nor direct methods, and modules receive nothing, as the SDKs have it. What is not there is told "
        "to whoever asks, with whatever token."
    ),
    setup=_WITH_DEVICE,
    operations=(
        documented(
            "Send device event",
            _device_request("POST", "/devices/{deviceId}/messages/events", {}),
            "batches as the SDKs send them; what is wrong with one refuses all (inferred)",
            missing=_TELEMETRY,
        ),
        observed(
            "Send module event",
            _device_request(
                "POST",
                "/devices/{deviceId}/modules/{moduleId}/messages/events",
                {},
                accepted=(Hub.UNAUTHORIZED_ACCESS.code,),
            ),
            missing=_TELEMETRY,
        ),
        documented(
            "Receive device bound notification",
            _device_request("GET", "/devices/{deviceId}/messages/deviceBound"),
            "names of headers as the SDKs read them; what a header cannot carry is percent-encoded (simulator-only)",
            missing="feedback is not made",
        ),
        documented(
            "Complete device bound notification",
            _device_request("DELETE", "/devices/{deviceId}/messages/deviceBound/{etag}", accepted=_NO_LOCK),
            "with `reject` in the query it rejects the message; `If-Match` is not looked at (inferred)",
        ),
        documented(
            "Abandon device bound notification",
            _device_request("POST", "/devices/{deviceId}/messages/deviceBound/{etag}/abandon", accepted=_NO_LOCK),
        ),
        documented("Create file upload", _device_request("POST", "/devices/{deviceId}/files", {"blobName": "probe"})),
        documented(
            "Update file upload status",
            _device_request("POST", "/devices/{deviceId}/files/notifications", {"correlationId": "0"}),
        ),
        observed(
            "Update the status of one file upload",
            _device_request("POST", "/devices/{deviceId}/files/notifications/{correlationId}"),
        ),
        observed(
            "Receive messages as module",
            _device_request("GET", "/devices/{deviceId}/modules/{moduleId}/messages/deviceBound"),
            instead="nothing: no SDK asks for it over HTTPS",
        ),
    ),
)

_OF_DEVICE = "/devices/{device}"
AMQP = Area(
    "Hub: AMQP 1.0",
    "the official SDKs",
    notes=(
        "By token (`$cbs` or SASL PLAIN) or certificate; several devices in one connection. A token that expires ends "
        "the links that depend on it. Which condition a refusal has is inferred, and so is what ends when a device "
        "connects a second time."
    ),
    setup=_WITH_DEVICE,
    operations=(
        observed(
            "Devices: telemetry", AmqpQuestion(Door.HUB_DEVICE, f"{_OF_DEVICE}/messages/events"), missing=_TELEMETRY
        ),
        observed(
            "Devices: messages from the cloud",
            AmqpQuestion(Door.HUB_DEVICE, f"{_OF_DEVICE}/messages/devicebound", sends=False),
        ),
        observed("Devices: ask for the twin", AmqpQuestion(Door.HUB_DEVICE, f"{_OF_DEVICE}/twin")),
        observed("Devices: hear of the twin", AmqpQuestion(Door.HUB_DEVICE, f"{_OF_DEVICE}/twin", sends=False)),
        observed(
            "Devices: direct methods",
            AmqpQuestion(Door.HUB_DEVICE, f"{_OF_DEVICE}/methods/devicebound", sends=False),
        ),
        observed("Devices: answer direct methods", AmqpQuestion(Door.HUB_DEVICE, f"{_OF_DEVICE}/methods/devicebound")),
        observed(
            "Devices: over WebSocket", AmqpQuestion(Door.HUB_DEVICE, f"{_OF_DEVICE}/messages/events", websocket=True)
        ),
        observed(
            "Service: send to a device",
            AmqpQuestion(Door.HUB, "/messages/devicebound"),
            instead="`POST /simulator/hubs/HOST/devices/ID/messages`, or `Simulator.send_message` in Python",
        ),
        observed("Service: feedback", AmqpQuestion(Door.HUB, "/messages/serviceBound/feedback", sends=False)),
        observed(
            "Service: notifications of files",
            AmqpQuestion(Door.HUB, "/messages/serviceBound/filenotifications", sends=False),
        ),
        observed(
            "Service: read telemetry (Event Hubs)",
            AmqpQuestion(Door.HUB, "messages/events/ConsumerGroups/$Default/Partitions/0", sends=False),
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
        observed("Devices_CreateOrUpdateIdentity", _ask("PUT", "/devices/{id}", _DEVICE)),
        observed("Devices_GetIdentity", _ask("GET", "/devices/{id}")),
        observed("Devices_GetDevices", _ask("GET", "/devices"), "in order of creation"),
        documented(
            "BulkRegistry_UpdateRegistry",
            _ask("POST", "/devices", [{"id": "{device}", "importMode": "update", "status": "enabled"}]),
        ),
        documented(
            "Query_GetTwins", _ask("POST", "/devices/query", {"query": "SELECT * FROM devices"}), missing=_LANGUAGE
        ),
        documented("Devices_GetTwin", _ask("GET", "/twins/{id}")),
        documented("Devices_UpdateTwin", _ask("PATCH", "/twins/{id}", {"tags": {"probe": 1}})),
        documented("Devices_ReplaceTwin", _ask("PUT", "/twins/{id}", {"tags": {}})),
        documented(
            "Devices_InvokeMethod",
            _ask("POST", "/twins/{deviceId}/methods", {"methodName": "probe"}, accepted=_OFFLINE),
            "answers for devices that are not there, do not answer or answer nonsense are inferred in part",
        ),
        documented("Modules_CreateOrUpdateIdentity", _ask("PUT", "/devices/{id}/modules/{mid}", _MODULE)),
        documented("Modules_GetIdentity", _ask("GET", "/devices/{id}/modules/{mid}")),
        documented("Modules_GetModulesOnDevice", _ask("GET", "/devices/{id}/modules")),
        documented("Modules_GetTwin", _ask("GET", "/twins/{id}/modules/{mid}")),
        documented("Modules_UpdateTwin", _ask("PATCH", "/twins/{id}/modules/{mid}", {"tags": {"probe": 1}})),
        documented("Modules_ReplaceTwin", _ask("PUT", "/twins/{id}/modules/{mid}", {"tags": {}})),
        documented(
            "Modules_InvokeMethod",
            _ask("POST", "/twins/{deviceId}/modules/{moduleId}/methods", {"methodName": "probe"}, accepted=_OFFLINE),
        ),
        documented("Modules_DeleteIdentity", _ask("DELETE", "/devices/{id}/modules/{mid}", guarded=True)),
        documented("CloudToDeviceMessages_PurgeCloudToDeviceMessageQueue", _ask("DELETE", "/devices/{id}/commands")),
        documented("CloudToDeviceMessages_ReceiveFeedbackNotification", _ask("GET", "/messages/serviceBound/feedback")),
        documented(
            "CloudToDeviceMessages_CompleteFeedbackNotification",
            _ask("DELETE", "/messages/serviceBound/feedback/{lockToken}", lockToken="0"),
        ),
        documented(
            "CloudToDeviceMessages_AbandonFeedbackNotification",
            _ask("POST", "/messages/serviceBound/feedback/{lockToken}/abandon", lockToken="0"),
        ),
        observed("Statistics_GetDeviceStatistics", _ask("GET", "/statistics/devices")),
        observed("Statistics_GetServiceStatistics", _ask("GET", "/statistics/service")),
        documented("Configuration_Get", _ask("GET", "/configurations/{id}"), instead=_EDGE),
        documented(
            "Configuration_CreateOrUpdate", _ask("PUT", "/configurations/{id}", {"id": "{device}"}), instead=_EDGE
        ),
        documented("Configuration_Delete", _ask("DELETE", "/configurations/{id}"), instead=_EDGE),
        documented("Configuration_GetConfigurations", _ask("GET", "/configurations"), instead=_EDGE),
        documented(
            "Configuration_TestQueries",
            _ask("POST", "/configurations/testQueries", {"targetCondition": "*"}),
            instead=_EDGE,
        ),
        documented(
            "Configuration_ApplyOnEdgeDevice",
            _ask("POST", "/devices/{id}/applyConfigurationContent", {}),
            instead=_EDGE,
        ),
        documented(
            "Jobs_CreateImportExportJob",
            _ask("POST", "/jobs/create", {"type": "export"}),
            instead="use bulk operations",
        ),
        documented("Jobs_GetImportExportJobs", _ask("GET", "/jobs")),
        documented("Jobs_GetImportExportJob", _ask("GET", "/jobs/{id}")),
        documented("Jobs_CancelImportExportJob", _ask("DELETE", "/jobs/{id}")),
        documented("Jobs_CreateScheduledJob", _ask("PUT", "/jobs/v2/{id}", {"jobId": "0"}), instead=_JOB),
        documented("Jobs_GetScheduledJob", _ask("GET", "/jobs/v2/{id}"), instead=_JOB),
        documented("Jobs_QueryScheduledJobs", _ask("GET", "/jobs/v2/query"), instead=_JOB),
        documented("Jobs_CancelScheduledJob", _ask("POST", "/jobs/v2/{id}/cancel"), instead=_JOB),
        documented("DigitalTwin_GetDigitalTwin", _ask("GET", "/digitaltwins/{id}")),
        documented("DigitalTwin_UpdateDigitalTwin", _ask("PATCH", "/digitaltwins/{id}", [])),
        documented(
            "DigitalTwin_InvokeRootLevelCommand",
            _ask("POST", "/digitaltwins/{id}/commands/{commandName}", {}, commandName="probe"),
            instead="call a direct method",
        ),
        documented(
            "DigitalTwin_InvokeComponentCommand",
            _ask(
                "POST",
                "/digitaltwins/{id}/components/{componentPath}/commands/{commandName}",
                {},
                componentPath="probe",
                commandName="probe",
            ),
            instead="call a direct method",
        ),
        observed("Devices_DeleteIdentity", _ask("DELETE", "/devices/{id}", guarded=True)),
    ),
)

MORE = Area(
    "Hub: what only some clients ask",
    "the Azure CLI, iot-identity-service, and the SDKs for Node.js and C#",
    notes="In no list that is published. A device asks for its own modules with its own token.",
    setup=_WITH_DEVICE,
    operations=(
        observed(
            "Service_BulkRegenerateDeviceKey",
            _ask("POST", "/devices/keys/regenerate", {"policyKey": "primaryKey", "devices": [{"id": "{device}"}]}),
            "the members of the answer are inferred",
        ),
        observed(
            "Modules_OfTheDeviceItself",
            _device_request("GET", "/devices/{deviceId}/modules"),
            "with a certificate instead of a token it is inferred",
        ),
        observed(
            "Service_ReceiveFileNotification",
            _ask("GET", "/messages/serviceBound/filenotifications"),
        ),
        observed(
            "Service_CompleteFileNotification",
            _ask("DELETE", "/messages/serviceBound/filenotifications/{lockToken}", lockToken="probe"),
        ),
        observed(
            "Service_AbandonFileNotification",
            _ask("POST", "/messages/serviceBound/filenotifications/{lockToken}/abandon", lockToken="probe"),
        ),
        observed(
            "Service_StartModuleStream",
            _ask("POST", "/twins/{deviceId}/modules/{moduleId}/streams/{streamName}", {}, streamName="probe"),
        ),
        observed(
            "Service_StartDeviceStream",
            _ask("POST", "/twins/{deviceId}/streams/{streamName}", {}, streamName="probe"),
        ),
    ),
)

AREAS = (MQTT, HTTPS, AMQP, SERVICE, MORE)
