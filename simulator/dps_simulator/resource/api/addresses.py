"""Addresses of the management plane: what every operation on the service and on its parts has in common."""

from __future__ import annotations

from dps_simulator.common.identifiers import lookup_key
from dps_simulator.errors.table import ResourceManager, ServiceError
from dps_simulator.wire.http import Call

PROVIDER = "Microsoft.Devices"
TYPE = f"{PROVIDER}/provisioningServices"
SUBSCRIPTION = "/subscriptions/{subscription}"
GROUP = f"{SUBSCRIPTION}/resourceGroups/{{group}}"
SERVICES = f"{GROUP}/providers/{TYPE}"
SERVICE = f"{SERVICES}/{{service}}"
#: Stands in addresses of answers to who asks for a whole subscription. Any group would do.
ANY_GROUP = "simulator"


def check_service(call: Call, name: str) -> None:
    """Make sure that a request means the service that there is; case does not count.

    Raises:
        ServiceError: it means another one.
    """
    asked = call.parameters["service"]
    if lookup_key(asked) != lookup_key(name):
        raise ServiceError(
            ResourceManager.SERVICE_NOT_FOUND,
            f"There is no provisioning service {asked!r:.120} here; the one that there is has the name {name!r}.",
        )


def service_id(call: Call, name: str) -> str:
    """The full identifier of the service: subscription and group as the request names them."""
    subscription, group = call.parameters["subscription"], call.parameters.get("group", ANY_GROUP)
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/{TYPE}/{name}"
