"""The tree at the head of ``helpers.errors`` is the tree that there is."""

import ast
import builtins
import importlib
import pkgutil

import helpers
from helpers import errors
from helpers.errors import HelperError

ROOTS = {name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)}


def branch(kind, depth=2):
    for each in sorted(kind.__subclasses__(), key=lambda found: found.__name__):
        if each.__module__.startswith("helpers."):
            also = ", ".join(base.__name__ for base in each.__bases__ if not issubclass(base, HelperError))
            yield f"{'    ' * depth}{each.__name__}{f' ({also})' if also else ''}: {each.__module__}"
            yield from branch(each, depth + 1)


def test_the_tree_of_errors_is_drawn_as_it_is():
    for each in pkgutil.walk_packages(helpers.__path__, "helpers."):
        if not each.name.endswith("__main__"):
            importlib.import_module(each.name)
    drawn = [line for line in errors.__doc__.splitlines() if line.startswith(" " * 8)]
    assert drawn == list(branch(HelperError))


def test_no_error_of_the_helpers_has_another_root(repository):
    """Also one that no other module knows."""
    strangers = []
    for path in sorted((repository / "helpers").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name != "HelperError":
                bases = [ast.unparse(base) for base in node.bases]
                if bases and ROOTS.issuperset(bases):
                    strangers.append(f"{path.name}: {node.name}({', '.join(bases)})")
    assert strangers == []
