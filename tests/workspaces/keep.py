"""Make a workspace by really running the code of a checkout, and pack it as text: ``keep.py FORMAT``.

Run it in the root of the checkout whose format shall be kept, before the format changes; the README beside this file
says more.
"""

import base64
import json
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
STATE_NAME = "simulator.sqlite3"
#: Where the checkout says that it is, so that nothing of the machine on which a workspace was made stays in it.
CHECKOUT = "/home/learner/device-provisioning"

THERMOSTATS = {
    "registration_id": "thermostat-001",
    "device_id": "kitchen-thermostat",
    "group_id": "thermostats",
    "member_id": "thermostat-101",
}
PUMPS = {
    "registration_id": "pump-001",
    "device_id": "cellar-pump",
    "group_id": "pumps",
    "member_id": "pump-101",
    "authority_name": "contoso-pumps-root",
}
GATEWAY = {"tpm_kind": "embedded", "registration_id": "", "device_id": "greenhouse-gateway"}


def make_workspace():
    """Fill the workspace that the environment names with some of everything, and kill its simulator."""
    from azure.iot.device import IoTHubDeviceClient
    from azure.iot.hub.models import Twin, TwinProperties
    from azure.mgmt.iothubprovisioningservices.models import (
        SharedAccessSignatureAuthorizationRuleAccessRightsDescription as Rule,
    )

    from dps_simulator.process import launcher
    from helpers import workspace
    from helpers.course import progress
    from helpers.recipes import cleanup
    from helpers.target import connect

    dps = connect()
    for notebook in ("11_symmetric_key_enroll", "12_symmetric_key_start"):
        progress.begin(notebook)
        progress.passed("a step")
        progress.solved("an exercise")
    registered = workspace.need("symmetric_key.registrations", dps, **THERMOSTATS)
    workspace.need("x509.registrations", dps, **PUMPS)
    workspace.need("tpm.registrations", dps, **GATEWAY)
    workspace.need("fleet.hubs", dps)

    service = dps.service_client()
    key = {"attestation": {"type": "symmetricKey"}}
    disabled = {"registrationId": "recalled", "provisioningStatus": "disabled", **key}
    service.enrollment.create_or_update("recalled", disabled)
    policy = {"updateHubAssignment": True, "migrateDeviceData": False}
    full = {"allocationPolicy": "static", "iotHubs": [dps.hubs[0]], "reprovisionPolicy": policy}
    full["optionalDeviceInformation"] = {"colour": "green"}
    service.enrollment.create_or_update("static-001", {"registrationId": "static-001", **full, **key})
    webhook = {"webhookUrl": "https://127.0.0.1:1/choose", "apiVersion": "2019-03-31"}
    custom = {"allocationPolicy": "custom", "iotHubs": list(dps.hubs), "customAllocationDefinition": webhook}
    service.enrollment_group.create_or_update("chosen", {"enrollmentGroupId": "chosen", **custom, **key})
    referred = {"type": "x509", "x509": {"caReferences": {"primary": PUMPS["authority_name"]}}}
    service.enrollment_group.create_or_update("referred", {"enrollmentGroupId": "referred", "attestation": referred})

    manager, where, resource = cleanup.service_resource(dps)
    resource.tags = {"course": "kept"}
    rules = list(manager.list_keys(**where))
    resource.properties.authorization_policies = [*rules, Rule(key_name="reader", rights="EnrollmentRead")]
    manager.begin_create_or_update(iot_dps_description=resource, **where).result()

    hub, device_id = registered["individual"]["hub"], registered["individual"]["device_id"]
    registry = dps.registry(hub)
    registry.create_device_with_sas(
        "by-hand", "Tk9ULUEtU0VDUkVULUtFWS0x", "Tk9ULUEtU0VDUkVULUtFWS0y", "disabled", status_reason="lent"
    )
    registry.create_device_with_certificate_authority("by-authority", "enabled")
    registry.create_module_with_sas(device_id, "display", "me", "Tk9ULUEtU0VDUkVULUtFWS0z", "Tk9ULUEtU0VDUkVULUtFWS00")
    registry.update_twin(device_id, Twin(tags={"floor": 2}, properties=TwinProperties(desired={"interval": 30})))
    device = IoTHubDeviceClient.create_from_symmetric_key(
        registered["individual"]["key"].reveal(), hub, device_id, **dps.device_options
    )
    device.connect()
    device.patch_twin_reported_properties({"firmware": "1.2.0"})
    device.shutdown()
    for text in ("first", "second"):
        dps.manage(
            "POST", f"/hubs/{hub}/devices/{device_id}/messages", {"body": text, "expiryTimeUtc": "2099-01-01T00:00:00Z"}
        )
    dps.close()
    state = workspace.simulator_state()
    os.kill(launcher.find(state).process_id, signal.SIGKILL)
    while launcher.find(state) is not None:
        time.sleep(0.05)


def pack(workspace, folder):
    """Write a workspace as SQL and JSON."""
    connection = sqlite3.connect(workspace / "simulator" / STATE_NAME)
    pragmas = [f"PRAGMA {name}={connection.execute(f'PRAGMA {name}').fetchone()[0]};" for name in PRAGMAS]
    folder.mkdir(exist_ok=True)
    (folder / "state.sql").write_text("\n".join([*pragmas, *connection.iterdump()]) + "\n", encoding="utf-8")
    connection.close()
    files = {}
    for path in sorted(workspace.rglob("*")):
        if path.is_file() and not path.name.startswith(STATE_NAME) and path.suffix not in (".log", ".lock"):
            mode, content = f"{path.stat().st_mode & 0o777:04o}", path.read_bytes()
            try:
                text = content.decode("utf-8").replace(str(workspace), "WORKSPACE").replace(str(Path.cwd()), CHECKOUT)
                held = {"lines": text.split("\n")}
            except UnicodeDecodeError:
                held = {"base64": base64.b64encode(content).decode("ascii")}
            files[path.relative_to(workspace).as_posix()] = {"mode": mode, **held}
    (folder / "files.json").write_text(json.dumps(files, indent=1) + "\n", encoding="utf-8")


PRAGMAS = ("application_id", "user_version")


def unpack(folder, workspace):
    """Make a workspace out of what :func:`pack` wrote."""
    state = workspace / "simulator"
    for name, file in json.loads((folder / "files.json").read_text(encoding="utf-8")).items():
        path = workspace / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = "\n".join(file.get("lines", [])).replace("WORKSPACE", str(workspace))
        path.write_bytes(base64.b64decode(file["base64"]) if "base64" in file else text.encode("utf-8"))
        path.chmod(int(file["mode"], 8))
    workspace.chmod(0o700)
    state.mkdir(mode=0o700, exist_ok=True)
    connection = sqlite3.connect(state / STATE_NAME, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.executescript((folder / "state.sql").read_text(encoding="utf-8"))
    connection.close()
    (state / STATE_NAME).chmod(0o600)


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    made = Path(tempfile.mkdtemp(prefix="kept-workspace-")) / "workspace"
    os.environ.update(DPS_WORKSPACE=str(made), DPS_SIMULATOR_PACE="instant")
    make_workspace()
    pack(made, HERE / f"format_{int(sys.argv[1])}")
    shutil.rmtree(made.parent)
