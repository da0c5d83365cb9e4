"""61_run_on_azure with its commands running, where names and ports of the cloud lead to a simulator.

The program ``az`` is one that remembers whether the group was made; what it is asked, and in which order, is looked at
here, and whether the real one would take it in tests/anywhere/test_azure_commands.py.
"""

import json
import re

import nbformat
import pytest
from test_azure_target import namespaces, run_in_the_cloud

from helpers.runner.documents import NOTEBOOKS, code_cells, read

AZ = '''
import json, sys, time
from pathlib import Path

folder = Path(__file__).parent
secrets = json.loads((folder / "secrets.json").read_text())
words = " ".join(sys.argv[1:])
if words.startswith("account get-access-token"):
    print(json.dumps({"accessToken": secrets["management_token"], "expires_on": int(time.time()) + 3600}))
    sys.exit()
with (folder / "asked").open("a") as asked:
    asked.write(f"az {words}\\n")

def part(text, name):
    return text.split(f"{name}=", 1)[1].split(";")[0]

group, hub = folder / "group", secrets["hubs"][0]
answers = {
    "account show --query name": "My own subscription",
    "account show --query id": "11111111-2222-3333-4444-555555555555",
    "provider register": "",
    "group exists": "true" if group.exists() else "false",
    "group show": "azure-dps-notebooks",
    "group create": json.dumps({"name": "a", "tags": {}}),
}
if words.startswith("group create"):
    group.touch()
elif words.startswith("group delete"):
    group.unlink()
if group.exists():
    answers |= {
        "iot dps policy": part(secrets["service_connection_string"], "SharedAccessKey"),
        "iot hub policy": part(hub["connection_string"], "SharedAccessKey"),
        "iot hub show": part(hub["connection_string"], "HostName"),
        "iot dps show": {
            "idScope": secrets["id_scope"],
            "deviceProvisioningHostName": secrets["provisioning_host"],
            "serviceOperationsHostName": secrets["service_host"],
        }.get(words.rpartition("properties.")[2], "{}"),
        "iot": json.dumps({"name": "made"}),
    }
found = [answer for start, answer in answers.items() if words.startswith(start)]
if found or words.startswith("group delete"):
    print("".join(found[:1]))
else:
    print("ERROR: (ResourceGroupNotFound) Resource group could not be found.", file=sys.stderr)
    sys.exit(3)
'''
#: What is changed: the file of this checkout stays as it is, and one notebook stands for all.
CHANGES = {
    "write": ("write_settings(settings, run=run_commands)", "write_settings(settings, run=run_commands, file={env!r})"),
    "delete": ("remove_settings(run=run_commands)", "remove_settings(run=run_commands, file={env!r})"),
    "run-tracks": ('"0 1 2 3" if', '"00" if'),
    "report": ("build/azure-report", "build/azure-report --pace instant 00"),
}


def spared(folder):
    """The notebook, changed so that it leaves the checkout alone, with every file in a folder of its own."""
    document = read(NOTEBOOKS / "61_run_on_azure.ipynb")
    cells = {cell.id: cell for cell in document.cells}
    for name, (old, new) in CHANGES.items():
        assert old in cells[name].source
        cells[name].source = cells[name].source.replace(old, new)
    for name in ("write", "delete"):
        cells[name].source = "from pathlib import Path\n" + cells[name].source.replace(
            "{env!r}", f"Path({str(folder / '.env')!r})"
        )
    cells["write"].source += f"\nprint('mode', oct(Path({str(folder / '.env')!r}).stat().st_mode & 0o777))"
    for name in ("run-tracks", "report"):
        cells[name].source = cells[name].source.replace("build/azure", str(folder / "build"))
    path = folder / "61_run_on_azure.ipynb"
    nbformat.write(document, path)
    return path


@pytest.mark.anywhere
@pytest.mark.notebooks
@pytest.mark.timeout(1_300)
@namespaces
def test_from_nothing_to_devices_and_back_to_nothing(tmp_path):
    (tmp_path / "az.py").write_text(AZ)
    command = ("-m", "helpers.runner", "tutorial", "--target", "azure", "-p", "run_commands=true")
    more = ("-p", "prefix=my-own-name", "--cell-timeout", "900", "--output", str(tmp_path / "out"))
    run_in_the_cloud(tmp_path, *command, *more, str(spared(tmp_path)), seconds=1_200)
    (executed,) = (tmp_path / "out" / "notebooks").glob("61*.ipynb")
    text = "".join(
        output.get("text", "") for cell in code_cells(read(executed)) for output in cell.outputs
    )
    asked = (tmp_path / "asked").read_text().splitlines()
    shown = [line for line in text.splitlines() if line.startswith("az ") and line != "az login"]
    assert [re.sub("'", "", line) for line in shown] == asked
    order = ["group exists", "group create", "dps create", "hub create", "linked-hub create", "group delete"]
    order.append("hub show")
    places = [max(number for number, line in enumerate(asked) if f" {words} " in line) for words in order[1:]]
    assert places == sorted(places)
    assert order[0] in asked[2]
    assert text.count("✓ set: ") == 6
    assert "Ready for Azure: True" in text
    assert "Devices use MQTT on port 8883." in text
    assert "mode 0o600" in text
    assert "calls compared, 0 with differences" in text
    assert text.count("not found: it is gone") == 2
    assert ".env: deleted" in text
    assert not (tmp_path / ".env").exists()
    assert "not run" not in text
    secrets = json.loads((tmp_path / "secrets.json").read_text())
    keys = re.findall(r"SharedAccessKey=([^\"]+)", json.dumps(secrets))
    assert keys
    assert [key for key in keys if key in text] == []
