"""The published operations of the management plane: Azure Resource Manager on provisioning services."""

from __future__ import annotations

from typing import Any

from dps_simulator.errors.table import Provenance
from dps_simulator.resource.service_description import LOCATION
from tools.fidelity.operations import Area, Door, HttpQuestion, Operation

_RECORDED = Provenance.RECORDED
_DOCUMENTED = Provenance.DOCUMENTED
_INFERRED = Provenance.INFERRED

SUBSCRIPTION = "/subscriptions/{subscriptionId}"
SERVICES = f"{SUBSCRIPTION}/resourceGroups/{{resourceGroupName}}/providers/Microsoft.Devices/provisioningServices"
_SERVICE = f"{SERVICES}/{{provisioningServiceName}}"
_CERTIFICATES = f"{_SERVICE}/certificates"
_CERTIFICATE = f"{_CERTIFICATES}/{{certificateName}}"
_PRIVATE = f"{SERVICES}/{{resourceName}}"


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
        Operation(
            "Operations_List",
            _ask("GET", "/providers/Microsoft.Devices/operations"),
            _DOCUMENTED,
            "lists what is offered here",
        ),
        Operation(
            "IotDpsResource_CheckProvisioningServiceNameAvailability",
            _ask(
                "POST",
                f"{SUBSCRIPTION}/providers/Microsoft.Devices/checkProvisioningServiceNameAvailability",
                {"name": "probe-dps"},
            ),
            _RECORDED,
            "knows this one service only",
        ),
        Operation(
            "IotDpsResource_ListBySubscription",
            _ask("GET", f"{SUBSCRIPTION}/providers/Microsoft.Devices/provisioningServices"),
            _DOCUMENTED,
        ),
        Operation("IotDpsResource_ListByResourceGroup", _ask("GET", SERVICES), _DOCUMENTED),
        Operation("IotDpsResource_Get", _ask("GET", _SERVICE), _RECORDED),
        Operation(
            "IotDpsResource_CreateOrUpdate",
            _ask("PUT", _SERVICE, _DESCRIPTION),
            _RECORDED,
            "changes the one service, with hubs, weights, policies and keys; makes no other; done at once",
            is_partial=True,
        ),
        Operation(
            "IotDpsResource_GetOperationResult", _ask("GET", f"{_SERVICE}/operationresults/{{operationId}}"), _RECORDED
        ),
        Operation(
            "IotDpsResource_Update",
            _ask("PATCH", _SERVICE, {"tags": {"probe": "1"}}),
            _DOCUMENTED,
            "tags only, as documented",
        ),
        Operation(
            "IotDpsResource_Delete",
            _ask("DELETE", _SERVICE),
            _DOCUMENTED,
            instead="start another simulator, or `POST /simulator/reset`",
        ),
        Operation("IotDpsResource_ListValidSkus", _ask("GET", f"{_SERVICE}/skus"), _DOCUMENTED, "S1 only"),
        Operation("IotDpsResource_ListKeys", _ask("POST", f"{_SERVICE}/listkeys"), _DOCUMENTED),
        Operation(
            "IotDpsResource_ListKeysForKeyName", _ask("POST", f"{_SERVICE}/keys/{{keyName}}/listkeys"), _DOCUMENTED
        ),
        Operation("DpsCertificate_List", _ask("GET", _CERTIFICATES), _DOCUMENTED),
        Operation(
            "DpsCertificate_CreateOrUpdate",
            _ask("PUT", _CERTIFICATE, {"properties": {"certificate": "{certificate}"}}),
            _DOCUMENTED,
        ),
        Operation("DpsCertificate_Get", _ask("GET", _CERTIFICATE), _DOCUMENTED),
        Operation(
            "DpsCertificate_GenerateVerificationCode",
            _ask("POST", f"{_CERTIFICATE}/generateVerificationCode", etag=True),
            _DOCUMENTED,
            "the shape of the code is inferred",
        ),
        Operation(
            "DpsCertificate_VerifyCertificate",
            _ask("POST", f"{_CERTIFICATE}/verify", {"certificate": "{proof}"}, etag=True),
            _DOCUMENTED,
        ),
        Operation("DpsCertificate_Delete", _ask("DELETE", _CERTIFICATE, etag=True), _DOCUMENTED),
        *(
            Operation(f"IotDpsResource_{name}", _ask(method, f"{_PRIVATE}/{path}", body), _DOCUMENTED)
            for name, method, path, body in (
                ("ListPrivateLinkResources", "GET", "privateLinkResources", None),
                ("GetPrivateLinkResources", "GET", "privateLinkResources/{groupId}", None),
                ("ListPrivateEndpointConnections", "GET", "privateEndpointConnections", None),
                (
                    "GetPrivateEndpointConnection",
                    "GET",
                    "privateEndpointConnections/{privateEndpointConnectionName}",
                    None,
                ),
                (
                    "CreateOrUpdatePrivateEndpointConnection",
                    "PUT",
                    "privateEndpointConnections/{privateEndpointConnectionName}",
                    {"properties": {}},
                ),
                (
                    "DeletePrivateEndpointConnection",
                    "DELETE",
                    "privateEndpointConnections/{privateEndpointConnectionName}",
                    None,
                ),
            )
        ),
    ),
)

AREAS = (AREA,)
