"""Two people on one machine: each has a workspace and a simulator, and neither gets at the other's."""

import contextlib
import json
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import psutil
import pytest
from other_surroundings import CAN_START_ITSELF, ROOT, Surroundings, copy_of_the_project, import_path
from other_surroundings import python_for_everybody as python_of
from patience import PATIENCE, RUN_PATIENCE

pytestmark = [
    pytest.mark.anywhere,
    pytest.mark.notebooks,
    pytest.mark.timeout(1_800),
    # both are made once, by one worker
    pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become two other people"),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv of util-linux"),
    pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="needs git and a clone"),
]
LESSONS = ("11_symmetric_key_enroll", "12_symmetric_key_start", "21_x509_enroll")


class Learner:
    """Somebody with a number, and with a home that the others may look into, as on many machines.

    Arguments:
        number: of the user and group.
        folder: in which the home is made.
        checkout: the one copy of the project that all use.
        python: that all may start.
    """

    def __init__(self, number, folder, checkout, python):
        self.home = folder / f"home-{number}"
        self.home.mkdir(mode=0o755)
        self.workspace = self.home / "workspace"
        self.checkout, self.python, self.number = checkout, python, number
        os.chown(self.home, number, number)
        # one for all, as /tmp is
        self.temporary = folder / "t"
        self.temporary.mkdir(exist_ok=True)
        self.temporary.chmod(0o1777)
        self.who = Surroundings(
            "umask 022",
            user=number,
            HOME=str(self.home),
            TMPDIR=str(self.temporary),
            DPS_WORKSPACE=str(self.workspace),
            PYTHONPATH=import_path(checkout),
            PYTHONDONTWRITEBYTECODE="1",
            DPS_SIMULATOR_PACE="instant",
            IPYTHONDIR=str(self.home / ".ipython"),
            JUPYTER_RUNTIME_DIR=str(self.home / "runtime"),
        )

    def begin(self, lesson):
        """Begin to run a lesson, in the learner's own workspace."""
        return subprocess.Popen(
            [
                *(*self.who.become, self.python, "-m", "papermill", f"{self.checkout}/notebooks/{lesson}.ipynb"),
                *(str(self.home / f"{lesson}.ipynb"), "--no-progress-bar", "--log-level", "ERROR"),
            ],
            cwd=self.home,
            env={**os.environ, **self.who.variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def says(self, code, *arguments):
        """Run a program as this learner, which prints JSON."""
        exit_code, said = self.who.run(self.python, "-W", "ignore", "-c", code, *arguments, cwd=self.home)
        assert exit_code == 0, said
        return json.loads(said)

    @property
    def endpoints(self):
        """How the learner's simulator is reached, with its secrets; root may read it."""
        return json.loads((self.workspace / "simulator" / "endpoint.json").read_text(encoding="utf-8"))

    @property
    def secrets(self):
        """What nobody else may get: the token, and the key of every connection string."""
        endpoints = self.endpoints
        strings = [endpoints["service_connection_string"], *(hub["connection_string"] for hub in endpoints["hubs"])]
        return {endpoints["management_token"], *(text.partition("SharedAccessKey=")[2] for text in strings)}

    @property
    def device_keys(self):
        """The symmetric keys of the learner's devices and group, as the lessons keep them."""
        (document,) = self.workspace.rglob("symmetric_key.enrollments.json")
        return set(re.findall(r'"([A-Za-z0-9+/]{43,}=*)"', document.read_text(encoding="utf-8")))

    def processes(self):
        """The processes of this user."""
        return [each for each in psutil.process_iter(["uids"]) if each.info["uids"].real == self.number]

    def end(self):
        """End what this learner left running, and wait until it is gone."""
        processes = self.processes()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        for process in psutil.wait_procs(processes, timeout=PATIENCE)[1]:
            process.kill()


@pytest.fixture(scope="module")
def learners():
    """Two who have gone through the same lessons at the same time; their simulators run."""
    used = {user.pw_uid for user in pwd.getpwall()} | {each.uids().real for each in psutil.process_iter()}
    numbers = [number for number in range(64_001, 65_000) if number not in used][:2]
    # not below the folders of tests, which are root's
    with tempfile.TemporaryDirectory(prefix="dps-") as name, contextlib.ExitStack() as after:
        folder = Path(name)
        folder.chmod(0o755)
        checkout = copy_of_the_project(folder / "checkout")
        python = python_of(folder / "python")
        both = [Learner(number, folder, checkout, python) for number in numbers]
        for learner in both:
            after.callback(learner.end)
        if both[0].who.run(python, "-c", CAN_START_ITSELF, cwd=checkout)[0]:
            pytest.skip("root's Python, or the packages beside it, are for root only")
        for lesson in LESSONS:
            runs = [learner.begin(lesson) for learner in both]
            said = [run.communicate(timeout=RUN_PATIENCE)[0] for run in runs]
            assert [run.returncode for run in runs] == [0, 0], said
        yield both


def test_each_has_a_simulator_with_ports_and_secrets_of_its_own(learners):
    one, other = learners
    for learner in learners:
        # it runs, and is the learner's own
        assert psutil.Process(learner.endpoints["process_id"]).uids().real == learner.number
        assert Path(learner.endpoints["certificate_authority_file"]).is_relative_to(learner.workspace)
    ports = [learner.endpoints[name] for learner in learners for name in ("proxy_port", "tls_port")]
    assert len(set(ports)) == 4
    assert len(one.secrets) == len(other.secrets) >= 3
    assert not one.secrets & other.secrets
    # and the two devices with the same names have other keys
    assert all(len(learner.device_keys) >= 3 for learner in learners)
    assert not one.device_keys & other.device_keys


SPY = """
import json, os, sys
seen = []
for path in json.loads(open(sys.argv[1]).read()):
    try:
        if os.path.isdir(path):
            os.listdir(path)
        else:
            open(path, "rb").close()
    except PermissionError:
        continue
    seen.append(path)
print(json.dumps(seen))
"""


def test_neither_reads_a_file_of_the_other(learners, tmp_path):
    for spy, owner in (learners, learners[::-1]):
        theirs = [owner.workspace, *owner.workspace.rglob("*")]
        assert len(theirs) > 10
        assert {"endpoint.json", "symmetric_key.enrollments.json"} <= {path.name for path in theirs}
        # also what Jupyter keeps about a kernel
        theirs += (owner.home / "runtime").glob("*.json")
        places = spy.home / "places.json"
        places.write_text(json.dumps([str(path) for path in theirs]), encoding="utf-8")
        places.chmod(0o644)
        assert spy.says(SPY, places) == []
        # the spy looks well: its owner opens all of them
        assert len(owner.says(SPY, places)) == len(theirs)


def test_what_everybody_can_read_holds_no_secret(learners):
    """Files that a learner leaves for everybody, command lines, and the environment of processes."""
    for spy, owner in (learners, learners[::-1]):
        files = [path for place in (owner.home, owner.temporary) for path in place.rglob("*") if path.is_file()]
        # the folders above decide as well
        public = [
            path
            for path in files
            if path.stat().st_uid == owner.number
            and path.stat().st_mode & 0o004
            and all(above.stat().st_mode & 0o001 for above in path.parents)
        ]
        assert owner.home / f"{LESSONS[0]}.ipynb" in public
        texts = [path.read_bytes().decode("utf-8", "replace") for path in public]
        processes = owner.processes()
        assert owner.endpoints["process_id"] in {process.pid for process in processes}
        texts += [" ".join(process.cmdline()) for process in processes]
        assert not [secret for secret in owner.secrets | owner.device_keys for text in texts if secret in text]
        environments = spy.home / "environments.json"
        names = [f"/proc/{process.pid}/{name}" for process in processes for name in ("environ", "fd", "maps")]
        environments.write_text(json.dumps(names), encoding="utf-8")
        environments.chmod(0o644)
        assert spy.says(SPY, environments) == []


#: With the ports and the public certificate of the other's simulator, and one's own secrets.
INTRUDER = """
import dataclasses, json, sys
from pathlib import Path
from azure.core.exceptions import HttpResponseError
from azure.iot.device import ProvisioningDeviceClient
from azure.iot.deviceprovisioning import DeviceProvisioningClient
from dps_simulator.process import address, launcher
import requests

own = address.read(Path(sys.argv[1]))
proxy_port, tls_port = map(int, sys.argv[2:4])
ports = dataclasses.replace(own, proxy_port=proxy_port, tls_port=tls_port)
said = {}
try:
    launcher.manage(ports, "GET", "/hubs")
except OSError as error:
    said["their certificate"] = type(error).__name__
trusting = dataclasses.replace(ports, certificate_authority_file=Path(sys.argv[4]))
try:
    launcher.manage(trusting, "GET", "/hubs")
except launcher.LaunchError as error:
    said["token"] = type(error).__name__
client = trusting.service_client()
try:
    client.enrollment.get("thermostat-001")
except HttpResponseError as error:
    said["connection string"] = error.status_code
client.close()
client = own.service_client()
said["own"] = client.enrollment.get("thermostat-001")["registrationId"]
key = client.enrollment.get_attestation_mechanism("thermostat-001")["symmetricKey"]["primaryKey"]
client.close()
device = ProvisioningDeviceClient.create_from_symmetric_key(
    provisioning_host=own.provisioning_host, id_scope=own.id_scope, registration_id="thermostat-001",
    symmetric_key=key, **trusting.device_options)
try:
    said["device key"] = device.register().status
except Exception as error:
    said["device key"] = type(error).__name__
print(json.dumps(said))
"""


def test_who_knows_the_others_ports_is_refused(learners):
    """Everybody on the machine can connect to them. Without the secrets, that is all."""
    for intruder, owner in (learners, learners[::-1]):
        certificate = intruder.home / "theirs.pem"
        certificate.write_bytes(Path(owner.endpoints["certificate_authority_file"]).read_bytes())
        certificate.chmod(0o644)
        ports = owner.endpoints["proxy_port"], owner.endpoints["tls_port"]
        said = intruder.says(INTRUDER, intruder.workspace / "simulator", *ports, certificate)
        assert said.pop("device key") != "assigned"
        assert said == {
            "their certificate": "SSLCertVerificationError",
            "token": "TokenError",
            "connection string": 401,
            "own": "thermostat-001",
        }
