"""Every command that a document tells people to type was tried, or it says here why not.

A command that is new in a document fails this test until it has a row. A row names the test that runs the command, or
gives the words with which it is run here, or the reason why nobody runs it. `tests/anywhere/` has what takes long.
"""

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = (
    "README.md",
    "simulator/README.md",
    "CONTRIBUTING.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)
#: How a command begins; `!` and `%` are those of a notebook.
COMMAND = re.compile(
    r"[!%$]? ?(?:sudo )?(?:(?:make|pip|python3?|py|dps-simulator|papermill|jupyter|pytest|git|az|docker|podman|curl"
    r"|openssl|uv|npm|node|apt-get|brew|cc|mosquitto_\w+) \S|\.venv[/\\]\S+|\.ci/\S+)"
)


def commands(text):
    """What is to be typed: lines of blocks that are of no programming language, and code within a line."""
    blocks = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    lines = [line for language, block in blocks.findall(text) if not language for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", blocks.sub("", text))
    # a comment is for people
    found = [re.sub(r"\s+# .*", "", each).strip() for each in [*lines, *inline]]
    return [each for each in found if COMMAND.match(each)]


ALL = sorted({command for name in DOCUMENTS for command in commands((ROOT / name).read_text(encoding="utf-8"))})


@dataclass(frozen=True)
class By:
    """A test runs it, or runs what it stands for: its file and its name."""

    test: str


@dataclass(frozen=True)
class Here:
    """It is run below: what its program is told, its exit code, and what it says then."""

    words: tuple[str, ...]
    code: int
    says: str


@dataclass(frozen=True)
class Not:
    """Nobody runs it, and why."""

    reason: str


COLD = By("tests/anywhere/test_cold_start.py::test_somebody_new_gets_to_the_first_device")
LEARNER = By("tests/anywhere/test_binder_session.py::test_the_first_track_runs_in_a_checkout_that_nobody_can_write")
AZURE = By(
    "tests/notebooks/test_azure_target.py"
    "::test_the_tutorial_runs_on_the_azure_target_configured_by_environment_variables_only"
)
SOLVED = By("tests/helpers/runner/test_solutions.py::test_the_runner_sees_whether_solutions_solve")
LAB = By("tests/repository/test_lab.py::test_the_first_notebook_is_what_opens")
POWERSHELL = By("tests/repository/test_platforms.py::test_the_lines_for_windows_are_powershell")
PAPERMILL = By("tests/notebooks/test_papermill.py::test_each_notebook_alone")
BADGE = By("tests/tools/test_badge.py::test_a_remote_is_written_everywhere_and_again_without_a_change")
SERVE = By("tests/simulator/process/test_command_line.py::test_it_says_that_it_is_ready_and_ends_cleanly")
RUN = By("tests/simulator/process/test_run_command.py::test_the_exit_code_is_passed_on")
NBVAL = By("tests/notebooks/test_nbval.py::test_a_track_in_order_from_the_root")
BATCH = ".venv/bin/papermill notebooks/12_symmetric_key_start.ipynb executed.ipynb"
WINDOWS = ".venv\\Scripts\\python -m "
COSTS = Not(
    "changes resources of a person's Azure, which cost money; no test has a login. The real parser reads them in"
    " tests/anywhere/test_azure_commands.py; of those of the extension, the form is looked at below"
)
THE_SUITE = Not("it is the suite itself, of which this is a part; whoever reads a green run has seen it")
SYSTEM = Not("installs into the system")

TABLE = {
    "make architecture": By("tests/repository/test_architecture.py::test_the_picture_is_what_make_architecture_draws"),
    "make badge": BADGE,
    "make bench": By("tests/repository/test_memory_benchmark.py::test_the_memory_of_a_process"),
    "make bench ARGUMENTS=memory": By("tests/repository/test_memory_benchmark.py::test_it_looks_until_it_is_left"),
    "make binder": Not("asks GitHub and the registry of packages; test_binder.py looks at what it wrote last"),
    "make check": THE_SUITE,
    "make clients": By("tests/tools/test_clients.py::test_the_document_is_what_make_clients_writes"),
    "make clean": By(
        "tests/repository/test_installation.py::test_make_clean_removes_what_can_be_made_again_and_nothing_else"
    ),
    "make cold-start": COLD,
    "make errors": By("tests/repository/test_errors_document.py::test_the_document_is_what_make_errors_writes"),
    "make fidelity": By("tests/repository/test_fidelity_document.py::test_the_document_is_what_make_fidelity_writes"),
    "make lab": LAB,
    "make lint": THE_SUITE,
    "make notebooks": NBVAL,
    "make notebooks ARGUMENTS=21": NBVAL,
    "make screenshots": By("tests/browser/test_first_look.py::test_the_picture_in_the_readme"),
    "make setup": By("tests/repository/test_installation.py::test_who_learns_needs_nothing_of_a_contributor"),
    "make test": THE_SUITE,
    "make test-anywhere": THE_SUITE,
    "make test-clients": THE_SUITE,
    "make tutorial": COLD,
    'make tutorial ARGUMENTS="--solutions 11"': SOLVED,
    'make tutorial ARGUMENTS="--target azure 11"': AZURE,
    'make tutorial ARGUMENTS="--target azure"': AZURE,
    'make tutorial ARGUMENTS="11 12 13"': LEARNER,
    "make tutorial ARGUMENTS=--solutions": SOLVED,
    # without make
    "py -3.11 -m venv .venv": POWERSHELL,
    f"{WINDOWS}pip install -r requirements.txt -e . -e ./simulator": POWERSHELL,
    f"{WINDOWS}pip install -r requirements-dev.txt": POWERSHELL,
    f'{WINDOWS}jupyter lab "--KernelManager.transport_encryption=auto" "--ServerApp.root_dir=."'
    ' "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb"': By(
        "tests/repository/test_lab.py::test_without_make_it_is_the_same_command"
    ),
    f"{WINDOWS}helpers.runner tutorial": POWERSHELL,
    f"{WINDOWS}pytest": POWERSHELL,
    "!git clone ADDRESS-OF-THIS-REPOSITORY lessons": COLD,
    "%pip install --quiet -r lessons/requirements.txt -e lessons -e lessons/simulator": By(
        "tests/anywhere/test_no_index_for_the_simulator.py::test_installing_both_asks_no_index_for_either"
    ),
    'python -m pip install "./simulator[clients]" pytest': By(
        "tests/repository/test_container.py::test_what_it_installs_can_be_installed"
    ),
    # notebooks without a screen
    f"{BATCH}": PAPERMILL,
    f"{BATCH} -p registration_id thermostat-007": PAPERMILL,
    f"{BATCH} -r registration_id thermostat-007": PAPERMILL,
    f"{BATCH} -p target azure": AZURE,
    ".venv/bin/pytest --nbval notebooks/": NBVAL,
    # the simulator
    ".venv/bin/dps-simulator status": Here(("-m", "dps_simulator", "status"), 3, "No simulator runs"),
    ".venv/bin/dps-simulator stop": Here(("-m", "dps_simulator", "stop"), 3, "No simulator runs"),
    ".venv/bin/dps-simulator reset": Here(("-m", "dps_simulator", "reset"), 0, "holds no enrollments"),
    ".venv/bin/dps-simulator serve": SERVE,
    ".venv/bin/dps-simulator run -- PROGRAM": RUN,
    ".venv/bin/dps-simulator run -- your-program": RUN,
    "dps-simulator run -- your-program": RUN,
    "dps-simulator serve": SERVE,
    "dps-simulator serve --development": By(
        "tests/simulator/settings/test_development.py::test_serve_prints_the_connection_string_that_the_documents_name"
    ),
    "dps-simulator status": Here(("-m", "dps_simulator", "status"), 3, "No simulator runs"),
    "python -m dps_simulator": By(
        "tests/simulator/process/test_command_line.py::test_without_a_command_the_five_commands_are_named"
    ),
    # what maintainers run
    ".ci/run": THE_SUITE,
    ".venv/bin/pre-commit install": By(
        "tests/repository/test_workflows.py::test_the_hooks_hold_up_a_commit_once_they_are_installed"
    ),
    "python .ci/computer.py": By("tests/repository/test_release.py::test_a_part_that_fails_does_not_hide_the_next"),
    "python .ci/release.py": By("tests/repository/test_release.py::test_what_is_attached"),
    "python -m helpers.runner.glossary link": By(
        "tests/helpers/runner/test_glossary_tool.py::test_links_are_written_once"
    ),
    "python -m tools.secret_scan --digests": By("tests/tools/test_secret_scan.py::test_a_value_that_is_known_is_none"),
    # classes, web pages, mutations, Azure
    "curl -L https://tljh.jupyter.org/bootstrap.py | sudo -E python3 - --admin teacher": SYSTEM,
    "docker push registry.example.org/azure-dps-notebooks:june": Not("needs Docker and a registry of images"),
    "dps-simulator serve --standard-ports": By(
        "tests/simulator/test_standard_ports.py::test_the_sdk_finds_its_way_by_name"
    ),
    "make azure-report": By(
        "tests/notebooks/test_azure_report.py::test_a_simulator_in_the_place_of_azure_does_not_differ"
    ),
    'make azure-report ARGUMENTS="41 --webhook-url ADDRESS"': By(
        "tests/notebooks/test_azure_report.py::test_several_hubs_and_a_published_function_differ_only_in_who_goes_where_and_when"
    ),
    "make bench ARGUMENTS=learner": By("tests/repository/test_memory_benchmark.py::test_the_highest_sum_is_kept"),
    "make mutations": By("tests/tools/test_mutations.py::test_changes_are_tried_with_the_tests_that_run_there"),
    "make mutations ARGUMENTS='--seed 2'": By(
        "tests/tools/test_mutations.py::test_changes_are_tried_with_the_tests_that_run_there"
    ),
    "make site": By("tests/anywhere/test_site_pages.py::test_every_link_leads_somewhere"),
    'make site ARGUMENTS="-b linkcheck"': Not("asks other servers, which tests do not"),
    "make tutorial ARGUMENTS=61": By(
        "tests/notebooks/test_run_on_azure.py::test_from_nothing_to_devices_and_back_to_nothing"
    ),
    "pip install jupyter-repo2docker": By("tests/anywhere/test_binder_session.py::test_repo2docker_writes_its_recipe"),
    "sudo git clone --branch june https://github.com/OWNER/REPOSITORY /srv/azure-dps-notebooks": SYSTEM,
    # of other people's programs
    "sudo apt-get install --no-install-recommends swtpm": SYSTEM,
    "brew install swtpm": SYSTEM,
    "sudo apt-get install --no-install-recommends gcc libc6-dev libmosquitto-dev libssl-dev": SYSTEM,
    # devices without an SDK
    "cc -Wall -Wextra -Werror -o device device.c -lmosquitto -lcrypto": By(
        "tests/sdk/test_c_firmware.py::test_it_registers_with_a_key_and_sends"
    ),
    "docker cp NAME:/state/authority.pem .": Not("needs Docker; the workflow for the container runs it there"),
}

CURL = By("tests/simulator/process/test_command_line.py::test_the_lines_with_curl_do_what_they_say")
NO_SDK = By("tests/sdk/test_plain_mqtt.py::test_commands_with_a_key")


def expected(command):
    """The row of a command; ``None`` where there is none."""
    if command in TABLE:
        return TABLE[command]
    if command.startswith("curl ") and ("/simulator/health" in command or "$BASE/faults" in command):
        return CURL
    if (command.startswith("curl ") and "/registrations/" in command) or command.startswith("mosquitto_"):
        return NO_SDK
    return COSTS if command.startswith("az ") and command.split()[1] in ("iot", "group", "extension", "login") else None


@pytest.mark.parametrize("command", ALL)
def test_every_command_has_a_row(command):
    assert expected(command) is not None, f"Add a row to the table of this test for: {command}"


def test_no_row_is_left_over():
    assert set(TABLE) <= set(ALL)
    assert {type(row) for row in TABLE.values()} == {By, Here, Not}


@pytest.mark.parametrize("test", sorted({row.test for row in map(expected, ALL) if isinstance(row, By)}))
def test_the_tests_that_are_named_exist(test):
    name, _, function = test.partition("::")
    assert re.search(rf"^ *(async )?def {function}\(", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("command", [each for each in ALL if each.startswith("make ")])
def test_make_knows_it(command):
    words = [*shlex.split(command), "--dry-run", "--old-file=.venv/ready", "--old-file=.venv/ready-dev"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("command", [each for each in ALL if isinstance(expected(each), Here)])
def test_it_does_what_it_says(command, tmp_path):
    row = expected(command)
    # the row runs what stands in the document
    assert shlex.split(command)[1:] == list(row.words[2:])
    done = subprocess.run(
        [sys.executable, *row.words],
        cwd=ROOT,
        env={**os.environ, "DPS_WORKSPACE": str(tmp_path / "workspace")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, row.says in done.stdout + done.stderr) == (row.code, True), done.stdout + done.stderr


#: Options of Azure's command line that the handout uses; each is followed by its value.
OF_AZURE = {
    *("--name", "--resource-group", "--dps-name", "--hub-name", "--enrollment-id", "--attestation-type"),
    *("--registration-id", "--device-id"),
}


@pytest.mark.parametrize("command", [each for each in ALL if each.startswith("az ")])
def test_the_form_of_a_command_for_azure(command):
    """Options come in pairs after the words of the command, none twice."""
    words = shlex.split(command)
    verbs = list(itertools.takewhile(lambda word: not word.startswith("--"), words[1:]))
    options, values = words[1 + len(verbs) :: 2], words[2 + len(verbs) :: 2]
    assert verbs
    assert set(options) <= OF_AZURE
    assert len(set(options)) == len(options) == len(values)
    assert not any(value.startswith("--") for value in values)


def test_a_command_without_a_row_is_found():
    text = "Type `make pizza`, not `make`:\n\n```\n$ make tea   # hot\ntea is ready\n```\n\n```python\nmake = 1\n```\n"
    assert commands(text) == ["$ make tea", "make pizza"]
    assert expected("make pizza") is None
