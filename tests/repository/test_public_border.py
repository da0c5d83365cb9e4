"""helpers know the simulator by its public names alone, and the simulator knows nothing of helpers."""

import ast

import pytest

#: Modules of the simulator that others may import from; each lists its names, or is one noun.
PUBLIC = {
    "dps_simulator",
    "dps_simulator.__main__",
    "dps_simulator.certificates",
    "dps_simulator.process",
    "dps_simulator.rules",
}


def imported_from(source, package):
    """The modules of a package that a source imports from."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == package)
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").partition(".")[0] == package:
            yield node.module


def strangers(folder, package, public=frozenset()):
    return [
        f"{path.relative_to(folder)}: {name}"
        for path in sorted(folder.rglob("*.py"))
        for name in imported_from(path.read_text(encoding="utf-8"), package)
        if name not in public
    ]


def test_helpers_import_public_modules_of_the_simulator_only(repository):
    assert strangers(repository / "helpers", "dps_simulator", PUBLIC) == []


def test_the_simulator_imports_nothing_of_the_helpers(repository):
    for package in ("helpers", "tools"):
        assert strangers(repository / "simulator", package) == []


@pytest.mark.parametrize("line", ["import dps_simulator.hub.hub", "from dps_simulator.credentials import sas"])
def test_an_import_behind_the_border_is_found(tmp_path, line):
    (tmp_path / "module.py").write_text(f"def later():\n    {line}\n")
    assert len(strangers(tmp_path, "dps_simulator", PUBLIC)) == 1
