"""The published operations of the management plane: Azure Resource Manager on provisioning services."""

from __future__ import annotations

from typing import Any

from dps_simulator.resource.service_description import LOCATION
from tools.fidelity.operations import Area, Door, HttpQuestion, documented, recorded

SUBSCRIPTION = "/subscriptions/{subscriptionId}"
SERVICES = f"{SUBSCRIPTION}/resourceGroups/{{resourceGroupName}}/providers/Microsoft.Devices/provisioningServices"
_SERVICE = f"{SERVICES}/{{provisioningServiceName}}"
_CERTIFICATES = f"{_SERVICE}/certificates"
_CERTIFICATE = f"{_CERTIFICATES}/{{certificateName}}"
_PRIVATE = f"{SERVICES}/{{resourceName}}"
_ENDPOINT = "privateEndpointConnections/{privateEndpointConnectionName}"


def _ask(method: str, path: str, body: Any = None, *, etag: bool = False) -> HttpQuestion:
    return HttpQuestion(Door.MANAGEMENT, method, path, body, {"If-Match": "{etag}"} if etag else {})


_DESCRIPTION = {
    "location": LOCATION,
    "sku": {"name": "S1", "capacity": 1},
    "properties": {"allocationPolicy": "Hashed"},
}

AREA = Area(
    "Azure Resource Manager: provisioning services",
    "published API description of Microsoft.Devices/provisioningServices, as azure-mgmt-iothubprovisioningservices "
    "2.1.0 has it",
    notes=(
        "A simulator has one service, which is always there; subscription and resource group may have any name. The "
        "token is the simulator's own. Codes and texts of errors are inferred throughout."
    ),
    operations=(
        documented(
            "Operations_List", _ask("GET", "/providers/Microsoft.Devices/operations"), "lists what is offered here"
        ),
        recorded(
            "IotDpsResource_CheckProvisioningServiceNameAvailability",
            _ask(
                "POST",
                f"{SUBSCRIPTION}/providers/Microsoft.Devices/checkProvisioningServiceNameAvailability",
                {"name": "probe-dps"},
            ),
            "knows this one service only",
        ),
        documented(
            "IotDpsResource_ListBySubscription",
            _ask("GET", f"{SUBSCRIPTION}/providers/Microsoft.Devices/provisioningServices"),
        ),
        documented("IotDpsResource_ListByResourceGroup", _ask("GET", SERVICES)),
        recorded("IotDpsResource_Get", _ask("GET", _SERVICE)),
        recorded(
            "IotDpsResource_CreateOrUpdate",
            _ask("PUT", _SERVICE, _DESCRIPTION),
            missing="changes the one service, with hubs, weights, policies and keys; makes no other; done at once",
        ),
        recorded("IotDpsResource_GetOperationResult", _ask("GET", f"{_SERVICE}/operationresults/{{operationId}}")),
        documented(
            "IotDpsResource_Update", _ask("PATCH", _SERVICE, {"tags": {"probe": "1"}}), "tags only, as documented"
        ),
        documented(
            "IotDpsResource_Delete",
            _ask("DELETE", _SERVICE),
            instead="start another simulator, or `POST /simulator/reset`",
        ),
        documented("IotDpsResource_ListValidSkus", _ask("GET", f"{_SERVICE}/skus"), "S1 only"),
        documented("IotDpsResource_ListKeys", _ask("POST", f"{_SERVICE}/listkeys")),
        documented("IotDpsResource_ListKeysForKeyName", _ask("POST", f"{_SERVICE}/keys/{{keyName}}/listkeys")),
        documented("DpsCertificate_List", _ask("GET", _CERTIFICATES)),
        documented(
            "DpsCertificate_CreateOrUpdate", _ask("PUT", _CERTIFICATE, {"properties": {"certificate": "{certificate}"}})
        ),
        documented("DpsCertificate_Get", _ask("GET", _CERTIFICATE)),
        documented(
            "DpsCertificate_GenerateVerificationCode",
            _ask("POST", f"{_CERTIFICATE}/generateVerificationCode", etag=True),
            "the shape of the code is inferred",
        ),
        documented(
            "DpsCertificate_VerifyCertificate",
            _ask("POST", f"{_CERTIFICATE}/verify", {"certificate": "{proof}"}, etag=True),
        ),
        documented("DpsCertificate_Delete", _ask("DELETE", _CERTIFICATE, etag=True)),
        *(
            documented(f"IotDpsResource_{name}", _ask(method, f"{_PRIVATE}/{path}", body))
            for name, method, path, body in (
                ("ListPrivateLinkResources", "GET", "privateLinkResources", None),
                ("GetPrivateLinkResources", "GET", "privateLinkResources/{groupId}", None),
                ("ListPrivateEndpointConnections", "GET", "privateEndpointConnections", None),
                ("GetPrivateEndpointConnection", "GET", _ENDPOINT, None),
                ("CreateOrUpdatePrivateEndpointConnection", "PUT", _ENDPOINT, {"properties": {}}),
                ("DeletePrivateEndpointConnection", "DELETE", _ENDPOINT, None),
            )
        ),
    ),
)

AREAS = (AREA,)
