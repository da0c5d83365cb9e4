"""A notebook whose step went wrong does not pass: copies with one spoilt cell are seen to fail.

The copies of a track run after each other in one kernel. What the one before left there is taken away in between: its
device clients are shut down, its names forgotten, simulator and workspace emptied. That a failed notebook makes the
runner's exit code 1 is shown in test_runner.py, with the same verdict on cells.
"""

import asyncio
import itertools
import os
import shutil
from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from tiers import of_track

from helpers.runner.documents import NOTEBOOKS, read
from helpers.runner.execution import Outcome, execute_cells, kernel_manager
from dps_simulator.process import launcher

pytestmark = [pytest.mark.notebooks, pytest.mark.timeout(1_300)]

# notebook, cell, what is replaced, by what, and the words of the failure
SPOILT = {
    "wrong key": (
        "12_symmetric_key_start",
        "boot-member",
        'enrolled["member"]["key"]',
        'enrolled["group"]["key"]',
        ["ClientError"],
    ),
    "device not connected": ("13_symmetric_key_verify", "check-connect", "member.connect()\n", "", ["is connected"]),
    "wrong hub": (
        "13_symmetric_key_verify",
        "connect-hub",
        "hostname=told.assigned_hub",
        'hostname="contoso-hub-9.azure-devices.test"',
        ["Error"],
    ),
    "device not enrolled": (
        "11_symmetric_key_enroll",
        "enrollment-list",
        "from helpers",
        "service.enrollment.delete(registration_id)\nfrom helpers",
        ["the device is enrolled"],
    ),
    "certificate of another device": (
        "22_x509_start",
        "boot-member",
        "certificates.load(folder, member_id)",
        "certificates.load(folder, registration_id)",
        ["ClientError"],
    ),
    "only the device's own certificate": (
        "22_x509_start",
        "boot-member",
        "member_files.chain_file",
        "member_files.certificate_file",
        ["ClientError"],
    ),
    "possession of the root not proven": (
        "21_x509_enroll",
        "prove",
        "certificate=proof",
        "certificate=root.certificate",
        ["HttpResponseError"],
    ),
    "device with a certificate not connected": (
        "23_x509_verify",
        "check-connect",
        "    clients[name].connect()\n",
        "",
        ["is connected"],
    ),
    "new certificate not enrolled": (
        "23_x509_verify",
        "enroll-both",
        "secondary=renewed",
        "secondary=device",
        ["ClientError"],
    ),
    "endorsement key not complete": (
        "31_tpm_enroll",
        "enroll",
        "individual(endorsement_key))",
        "individual(endorsement_key[:-1]))",
        ["HttpResponseError"],
    ),
    "challenge for another TPM": (
        "32_tpm_start",
        "activate",
        "tpm.activate(challenge)",
        'open_tpm("embedded", workspace.folder("tpm_tries", dps)).activate(challenge)',
        ["ActivationError"],
    ),
    "device with a TPM not connected": (
        "33_tpm_verify",
        "connect-hub",
        "client.connect()\n",
        "",
        ["is connected"],
    ),
    "token for another device": (
        "33_tpm_verify",
        "connect-hub",
        "/devices/{told.device_id}",
        "/devices/somebody-else",
        ["Error"],
    ),
    "token signed with an older key": (
        "33_tpm_verify",
        "go-on",
        "client.update_sastoken(tpm_sas_token(tpm, resource, seconds=3600).reveal())",
        "client.update_sastoken(token.reveal())",
        ["Error"],
    ),
    "second hub not linked": (
        "41_load_balanced_hubs",
        "link",
        "for hub in hubs:",
        "for hub in hubs[:1]:",
        ["contoso-hub-2"],
    ),
    "key of the group in every device": (
        "41_load_balanced_hubs",
        "boot",
        "derive_device_key(group_key, registration_id)",
        "group_key",
        ["ClientError"],
    ),
    "webhook that names no linked hub": (
        "41_load_balanced_hubs",
        "function",
        "second if",
        '"contoso-hub-9.azure-devices.test" if',
        ["ClientError"],
    ),
    "weights not changed": (
        "41_load_balanced_hubs",
        "weights",
        "{hubs[0]: 3, hubs[1]: 1}",
        "{hubs[0]: 1, hubs[1]: 3}",
        ["the heavier hub"],
    ),
    "key of the group in every meter": (
        "52_provision_a_fleet",
        "boot",
        "derive_device_key(group_key, registration_id)",
        "group_key",
        ["no meter failed"],
    ),
    "hub list not changed": (
        "42_reprovision_and_retire",
        "migrate",
        "**only(second)",
        "**only(first)",
        ["is gone from its first hub"],
    ),
    "device not locked out": (
        "42_reprovision_and_retire",
        "disable",
        '"disabled"',
        '"enabled"',
        ["and it worked"],
    ),
    "key not replaced": (
        "42_reprovision_and_retire",
        "new-key",
        "enroll(registration_id, attestation, **only(first)",
        "enroll(registration_id, **only(first)",
        ["ClientError"],
    ),
    "device left in its hub": (
        "42_reprovision_and_retire",
        "retire",
        'dps.registry(record["assignedHub"]).delete_device(record["deviceId"])',
        "pass",
        ["no hub knows the kettle"],
    ),
    "twin not changed": (
        "13_symmetric_key_verify",
        "change-twin",
        # it would wait half a minute for news that do not come
        """"targetTemperature": 23}))
wanted = None
while wanted != 23:  # what you sent with the editor may come first
    wanted = news.get(timeout=30)""",
        """"other": 23}))
wanted = None
while wanted != 23:
    wanted = news.get(timeout=2)""",
        ["Empty"],
    ),
}


# what a kernel that ends would have done: device clients say goodbye, and nobody knows a name any more
FORGET = """
import contextlib
import gc
from azure.iot.device import IoTHubDeviceClient
for _thing in gc.get_objects():
    if type(_thing) is IoTHubDeviceClient:
        # some were shut down by their notebook
        with contextlib.suppress(Exception):
            _thing.shutdown()
get_ipython().run_line_magic("reset", "-f")
"""


class KernelOfATrack:
    """Runs notebooks one after the other in one kernel, each as if it were alone.

    Arguments:
        scratch: an empty folder with a short path.
    """

    def __init__(self, scratch):
        self.workspace = scratch / "workspace"
        self._scratch = scratch
        self._manager = kernel_manager(scratch)
        self._channels = None

    async def __aenter__(self):
        environment = {**os.environ, "DPS_WORKSPACE": str(self.workspace), "DPS_SIMULATOR_PACE": "instant"}
        environment["IPYTHONDIR"] = str(self._scratch / "ipython")
        await self._manager.start_kernel(env=environment, cwd=str(NOTEBOOKS))
        self._channels = self._manager.client()
        self._channels.start_channels()
        await self._channels.wait_for_ready(timeout=600)
        return self

    async def __aexit__(self, *_):
        self._channels.stop_channels()
        await self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_connection_file()
        self._manager.context.destroy(linger=0)

    async def run(self, document, path):
        """Run a notebook up to the first cell that fails; gives how that went."""
        outcome = Outcome(path, document=document)
        client = NotebookClient(document, km=self._manager, timeout=600)
        client.kc = self._channels
        await execute_cells(client, document, outcome)
        return outcome

    async def forget(self):
        """Take away what a notebook left."""
        document = new_notebook(cells=[new_code_cell(FORGET)])
        outcome = await self.run(document, NOTEBOOKS / "forget.ipynb")
        assert outcome.status == "passed", outcome.error
        running = launcher.find(self.workspace / "simulator")
        if running is not None:
            launcher.manage(running, "POST", "/reset")
        for path in self.workspace.iterdir():
            if path.name != "simulator":
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def spoil(name, cell, old, new):
    document = read(NOTEBOOKS / f"{name}.ipynb")
    spoilt = next(each for each in document.cells if each.id == cell)
    assert old in spoilt.source, "the notebook changed; change this test with it"
    spoilt.source = spoilt.source.replace(old, new)
    return document


async def verdicts(scratch, cases):
    """How the run of each spoilt copy went."""
    async with KernelOfATrack(scratch) as kernel:
        for what, (name, *change, words) in cases:
            outcome = await kernel.run(spoil(name, *change), NOTEBOOKS / f"{name}.ipynb")
            await kernel.forget()
            yield what, outcome, words


def by_track():
    """The cases of each track."""
    rows = sorted(SPOILT.items(), key=lambda item: item[1][0])
    for track, cases in itertools.groupby(rows, key=lambda item: item[1][0][0]):
        yield of_track(list(cases), track, id=f"track {track}")


@pytest.mark.parametrize("cases", list(by_track()))
def test_the_run_fails(short_folder, cases):
    async def see():
        async for what, outcome, words in verdicts(short_folder, cases):
            assert outcome.status == "failed", what
            for word in words:
                assert word in outcome.error, what

    try:
        asyncio.run(see())
    finally:
        launcher.stop(short_folder / "workspace" / "simulator")
