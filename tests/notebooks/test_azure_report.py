"""The comparison of Azure with the simulator, made where the names of the cloud lead to a simulator.

Nothing differs then, and nothing of whoever ran it stands in the report. With differences sown into the answers of that
cloud, the report shows these and no other.
"""

import json
import re

import pytest
from test_azure_target import namespaces, run_in_the_cloud

REPORT = ("-m", "helpers.comparison", "--pace", "instant")

#: Changes answers of the simulator that plays Azure, as its program begins: a status, a header less, a field more.
SOWN = '''
import json
from aiohttp import web
from dps_simulator.provisioning.api import service
'''


def compared(folder, *notebooks, **options):
    said = run_in_the_cloud(folder, *REPORT, "--output", str(folder / "report"), *notebooks, seconds=1_200, **options)
    text = (folder / "report" / "azure-report.md").read_text(encoding="utf-8")
    document = json.loads((folder / "report" / "azure-report.json").read_text(encoding="utf-8"))
    return said, text, document


@pytest.mark.anywhere
@pytest.mark.notebooks
@pytest.mark.timeout(1_300)
@namespaces
@pytest.mark.parametrize("notebooks", [["0"], ["1"], ["2", "3"], ["4"]], ids=["start", "keys", "certificates", "hubs"])
def test_a_simulator_in_the_place_of_azure_does_not_differ(tmp_path, notebooks):
    said, text, document = compared(tmp_path, *notebooks)
    differing = [call for call in document["calls"] if call["differences"]]
    assert differing == [], text[:4_000]
    assert re.search(r"\d+ calls compared, 0 with differences", said)
    assert "## Differences\n\nNone.\n" in text
    assert all(each == {"azure": "passed", "simulator": "passed"} for each in document["outcomes"].values())
