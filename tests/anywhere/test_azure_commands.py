"""Every command for Azure that the notebook and the settings show is taken by the parser of the real command line.

The program is installed into an environment of its own, without the SDKs of services that nobody here asks for; parsing
needs neither a login nor a network.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fresh_environments import Fresh, environment

from helpers.target import settings

#: A version that was tried. A third of it is what parsing needs.
AZURE_CLI = "2.91.0"
#: The SDKs of the services in question, and what their commands import besides.
NEEDED = ("iothub", "iothubprovisioningservices", "iotcentral", "resource", "authorization")
BESIDES = {"azure-cli-core", "semver", "packaging", "six"}
#: Commands of an extension (azure-iot), which is for whoever likes it; the notebook does without.
EXTENSION = re.compile(
    r"az iot dps (?:connection-string|enrollment)|az iot hub (?:connection-string|device-)|az extension"
)
PARSER = Path(__file__).with_name("az_parser.py")
SELECT = f"""
import importlib.metadata, re
for line in importlib.metadata.requires("azure-cli"):
    name, _, marker = line.partition(";")
    bare = re.match(r"[\\w.-]+", name)[0].lower()
    if bare.startswith(tuple("azure-mgmt-" + each for each in {NEEDED!r})) or bare in {BESIDES!r}:
        print(name.strip())
"""


def shown_in_the_notebook(repository):
    document = json.loads((repository / "notebooks" / "61_run_on_azure.ipynb").read_text(encoding="utf-8"))
    outputs = [output for cell in document["cells"] for output in cell.get("outputs", [])]
    lines = "".join("".join(output.get("text", [])) for output in outputs).splitlines()
    return [line for line in lines if line.startswith("az ")]


def shown_elsewhere(repository):
    handout = (repository / "docs" / "handout.md").read_text(encoding="utf-8")
    remedies = " ".join([*settings.REQUIRED.values(), *settings.FOR_MANAGEMENT.values()])
    found = re.findall(r"`(az [^`]+)`", handout) + re.findall(r"or: (az [^;(]+?)(?: \(|;|$| (?=portal:))", remedies)
    return [line for line in found if not EXTENSION.match(line)]


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    """What the parser says of command lines: an empty text for each that it takes."""
    folder = tmp_path_factory.mktemp("azure-cli")
    fresh = Fresh(folder / "environment")
    fresh.install("--no-deps", f"azure-cli=={AZURE_CLI}")
    fresh.install(*fresh.run("-c", SELECT).stdout.split())
    quiet = {
        "AZURE_CONFIG_DIR": str(folder / "configuration"),
        "AZURE_CORE_COLLECT_TELEMETRY": "no",
        "AZURE_EXTENSION_USE_DYNAMIC_INSTALL": "no",
    }

    def ask(*lines):
        done = subprocess.run(
            [fresh.python, str(PARSER)],
            input="\n".join(lines),
            env=environment(folder, **quiet),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2_000:]
        return json.loads(done.stdout.splitlines()[-1])

    return ask


@pytest.mark.anywhere
@pytest.mark.timeout(1_300)
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="azure-cli is not for this Python yet")
def test_the_real_command_line_takes_every_command_and_refuses_wrong_ones(repository, refusals):
    lines = shown_in_the_notebook(repository)
    elsewhere = shown_elsewhere(repository)
    assert len(lines) >= 15
    assert len(elsewhere) >= 5
    assert not [line for line in lines if EXTENSION.match(line)]
    # what the second hub, and a hub that is not free, are made with
    lines += [line.replace("--sku F1", "--sku S1").replace("-hub-1", "-hub-2") for line in lines if "iot hub" in line]
    wrong = [
        "az iot hub create --name a --resource-group b --partitions 2",
        "az iot hub create --name a --resource-group b --sku P1",
        "az iot dps linked-hub create --resource-group b --hub-name c",
        "az iot dps make --name a --resource-group b",
    ]
    found = refusals(*lines, *elsewhere, *wrong)
    assert {line: said for line, said in found.items() if said and line not in wrong} == {}
    # 2 is what the parser ends with; any other number would be a fault of the environment
    assert [line for line in wrong if not found[line].startswith("exit code 2")] == []
