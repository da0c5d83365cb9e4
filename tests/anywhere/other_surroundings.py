"""What people run things in: other signals, masks, locales, homes, variables than on the machine of the authors."""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import psutil
from fresh_environments import base_for_everybody
from patience import RUN_PATIENCE

ROOT = Path(__file__).resolve().parents[2]
#: Where nobody, not even root, can write or make a folder.
NOWHERE = "/dev/null/nowhere"

#: What a developer may have set for something else. None of it may reach a test.
OF_A_DEVELOPER = {
    "DPS_SIMULATOR_PACE": "slow",
    "DPS_SIMULATOR_ID_SCOPE": "0neDEVELOPER",
    "DPS_SIMULATOR_HUBS": "nonsense",
    "DPS_SIMULATOR_STATE": NOWHERE,
    "DPS_WORKSPACE": NOWHERE,
    "PROVISIONING_HOST": "global.azure-devices-provisioning.net",
    "PROVISIONING_IDSCOPE": "0ne00DEADBEEF",
    "PROVISIONING_SERVICE_CONNECTION_STRING": "HostName=x.azure-devices-provisioning.net",
    "IOTHUB_CONNECTION_STRING": "HostName=x.azure-devices.net",
    "AZURE_SUBSCRIPTION_ID": "of-the-developer",
    "AZURE_RESOURCE_GROUP": "of-the-developer",
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "NO_PROXY": "*",
    "REQUESTS_CA_BUNDLE": NOWHERE,
    "CURL_CA_BUNDLE": NOWHERE,
    "SSL_CERT_FILE": NOWHERE,
    "SSL_CERT_DIR": NOWHERE,
    "PYTHONWARNINGS": "error",
    "PYTHONHASHSEED": "7",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTEST_ADDOPTS": "--exitfirst",
    "GIT_DIR": NOWHERE,
}


def import_path(checkout):
    """What makes both projects of a checkout importable: a value of PYTHONPATH."""
    return os.pathsep.join([str(checkout), str(checkout / "simulator")])


def copy_of_the_project(folder):
    """What is committed or new, as somebody would clone it."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    for name in os.fsdecode(listed).split("\0"):
        source = ROOT / name
        if name and source.is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return folder


CAN_START_ITSELF = (
    "import dps_simulator, helpers, pytest, subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', '']))"
)


def python_for_everybody(folder):
    """A Python that finds the packages of this one; where this one lies in the home of root, the system's."""
    subprocess.run([base_for_everybody(), "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = (folder / "lib").glob("python3*/site-packages")
    (packages / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder / "bin" / "python"


class Surroundings:
    """What a program finds.

    Arguments:
        before: lines of a shell that the program is started from.
        user: the number of the user and group who starts it.
        variables: set, or removed where the value is ``None``.
    """

    def __init__(self, *before, user=None, **variables):
        self.before, self.variables = before, variables
        self.become = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--") if user else ()

    def run(self, *command, cwd=ROOT):
        """Run a command there; returns its exit code and what it said."""
        # a run of its own, that looks after what it starts
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("DPS_WORKSPACE", "DPS_TEST_SESSION") and not name.startswith("PYTEST_XDIST")
        }
        for name, value in self.variables.items():
            environment.pop(name, None)
            if value is not None:
                environment[name] = value
        lines = [*self.before, f"exec {shlex.join(map(str, (*self.become, *command)))}"]
        with subprocess.Popen(
            ["bash", "-c", "\n".join(lines)],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="backslashreplace",
        ) as process:
            try:
                said, _ = process.communicate(timeout=RUN_PATIENCE)
            except subprocess.TimeoutExpired:
                _end(process.pid)
                said, _ = process.communicate()
                said += f"\nended, as it was not over after {RUN_PATIENCE} s"
        return process.returncode, said

    def pytest(self, *tests, cwd=ROOT, python=sys.executable):
        """Run tests there; returns what they said when all of them passed."""
        options = ("-p", "no:cacheprovider", "-p", "no:xdist", "-q", "--color=no", "-rs")
        code, said = self.run(python, "-m", "pytest", *options, *tests, cwd=cwd)
        assert code == 0, said
        return said


def _end(process_id):
    """End a process and all that it started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(process_id)
        for each in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


#: Tests that depended on such things, or would be the first to: signals, modes of files, texts, sockets, kernels.
SENSITIVE = (
    "tests/simulator/common/test_private_files.py",
    "tests/simulator/process/test_run_command.py::test_other_signals_are_handed_on",
    "tests/simulator/process/test_run_command.py::test_control_c_ends_a_program_that_does_not_care",
    "tests/simulator/process/test_launcher.py::TestSurviving::test_an_interrupt_of_the_kernel",
    "tests/helpers/test_workspace.py",
    "tests/helpers/target/test_target.py",
    "tests/helpers/tpm/test_swtpm.py::test_an_interrupt_of_the_notebook_does_not_end_it",
    "tests/helpers/runner/test_execution.py::test_cells_run_in_order_in_the_folder_of_the_notebook",
    "tests/repository/test_files.py",
    "tests/sdk/test_service_clients.py::test_both_clients_meet_the_limit_of_the_service",
)

#: One difference each.
SURROUNDINGS = {
    "nohup": Surroundings('trap "" HUP'),
    "in the background": Surroundings('trap "" INT QUIT'),
    "signals ignored": Surroundings('trap "" HUP INT TERM USR1 USR2 CHLD PIPE'),
    "umask 000": Surroundings("umask 000"),
    "umask 077": Surroundings("umask 077"),
    "umask 027": Surroundings("umask 027"),
    "locale C": Surroundings(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"),
    "locale POSIX": Surroundings(LANG="POSIX", LC_ALL=None, PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"),
    "locale that is not installed": Surroundings(LC_ALL="de_DE.ISO-8859-15", LANG="de_DE", PYTHONUTF8="0"),
    "no locale": Surroundings(LANG=None, LC_ALL=None, PYTHONUTF8="0"),
    "far east": Surroundings(TZ="Pacific/Kiritimati"),
    "half an hour": Surroundings(TZ="Asia/Kolkata"),
    "no home": Surroundings(HOME=None),
    "a home that cannot be written": Surroundings(HOME=NOWHERE),
    "closed streams": Surroundings("exec <&- 2>&1", TERM=None),
    "a narrow terminal": Surroundings(COLUMNS="40", LINES="5", TERM="dumb", NO_COLOR="1"),
    "colours": Surroundings(FORCE_COLOR="3", CLICOLOR_FORCE="1", TERM="xterm-256color"),
    "variables of a developer": Surroundings(**OF_A_DEVELOPER),
    "few open files": Surroundings("ulimit -n 256"),
}
#: All that can be had at once.
EVERYTHING = Surroundings(
    'trap "" HUP INT TERM',
    "umask 077",
    "ulimit -n 256",
    "exec <&-",
    **OF_A_DEVELOPER,
    LC_ALL="C",
    PYTHONUTF8="0",
    PYTHONCOERCECLOCALE="0",
    TZ="Pacific/Kiritimati",
    HOME=NOWHERE,
    COLUMNS="40",
    TERM="dumb",
)
