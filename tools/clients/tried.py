"""Reads from the tests what they tried: the decorators ``@pytest.mark.tried(client, feature, ...)``."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


class TriedError(ValueError):
    """A mark cannot be read, or says what the table does not know."""


@dataclass(frozen=True, order=True)
class Tried:
    """One thing that one test shows.

    Attributes:
        client: the client that it runs.
        feature: what it does with it.
        test: file and function, as pytest names them.
    """

    client: str
    feature: str
    test: str


def read(folder: Path) -> list[Tried]:
    """What the tests in a folder tried, sorted.

    Arguments:
        folder: with files ``test_*.py``, also in folders of it.

    Raises:
        TriedError: a mark names no client or no feature, or does not stand on a test and so proves nothing.
    """
    found: list[Tried] = []
    for path in sorted(folder.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        # most files have none, and are not worth parsing
        if "mark.tried(" in text:
            found += _of_file(path, ast.parse(text), f"{path.relative_to(folder).as_posix()}")
    return sorted(found)


def _of_file(path: Path, tree: ast.Module, name: str) -> Iterator[Tried]:
    on_tests: list[ast.Call] = []
    for function in tree.body:
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) or not function.name.startswith("test_"):
            continue
        for mark in _marks(function.decorator_list):
            on_tests.append(mark)
            client, features = _words(path, mark)
            for feature in features:
                yield Tried(client, feature, f"{name}::{function.name}")
    for mark in _marks(ast.walk(tree)):
        if mark not in on_tests:
            raise TriedError(f"{path.name}, line {mark.lineno}: only a test itself can be marked as one that tried.")


def _marks(nodes: Iterable[ast.AST]) -> Iterator[ast.Call]:
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "tried":
            yield node


def _words(path: Path, mark: ast.Call) -> tuple[str, list[str]]:
    words = [each.value for each in mark.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    if len(words) != len(mark.args) or len(words) <= 1 or mark.keywords:
        raise TriedError(f"{path.name}, line {mark.lineno}: a mark names a client, and then features, as plain texts.")
    return words[0], words[1:]
