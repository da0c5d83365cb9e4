"""The one thing of messages to devices that a hub's service API can do: empty the queue of a device."""

from __future__ import annotations

from dps_simulator.common.http import Response
from dps_simulator.hub.hub import IotHub
from dps_simulator.wire.http import Call, Route

from .access import SERVICE_CONNECT


def purge_route(hub: IotHub) -> Route:
    """The route of a hub's service API that empties a device's queue."""

    async def purge(call: Call) -> Response:
        device_id = call.parameters["id"]
        total = hub.cloud_to_device.purge(device_id)
        return Response(200, {"totalMessagesPurged": total, "deviceId": device_id, "moduleId": None})

    return Route("DELETE", "/devices/{id}/commands", "purge cloud-to-device messages", purge, SERVICE_CONNECT)
