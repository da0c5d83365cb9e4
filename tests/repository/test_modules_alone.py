"""Nothing depends on what was imported before: every module and every recipe works in a fresh interpreter."""

import ast
import json
import os
import subprocess
import sys

import pytest

from helpers.recipes import RECIPES
from helpers.workspace import Recipe

# does each thing in a process of its own, in which nothing of helpers was imported before; what comes from elsewhere
# is imported once, before the processes part
ALONE = """
import importlib, json, os, sys, traceback
for name in json.loads(sys.argv[1]):
    try:
        importlib.import_module(name)
    except ImportError:
        # optional, or of another system
        pass
assert not [name for name in sys.modules if name.partition(".")[0] in ("helpers", "dps_simulator")]
for statement in json.loads(sys.argv[2]):
    child = os.fork()
    if child == 0:
        try:
            exec(statement)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print(statement)
"""


#: Where our packages lie, and their names.
FOLDERS = ("helpers", "simulator/dps_simulator", "tools")
OURS = tuple(folder.rpartition("/")[2] for folder in FOLDERS)


def fresh(repository, statements):
    """The statements that fail in a fresh interpreter, each for itself."""
    files = [path for folder in FOLDERS for path in (repository / folder).rglob("*.py")]
    elsewhere = {name for path in files for name in imported_by(path) if not name.startswith(OURS)}
    command = [sys.executable, "-W", "ignore", "-c", ALONE, json.dumps(sorted(elsewhere)), json.dumps(statements)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "", done.stderr


def modules_of(repository):
    for folder in FOLDERS:
        for path in sorted((repository / folder).rglob("*.py")):
            parts = path.relative_to((repository / folder).parent).with_suffix("").parts
            if parts[-1] != "__main__":
                yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_by(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a fresh interpreter for each would take minutes")
@pytest.mark.timeout(600)
@pytest.mark.anywhere
def test_every_module_and_every_recipe_works_alone(repository):
    modules = list(modules_of(repository))
    assert {"helpers.recipes.failures", "dps_simulator.hub.query"} <= set(modules)
    recipes = [
        f"from helpers import workspace; assert type(workspace._recipe({name!r})).__name__ == {type(recipe).__name__!r}"
        for name, recipe in RECIPES.items()
    ]
    fresh(repository, [*(f"import {name}" for name in modules), *recipes])


def test_every_document_that_a_notebook_needs_has_a_recipe(repository):
    needed = set()
    for path in (repository / "notebooks").glob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] != "code":
                continue
            for node in ast.walk(ast.parse("".join(cell["source"]))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in ("workspace.need", "workspace.start_over"):
                    needed.add(ast.literal_eval(node.args[0]))
    assert needed
    assert needed <= set(RECIPES)


def test_every_class_that_is_a_recipe_is_listed():
    """Found by what it is, so that a new one cannot be forgotten."""
    assert {type(recipe) for recipe in RECIPES.values()} == {
        each for each in finished(Recipe) if each.__module__.startswith("helpers.")
    }


def finished(kind):
    """The classes below a class that none is made from."""
    below = kind.__subclasses__()
    return {each for one in below for each in finished(one)} if below else {kind}
