"""Devices with a TPM for the tests of the SDKs: enrolled by the official service client, registered by our own."""

import asyncio
import inspect
import shutil

import pytest

from helpers.tpm import TpmProvisioningDeviceClient, open_tpm
from helpers.tpm.client import aio

KINDS = ["embedded", "swtpm"]
FLAVOURS = {"sync": TpmProvisioningDeviceClient, "aio": aio.TpmProvisioningDeviceClient}


class TpmDevices:
    """TPMs of one kind, one folder for each.

    Arguments:
        sdk: clients for the simulator.
        folder: where they keep their state.
        kind: ``embedded`` or ``swtpm``.
    """

    def __init__(self, sdk, folder, kind="embedded"):
        if kind == "swtpm" and shutil.which("swtpm") is None:
            pytest.skip("swtpm is not installed, so this test ran on the embedded TPM only")
        self.sdk = sdk
        self._folder = folder
        self._kind = kind
        self._opened = []

    def open(self, name="one"):
        self._opened.append(open_tpm(self._kind, self._folder / name))
        return self._opened[-1]

    def enroll(self, tpm, registration_id="", endorsement_key="", **changes):
        registration_id = registration_id or tpm.registration_id
        self.sdk.enroll(registration_id, attestation=_attestation(endorsement_key or tpm.endorsement_key), **changes)
        return registration_id

    def change_enrollment(self, tpm, registration_id="", **changes):
        """Enroll the device in another way than it is now."""
        enrollments = self.sdk.service().enrollment
        found = enrollments.get(registration_id or tpm.registration_id)
        body = {**found, "attestation": _attestation(tpm.endorsement_key), **changes}
        enrollments.create_or_update(found["registrationId"], body, if_match=found["etag"])

    def client(self, tpm, registration_id="", flavour="sync", **options):
        running = self.sdk.running
        return FLAVOURS[flavour].create_from_tpm(
            running.provisioning_host, running.id_scope, tpm, registration_id, **self.sdk.device_options(**options)
        )

    def register(self, tpm, registration_id="", flavour="sync", **options):
        result = self.client(tpm, registration_id, flavour, **options).register()
        return asyncio.run(_of(result)) if inspect.isawaitable(result) else result

    def close(self):
        for tpm in self._opened:
            tpm.close()


def _attestation(endorsement_key):
    return {"type": "tpm", "tpm": {"endorsementKey": endorsement_key}}


async def _of(awaitable):
    return await awaitable
