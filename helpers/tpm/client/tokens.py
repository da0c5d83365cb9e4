"""Tokens that are signed inside the TPM: the key never leaves it, so nothing here could show it."""

from __future__ import annotations

import base64
import inspect
import time
from typing import Any
from urllib.parse import quote

from helpers.credentials import CredentialsError, Secret
from helpers.tpm.device import TpmDevice

#: How many seconds before a token expires the device SDK asks for the next one.
#: Source: azure-iot-device, ``SasTokenStage.DEFAULT_TOKEN_UPDATE_MARGIN``.
RENEWAL_MARGIN = 120


def tpm_sas_token(
    tpm: TpmDevice, resource: str, *, key_name: str = "", seconds: int = 3_600, expiry: int | None = None
) -> Secret:
    """A shared access signature by the key that the TPM activated last.

    Arguments:
        tpm: the TPM that signs.
        resource: what the token is for, e.g. ``contoso-hub.azure-devices.net/devices/greenhouse-gateway``.
        key_name: name of the key at the service (``registration`` at DPS), empty for none.
        seconds: how long it is valid, from now.
        expiry: the moment it expires, in seconds since 1970; replaces ``seconds``.

    Raises:
        CredentialsError: the resource is empty.
        TpmError: the TPM has no key to sign with yet, or something is wrong with it.
    """
    if not resource:
        raise CredentialsError("A token is made for a resource, and this one is empty.")
    until = int(time.time()) + seconds if expiry is None else expiry
    encoded = quote(resource, safe="")
    signature = base64.b64encode(tpm.sign(f"{encoded}\n{until}".encode())).decode("ascii")
    token = f"SharedAccessSignature sr={encoded}&sig={quote(signature, safe='')}&se={until}"
    return Secret(token + (f"&skn={quote(key_name, safe='')}" if key_name else ""))


def hub_token(tpm: TpmDevice, hub: str, device_id: str, seconds: int = 3_600) -> Secret:
    """The token that a device shows to its hub.

    Arguments:
        tpm: the TPM, in which the registration left the hub's key.
        hub: host name of the hub (``assigned_hub``).
        device_id: the device's name there.
        seconds: how long it is valid, from now.

    Raises:
        TpmError: the TPM has no key to sign with yet, or something is wrong with it.
    """
    return tpm_sas_token(tpm, f"{hub}/devices/{device_id}", seconds=seconds)


def renew_tokens(client: Any, tpm: TpmDevice, hub: str, device_id: str, seconds: int = 3_600) -> None:
    """Let a connected device sign a new token in its TPM whenever the old one is about to expire.

    The SDK asks :data:`RENEWAL_MARGIN` seconds before that; the client then reconnects with the new token. When the
    TPM cannot sign, the SDK logs why (logger ``azure.iot.device``) and goes on with the old token until it expires.

    Arguments:
        client: an ``IoTHubDeviceClient`` made by ``create_from_sastoken``, the synchronous one or that of ``aio``.
        tpm: the TPM; it has to stay open as long as the client.
        hub: host name of the hub.
        device_id: the device's name there.
        seconds: how long each new token is valid.

    Raises:
        ValueError: ``seconds`` is so short that the client would do nothing but renew.
    """
    if seconds <= RENEWAL_MARGIN:
        raise ValueError(
            f"seconds is {seconds!r}; the SDK renews a token {RENEWAL_MARGIN} seconds before it expires, "
            "so it must be valid for longer than that."
        )

    def renew() -> None:
        client.update_sastoken(hub_token(tpm, hub, device_id, seconds).reveal())

    async def renew_soon() -> None:
        # the SDK runs this on a loop of its own, where the milliseconds of the TPM disturb nobody
        await client.update_sastoken(hub_token(tpm, hub, device_id, seconds).reveal())

    is_asynchronous = inspect.iscoroutinefunction(client.update_sastoken)
    client.on_new_sastoken_required = renew_soon if is_asynchronous else renew
