"""The lists of packages are pinned, explained, complete, and agree with each other."""

import ast
import importlib.metadata
import json
import re
import sys

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def lines(path):
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith(("#", "-r"))]


def requirements(path):
    return [Requirement(re.split(r"\s#", line)[0]) for line in lines(path)]


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-dev.txt", "requirements-docs.txt", "binder/requirements.txt"]
)
def test_every_package_stands_once_with_one_version(repository, name):
    found = requirements(repository / name)
    names = [canonicalize_name(each.name) for each in found]
    assert len(names) == len(set(names)) > 5
    for each in found:
        assert [specifier.operator for specifier in each.specifier] == ["=="], each


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "requirements-docs.txt"])
def test_every_package_has_its_reason(repository, name):
    before = ""
    for line in (repository / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(("#", "-r")):
            # a long line has its reason above it; packages with the same conditions share one
            assert " #" in line or before.startswith("#") or ";" in before, line
        before = line


def test_no_package_is_listed_for_learners_and_again_for_contributors(repository):
    lists = [
        {each.name for each in requirements(repository / name) if each.marker is None or each.marker.evaluate()}
        for name in ("requirements.txt", "requirements-dev.txt")
    ]
    assert not lists[0] & lists[1]


def test_what_is_installed_is_what_is_listed(repository):
    """The tests speak about the listed versions, not about others that happen to be there."""
    for name in ("requirements.txt", "requirements-dev.txt"):
        for each in requirements(repository / name):
            if each.marker is None or each.marker.evaluate():
                assert each.specifier.contains(importlib.metadata.version(each.name), prereleases=True), each


def test_binder_installs_the_same(repository):
    locked = {canonicalize_name(each.name): each for each in requirements(repository / "binder" / "requirements.txt")}
    binder = {"python_version": "3.11", "sys_platform": "linux", "platform_machine": "x86_64"}
    for each in requirements(repository / "requirements.txt"):
        # JupyterLab comes with Binder's image: test_binder.py
        if each.name != "jupyterlab" and (each.marker is None or each.marker.evaluate(binder)):
            assert str(locked[canonicalize_name(each.name)].specifier) == str(each.specifier)
    assert (repository / "binder" / "runtime.txt").read_text(encoding="utf-8") == "python-3.11\n"


def test_helpers_import_only_what_learners_install(repository):
    listed = {canonicalize_name(each.name) for each in requirements(repository / "requirements.txt")}
    providers = importlib.metadata.packages_distributions()
    # what comes with a listed package and belongs to it
    listed |= {"traitlets", "ipython", "jupyter-client", "azure-core", "jinja2", "urllib3"}
    for path in sorted([*(repository / "helpers").rglob("*.py"), *(repository / "simulator").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            for name in names:
                top = name.split(".")[0]
                if top in sys.stdlib_module_names or top in ("helpers", "dps_simulator"):
                    continue
                from_packages = {canonicalize_name(package) for package in providers.get(top, ())}
                assert from_packages & listed, f"{path.relative_to(repository)} imports {name}"


def test_the_table_of_tried_sdks_names_the_versions_that_the_tests_install(repository):
    text = (repository / "docs" / "simulator.md").read_text(encoding="utf-8")
    table = text.partition("<!-- tried:")[2].partition("\n\n[clients.md]")[0]
    names = set(re.findall(r"`(azure-[\w-]+)`", table))
    told = set()
    for several, version in re.findall(r"((?:`azure-[\w-]+`(?: and )?)+) (\d[\w.]*)", table):
        told |= {(name, version) for name in re.findall(r"`([\w-]+)`", several)}
    # Python and Node.js have packages of the same name
    pinned = set()
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = (repository / name).read_text(encoding="utf-8")
        pinned |= set(re.findall(r"^(azure-[\w-]+)==([\w.]+)", lines, re.MULTILINE))
    packages = json.loads((repository / "tests" / "node" / "package.json").read_text(encoding="utf-8"))
    pinned |= set(packages["dependencies"].items())
    assert told <= pinned
    # those of other languages have no version, because nothing runs them
    assert names - {name for name, _ in told} == {
        "azure-iot-sdk-c",
        "azure-iot-sdk-java",
        "azure-iot-sdk-csharp",
    }
