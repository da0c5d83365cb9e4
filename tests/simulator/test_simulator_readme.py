"""The code in the README of the simulator does what it says, beside a project with a package ``helpers`` of its own."""

import re
import sys

import pytest
from fresh_environments import code_blocks, environment, run_readme


def test_its_code_runs_beside_a_project_with_helpers_of_its_own(repository, tmp_path):
    pytest.importorskip("azure.iot.deviceprovisioning")
    codes, said = run_readme(sys.executable, repository, tmp_path / "foreign", environment(tmp_path))
    assert codes == [0, 0], said
    assert "3 passed" in said
    assert "global.azure-devices-provisioning.test 0ne00000A01 http://127.0.0.1:" in said


def test_it_has_no_code_that_nothing_runs(repository):
    text = (repository / "simulator" / "README.md").read_text(encoding="utf-8")
    languages = re.findall(r"^```(\w*)$", text, re.MULTILINE)[::2]
    assert languages.count("python") == len(code_blocks(repository)) == 3
    assert set(languages) <= {"python", ""}


def test_from_install_to_a_device_it_takes_ten_lines(repository):
    first = code_blocks(repository)[0].strip().splitlines()
    # and one to install
    assert len([line for line in first if line]) + 1 <= 10
