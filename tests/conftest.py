"""For all tests: nothing but loopback, a workspace of their own, and no process left behind."""

import gc
import ipaddress
import itertools
import os
import socket
import sys
import time
import uuid
import warnings
from pathlib import Path

import psutil
import pytest
import surroundings
from patience import PATIENCE

# before anything else is imported, which may look at it
surroundings.make_known()

pytest_plugins = ["dps_simulator.pytest_plugin", "scheduling"]

# Every process that a test starts inherits this variable, and is found by it.
SESSION = "DPS_TEST_SESSION"
# A run of its own, which a test may start, has a name of its own: what other tests still use is not its business. The
# workers of a run share its name.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ[SESSION] = uuid.uuid4().hex

# Longer values of parameters do not become names of tests.
LONGEST_NAME = 80

_attempts: list[str] = []


class NetworkRefusedError(OSError):
    """A test tried to talk to something else than this machine."""


def _check(host: object) -> None:
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return
    try:
        if ipaddress.ip_address(str(name)).is_loopback or str(name) in ("0.0.0.0", "::"):  # noqa: S104 - not bound to
            return
    except ValueError:
        pass
    _attempts.append(str(name))
    raise NetworkRefusedError(f"Tests talk to this machine only, and this one tried to reach {name!r}.")


_connect, _connect_ex, _getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo


def _guarded_connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6):
        _check(address[0])
    return _connect(self, address)


def _guarded_connect_ex(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6):
        _check(address[0])
    return _connect_ex(self, address)


def _guarded_getaddrinfo(host, *arguments, **keywords):
    _check(host)
    return _getaddrinfo(host, *arguments, **keywords)


socket.socket.connect = _guarded_connect
socket.socket.connect_ex = _guarded_connect_ex
socket.getaddrinfo = _guarded_getaddrinfo


@pytest.fixture(autouse=True)
def _only_this_machine():
    """A test that reached for the network fails, even when the code under test took the refusal calmly."""
    _attempts.clear()
    yield
    reached, _attempts[:] = list(_attempts), []
    assert not reached, f"the test tried to reach {', '.join(reached)}"


@pytest.fixture(autouse=True, scope="session")
def _workspace_of_the_tests(tmp_path_factory):
    """Nothing is written into the workspace or the home of the person who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPS_WORKSPACE", str(tmp_path_factory.mktemp("workspace")))
        patch.delenv("DPS_SIMULATOR_STATE", raising=False)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


#: So many RSA keys the embedded TPMs of a run share, which are slow to make. No test has more than some TPMs.
RSA_KEYS = 12


@pytest.fixture(autouse=True, scope="session")
def _keys_of_embedded_tpms():
    """Every TPM gets other keys than the ones before it, but not always new ones."""
    try:
        from helpers.tpm.embedded import commands as soft_commands
    except ModuleNotFoundError:
        # where only what the simulator needs is installed, there are none
        yield
        return
    make, made, turns = soft_commands.make_rsa_key, [], itertools.count()

    def next_key():
        number = next(turns)
        if number >= RSA_KEYS:
            return made[number % len(made)]
        made.append(make())
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(soft_commands, "make_rsa_key", next_key)
        yield


@pytest.fixture(autouse=True, scope="session")
def _known_signals():
    with surroundings.signals():
        yield


#: What the command lines of programs have in them that tests start.
PROGRAMS = ("dps_simulator", "ipykernel_launcher", "swtpm", "register_tpm.js", "device.js")


def left_behind() -> list[psutil.Process]:
    """Simulators, kernels and TPMs that this test session started and that still run."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = " ".join(process.info["cmdline"] or [])
        if not any(name in words for name in PROGRAMS):
            continue
        try:
            ours = process.environ().get(SESSION) == os.environ[SESSION]
        except (psutil.Error, OSError):
            continue
        if ours and process.pid != os.getpid():
            found.append(process)
    return found


def pytest_make_parametrize_id(val, argname):
    """Certificates and keys are new in every process, and the processes have to agree about the names of the tests."""
    return argname if isinstance(val, str | bytes) and len(val) > LONGEST_NAME else None


def pytest_terminal_summary(terminalreporter):
    """Print what tests have measured, wherever they ran."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "figure":
                terminalreporter.write_line(f"{value} ({report.nodeid})")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session):
    """After everything: a simulator, kernel or TPM that a test forgot makes the run fail."""
    result = yield
    if "PYTEST_XDIST_WORKER" in os.environ:
        return result
    deadline = time.monotonic() + PATIENCE
    while (processes := left_behind()) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in processes:
        print(f"\nleft behind by a test: process {process.pid}: {' '.join(process.cmdline())}")  # noqa: T201
        process.kill()
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return result


#: What takes longest comes first, so that no worker begins it when the others are about to end.
LONGEST = (
    "test_jupyterlab.py",
    "test_newest_python.py",
    "test_azure_target.py",
    "test_without_azure_iot_hub.py",
    "test_nbval.py",
    "test_invitations.py",
    "test_run_again.py",
    "test_broken_steps.py",
    "test_papermill.py",
)


def pytest_collection_finish():
    """Leave what was imported so far out of all later searches for garbage, which many tests make."""
    if hypothesis := sys.modules.get("hypothesis"):
        # at its first test it asks the collector who holds its random numbers, and what is frozen does not answer
        first = hypothesis.given(hypothesis.strategies.none())(lambda _: None)
        hypothesis.settings(max_examples=1, database=None)(first)()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Find the sockets that the device SDK leaves to the garbage collector, before they are found during another test.

    Only now nothing holds them any more: neither the test's own frames and fixtures, nor what it caught.
    """
    result = yield
    if item.get_closest_marker("sdk") or "dps" in item.fixturenames:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
    return result


def pytest_collection_modifyitems(items):
    """Put what takes longest first."""
    places = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture
def repository() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parents[1]
