"""A usual mistake is a condition and the hint for it; without the hint, a learner would read ``Hint: True``."""

import ast
from pathlib import Path

import pytest

import helpers.exercises

MODULES = sorted(Path(helpers.exercises.__file__).parent.glob("*.py"))


def mistakes(path):
    calls = (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call))
    lists = (each.value for call in calls for each in call.keywords if each.arg == "mistakes")
    return [mistake for found in lists for mistake in found.elts]


def is_text(node):
    if isinstance(node, ast.Name):
        return node.id == "hint"
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def says_what_to_do(mistake):
    if isinstance(mistake, ast.BoolOp) and isinstance(mistake.op, ast.And):
        return is_text(mistake.values[-1])
    # the last resort, or a table of answers
    return is_text(mistake) or isinstance(mistake, ast.Call)


@pytest.mark.parametrize("path", [path for path in MODULES if mistakes(path)], ids=lambda path: path.stem)
def test_every_mistake_ends_in_words(path):
    assert [ast.unparse(each) for each in mistakes(path) if not says_what_to_do(each)] == []


def test_a_mistake_without_words_would_be_found():
    assert not says_what_to_do(ast.parse("not letters", mode="eval").body)
    assert not says_what_to_do(ast.parse("a and b", mode="eval").body)
    assert sum(len(mistakes(path)) for path in MODULES) > 200
