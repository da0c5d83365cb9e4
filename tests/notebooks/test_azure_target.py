"""The azure target, unchanged, in a network of its own where the names and ports of a cloud lead to a simulator.

Inside the namespace there is nothing but loopback. Name resolution and trust are those of the machine (its hosts file
and its certificate bundles, replaced by bind mounts), and the notebooks are configured by the documented environment
variables alone, so not one line can know that it does not talk to Azure. The management plane has Azure's own name;
who logs in there is told by a program ``az`` that, as the real one, prints a token.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNSHARE = ["unshare", "--net", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]

INSIDE = """
import fcntl, json, os, signal, socket, ssl, struct, subprocess, sys, time
from pathlib import Path
import certifi

folder = Path(sys.argv[1])
with socket.socket() as plain:  # bring the loopback interface up
    request = struct.pack("16sh", b"lo", 0x1 | 0x40)
    fcntl.ioctl(plain, 0x8914, request)

sown = folder / "sown.py"  # a simulator whose answers somebody changed
program = [str(sown)] if sown.exists() else ["-m", "dps_simulator"]
serve = [sys.executable, *program, "serve", "--json", "--standard-ports", "--state",
         str(folder / "state"), "--pace", "instant", "--hub", "contoso-hub-1.azure-devices.test",
         "--hub", "contoso-hub-2.azure-devices.test", "--management-host", "management.azure.com"]
simulator = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
try:
    ready = json.loads(simulator.stdout.readline())
    secrets = json.loads(Path(ready["endpoint_file"]).read_text())
    (folder / "secrets.json").write_text(json.dumps(secrets))  # for whoever looks for them afterwards
    names = [ready["provisioning_host"], ready["service_host"], ready["management_host"], *ready["hubs"]]
    hosts = folder / "hosts"
    hosts.write_text("127.0.0.1 localhost " + " ".join(names) + "\\n")
    bundle = folder / "bundle.pem"
    bundle.write_text(Path(certifi.where()).read_text() + Path(ready["certificate_authority_file"]).read_text())
    replaced = {"/etc/hosts": hosts, certifi.where(): bundle}
    for candidate in (ssl.get_default_verify_paths().cafile, ssl.get_default_verify_paths().openssl_cafile,
                      "/etc/ssl/certs/ca-certificates.crt"):
        if candidate and Path(candidate).exists():
            replaced[str(Path(candidate).resolve())] = bundle
    for target, source in replaced.items():
        subprocess.run(["mount", "--bind", str(source), target], check=True)
    programs = folder / "programs"
    programs.mkdir(mode=0o700)
    token = {"accessToken": secrets["management_token"], "expires_on": int(time.time()) + 3600}
    login = programs / "az"
    own = folder / "az.py"  # one that knows more than how to log in
    login.write_text(f"#!/bin/sh\\nexec '{sys.executable}' '{own}' \\"$@\\"\\n" if own.exists()
                     else "#!/bin/sh\\necho '" + json.dumps(token) + "'\\n")
    login.chmod(0o700)
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("DPS_SIMULATOR", "PROVISIONING_", "IOTHUB_", "AZURE_"))
                   and name.lower() not in ("https_proxy", "http_proxy", "mqtt_proxy", "no_proxy")}
    environment.update(
        PROVISIONING_HOST=secrets["provisioning_host"],
        PROVISIONING_IDSCOPE=secrets["id_scope"],
        PROVISIONING_SERVICE_CONNECTION_STRING=secrets["service_connection_string"],
        IOTHUB_CONNECTION_STRING=" ".join(hub["connection_string"] for hub in secrets["hubs"]),
        AZURE_SUBSCRIPTION_ID="11111111-2222-3333-4444-555555555555",
        AZURE_RESOURCE_GROUP="pumps",
        PATH=f"{programs}:{environment['PATH']}",
        DPS_WORKSPACE=str(folder / "workspace"),
    )
    code = subprocess.run([sys.executable, *sys.argv[2:]], env=environment).returncode
finally:
    simulator.send_signal(signal.SIGTERM)
    simulator.wait(timeout=90)
sys.exit(code or simulator.returncode)
"""


MANAGE = """
from azure.core import MatchConditions
from helpers import certificates
from helpers.target import connect

with connect("azure") as dps:
    operations = dps.management_client().dps_certificate
    where = {"resource_group_name": dps.resource_group, "provisioning_service_name": dps.service_name}
    one = {**where, "certificate_name": "contoso-pumps-root"}
    root = certificates.create_root("Contoso Pumps Root")
    description = {"properties": {"certificate": root.certificate_base64}}
    uploaded = operations.create_or_update(**one, certificate_description=description)
    tag = {"match_condition": MatchConditions.IfNotModified}
    asked = operations.generate_verification_code(**one, etag=uploaded.etag, **tag)
    proof = root.prove_possession(asked.properties.verification_code)
    verified = operations.verify_certificate(**one, request={"certificate": proof}, etag=asked.etag, **tag)
    operations.delete(**one, etag=verified.etag, **tag)
    print(dps.name, uploaded.properties.is_verified, verified.properties.is_verified, uploaded.id)
    print(operations.list(**where).value)
"""


def can_unshare():
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    probe = [*UNSHARE, "mount", "--bind", "/etc/hosts", "/etc/hosts"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def run_in_the_cloud(folder, *program, seconds):
    """Run Python with these arguments where the names of the cloud lead to a simulator."""
    script = folder / "inside.py"
    script.write_text(INSIDE)
    run = subprocess.run(
        [*UNSHARE, sys.executable, str(script), str(folder), *program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


namespaces = pytest.mark.skipif(not can_unshare(), reason="namespaces are not permitted on this machine")


# the notebooks on fleets change the service for everybody, so they have one of their own
@pytest.mark.anywhere
@pytest.mark.notebooks
@pytest.mark.timeout(1_300)
@pytest.mark.parametrize(
    ("names", "least"), [(["0", "1", "2", "3", "9"], 5), (["4", "9"], 3)], ids=["tracks", "fleets"]
)
@namespaces
def test_the_tutorial_runs_on_the_azure_target_configured_by_environment_variables_only(tmp_path, names, least):
    tutorial = ("-m", "helpers.runner", "tutorial", "--target", "azure", "--output", str(tmp_path / "build"), *names)
    run_in_the_cloud(tmp_path, *tutorial, seconds=1_200)
    executed = sorted((tmp_path / "build").rglob("*.ipynb"))
    assert len(executed) >= least
    for path in executed:
        # the text of a notebook may speak of the simulator, what it shows must not
        text = json.dumps([cell.get("outputs") for cell in json.loads(path.read_text())["cells"]])
        assert "Simulator on this machine" not in text


@pytest.mark.sdk
@namespaces
def test_ca_certificates_are_managed_at_azures_own_address_with_the_login_of_the_command_line(tmp_path):
    shown = run_in_the_cloud(tmp_path, "-c", MANAGE, seconds=600).splitlines()
    assert shown[0].startswith(
        "azure False True /subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/pumps/"
    )
    assert shown[1] == "[]"
