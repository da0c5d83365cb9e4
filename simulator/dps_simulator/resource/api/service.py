"""Operations of the management plane on the provisioning service itself: description, keys, and what is around it.

A PUT is answered as Azure answers it, as an operation that goes on: 201, and an address that tells how it went. Here
it is always done already, so whoever asks there need not wait.

Source: the published API description of Microsoft.Devices/provisioningServices, as the models of
azure-mgmt-iothubprovisioningservices 2.1.0 state it; azure-cli, its recorded test test_dps_lifecycle, for the answers.
"""

from __future__ import annotations

import re
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from dps_simulator.common.field_checks import checked_object
from dps_simulator.common.http import Response
from dps_simulator.common.identifiers import lookup_key
from dps_simulator.errors.table import ResourceManager, ServiceError, described
from dps_simulator.resource.service_description import SKU, ServiceDescription
from dps_simulator.wire.http import Call, Route

from .addresses import ANY_GROUP, PROVIDER, SERVICE, SERVICES, SUBSCRIPTION, TYPE, check_service, service_id

#: Results of older operations are forgotten, and so are all when the simulator stops.
MAX_OPERATIONS = 1_000
#: Source: Microsoft documentation, azure-resource-manager resource-name-rules.
_SERVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{1,62}[A-Za-z0-9]")
#: A host name with or without a port: nothing else may get from a header into an address.
_AUTHORITY = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?")

_NAME_CHECK = f"{SUBSCRIPTION}/providers/{PROVIDER}/checkProvisioningServiceNameAvailability"
#: What the provider is said to offer: no more than what is offered here. Names as in the published examples.
_OFFERED = (
    ("operations/Read", "Get the operations of the provider"),
    ("checkProvisioningServiceNameAvailability/Action", "Check whether a name is free"),
    ("provisioningServices/Read", "Get the service"),
    ("provisioningServices/Write", "Change the service"),
    ("provisioningServices/skus/Read", "Get the SKUs"),
    ("provisioningServices/listkeys/Action", "Get access policies with their keys"),
    ("provisioningServices/operationResults/Read", "Get the result of an operation"),
    ("provisioningServices/certificates/Read", "Get CA certificates"),
    ("provisioningServices/certificates/Write", "Upload a CA certificate"),
    ("provisioningServices/certificates/Delete", "Delete a CA certificate"),
    ("provisioningServices/certificates/generateVerificationCode/Action", "Ask for a verification code"),
    ("provisioningServices/certificates/verify/Action", "Prove possession of a CA certificate's key"),
)
_PRIVATE = (
    ("GET", "privateLinkResources"),
    ("GET", "privateLinkResources/{id}"),
    ("GET", "privateEndpointConnections"),
    ("GET", "privateEndpointConnections/{id}"),
    ("PUT", "privateEndpointConnections/{id}"),
    ("DELETE", "privateEndpointConnections/{id}"),
)


class ServiceOperations:
    """The operations.

    Arguments:
        description: the service as a resource, with its access policies.
    """

    def __init__(self, description: ServiceDescription) -> None:
        self._description = description
        self._policies = description.policies
        self._operations: OrderedDict[str, str] = OrderedDict()

    def routes(self) -> Sequence[Route]:
        """Their rows in the table of the endpoint."""
        read, change = "read", "change"
        of_subscription = f"{SUBSCRIPTION}/providers/{TYPE}"
        return [
            Route("GET", f"/providers/{PROVIDER}/operations", "list operations", self._list_offered, read),
            Route("POST", _NAME_CHECK, "check a service name", self._check_free, read, takes_body=True),
            Route("GET", of_subscription, "list provisioning services", self._list, read),
            Route("GET", SERVICES, "list provisioning services", self._list, read),
            Route("GET", SERVICE, "get provisioning service", self._get, read),
            Route("PUT", SERVICE, "change provisioning service", self._put, change, takes_body=True),
            Route("PATCH", SERVICE, "change tags", self._patch, change, takes_body=True),
            Route("DELETE", SERVICE, "delete provisioning service", self._delete, change),
            Route("GET", f"{SERVICE}/skus", "list SKUs", self._list_skus, read),
            Route("POST", f"{SERVICE}/listkeys", "list access policies", self._list_keys, change),
            Route("POST", f"{SERVICE}/keys/{{id}}/listkeys", "get access policy", self._get_keys, change, device=""),
            Route("GET", f"{SERVICE}/operationresults/{{id}}", "get operation", self._get_result, read, device=""),
            *(
                Route(method, f"{SERVICE}/{path}", "use private endpoints", self._refuse_private, read, device="")
                for method, path in _PRIVATE
            ),
        ]

    # --- the service ------------------------------------------------------------------------------------------------

    def _list(self, call: Call) -> Response:
        return Response(200, {"value": [self._shown(call)]})

    def _get(self, call: Call) -> Response:
        self._check_service(call)
        return Response(200, self._shown(call))

    def _put(self, call: Call) -> Response:
        asked = call.parameters["service"]
        if lookup_key(asked) != lookup_key(self._description.name):
            raise ServiceError(
                ResourceManager.NOT_SUPPORTED,
                f"Making the provisioning service {asked!r:.120} is not supported by this simulator: it has the one "
                f"service {self._description.name!r}. Change that one, or start another simulator.",
            )
        must_be_new = (call.header("if-none-match") or "").strip() == "*"
        self._description.put(call.body, call.header("if-match"), must_be_new=must_be_new)
        shown = self._shown(call)
        # recorded: what Azure shows of a service that is changing, and that the access policies come back as they went
        properties = shown["properties"]
        properties.update(state="Transitioning", provisioningState="Accepted", idScope=None)
        for name in ("serviceOperationsHostName", "deviceProvisioningHostName"):
            del properties[name]
        rules = call.body["properties"].get("authorizationPolicies")
        if rules is not None:
            properties["authorizationPolicies"] = rules
        return Response(201, shown, {"Azure-AsyncOperation": self._finished(call)})

    def _patch(self, call: Call) -> Response:
        self._check_service(call)
        self._description.patch(call.body, call.header("if-match"))
        return Response(200, self._shown(call))

    def _delete(self, call: Call) -> Response:
        self._check_service(call)
        raise ServiceError(
            ResourceManager.NOT_SUPPORTED,
            "Deleting the provisioning service is not supported by this simulator: it has only this one. To start "
            "afresh, reset it with POST /simulator/reset of its management API.",
        )

    def _list_skus(self, call: Call) -> Response:
        self._check_service(call)
        return Response(200, {"value": [{"name": SKU}]})

    # --- keys -------------------------------------------------------------------------------------------------------

    def _list_keys(self, call: Call) -> Response:
        self._check_service(call)
        return Response(200, {"value": [policy.to_json() for policy in self._policies.all()]})

    def _get_keys(self, call: Call) -> Response:
        self._check_service(call)
        return Response(200, self._policies.get(call.parameters["id"]).to_json())

    # --- around it --------------------------------------------------------------------------------------------------

    def _list_offered(self, call: Call) -> Response:
        shown = {"provider": "Microsoft Devices", "resource": "ProvisioningServices"}
        offered = [{"name": f"{PROVIDER}/{name}", "display": {**shown, "operation": text}} for name, text in _OFFERED]
        return Response(200, {"value": offered})

    def _check_free(self, call: Call) -> Response:
        name = checked_object("The body", call.body).get("name")
        if not isinstance(name, str):
            raise ServiceError(
                ResourceManager.INVALID_REQUEST, f"name is {described(name)}; it must be the name of a service."
            )
        if lookup_key(name) == lookup_key(self._description.name):
            return _availability("AlreadyExists", f"There is a provisioning service {name!r} already.")
        if not _SERVICE_NAME.fullmatch(name):
            return _availability(
                "Invalid",
                f"The name is {name!r:.120}; it must have 3 to 64 letters, digits and dashes, and no dash at its ends.",
            )
        # recorded: the reason of a name that is free
        return Response(200, {"nameAvailable": True, "reason": "Invalid", "message": None})

    def _get_result(self, call: Call) -> Response:
        self._check_service(call)
        status = self._operations.get(call.parameters["id"])
        if status is None:
            raise ServiceError(
                ResourceManager.OPERATION_NOT_FOUND,
                f"There is no operation {call.parameters['id']!r:.120}; only the latest {MAX_OPERATIONS} are known, "
                "and none from before the simulator started.",
            )
        return Response(200, {"status": status})

    def _refuse_private(self, call: Call) -> Response:
        self._check_service(call)
        raise ServiceError(
            ResourceManager.NOT_SUPPORTED, "Private endpoints and links are not supported by this simulator."
        )

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _check_service(self, call: Call) -> None:
        check_service(call, self._description.name)

    def _shown(self, call: Call) -> dict[str, Any]:
        name = self._description.name
        return {
            **self._description.show(),
            "id": service_id(call, name),
            "type": TYPE,
            "resourcegroup": call.parameters.get("group", ANY_GROUP),
            "subscriptionid": call.parameters["subscription"],
        }

    def _finished(self, call: Call) -> str:
        """Remember an operation that is done; returns the address that tells so."""
        operation = uuid.uuid4().hex
        self._operations[operation] = "Succeeded"
        if len(self._operations) > MAX_OPERATIONS:
            self._operations.popitem(last=False)
        request = call.request
        authority = request.headers.get("host", "")
        host = authority if _AUTHORITY.fullmatch(authority) else request.peer.host
        path = quote(service_id(call, self._description.name))
        version = quote(request.query.get("api-version", ""), safe="")
        return f"https://{host}{path}/operationResults/{operation}?api-version={version}&asyncinfo"


def _availability(reason: str, message: str) -> Response:
    return Response(200, {"nameAvailable": False, "reason": reason, "message": message})
