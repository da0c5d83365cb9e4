"""Connections of the devices that a notebook plays, so that every cell of it can be run again.

A hub keeps one connection for each device, the newest. When a cell runs twice and makes a second client for a device,
the first one is thrown out, connects again by itself and throws out the second, and so on for ever.
"""

from __future__ import annotations

import contextlib
from typing import Any, TypeVar

from azure.iot.device.iothub.pipeline.exceptions import PipelineNotRunning

Client = TypeVar("Client")

_open: dict[str, Any] = {}


def replace(device: str, client: Client) -> Client:
    """Take this client for a device, and shut down the one that was taken for it before.

    Arguments:
        device: what the notebook calls the device.
        client: an ``IoTHubDeviceClient``; it need not be connected yet.

    Returns:
        The client.
    """
    if _open.get(device) is not client:
        shut_down(device)
    _open[device] = client
    return client


def shut_down(*devices: str) -> None:
    """Call ``shutdown()`` of the clients of these devices, or of all; a client that is shut down already stays so.

    Arguments:
        devices: what the notebook calls them; without one, all devices.
    """
    for device in devices or list(_open):
        client = _open.pop(device, None)
        if client is not None:
            # what the SDK says of one that somebody has shut down already
            with contextlib.suppress(PipelineNotRunning):
                client.shutdown()
