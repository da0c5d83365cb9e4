"""Changes are small, compile, are drawn in a known order, and count as caught when a test fails or does not end."""

import ast
import re
import textwrap
from collections import Counter
from unittest.mock import ANY

import pytest

from tools import mutations
from tools.mutants import draw, mutations_below, mutations_of, twin_of

SOURCE = textwrap.dedent(
    '''
    """A module whose own texts stay."""
    LIMIT = 3


    class Queue:
        """A class."""

        size = 0

        def put(self, item: "Item", *, first: bool = False) -> "Item | None":
            """Put something into it."""
            # é has two bytes
            if not item and self.size < 10:
                raise ValueError("é", item)
            self.items[item] = insert(item, self.size)
            self.sizes.append(1)
            label: "Label" = f"{self.size > 1}"
            return label

        async def drain(self):
            async for each in self:
                yield each
    '''
)


def changes(source=SOURCE):
    return [(each.kind, each.before, each.after) for each in mutations_of(source, "queue.py")]


@pytest.mark.parametrize(
    "change",
    [
        ("removed not", "not item", "(item)"),
        ("boolean operator", "not item and self.size < 10", "(not item or self.size < 10)"),
        ("comparison", "self.size < 10", "(self.size <= 10)"),
        ("comparison", "self.size < 10", "(self.size >= 10)"),
        ("constant", "10", "(11)"),
        ("constant", "10", "(9)"),
        ("emptied string", "'é'", "('')"),
        ("removed raise", "raise ValueError('é', item)", "pass"),
        ("swapped arguments", "insert(item, self.size)", "(insert(self.size, item))"),
        ("removed statement", "self.items[item] = insert(item, self.size)", "pass"),
        ("removed statement", "self.sizes.append(1)", "pass"),
        ("return of nothing", "return label", "return"),
        ("early return", "if not item and self.size < 10:", "return"),
    ],
)
def test_what_can_be_changed(change):
    assert change in changes()


def test_what_runs_at_import_what_is_documented_and_what_only_types_read_stays():
    texts = {before for _, before, _ in changes()}
    assert not texts & {"3", "0", "'Item'", "'Label'", "'Put something into it.'", "self.size > 1", "False"}


def test_types_of_a_question_are_not_swapped():
    assert not [kind for kind, *_ in changes("def f(x):\n    g(isinstance(x, int))\n") if kind == "swapped arguments"]


def test_every_change_compiles_and_changes_one_place():
    plain = ast.unparse(ast.parse(SOURCE)).splitlines()
    for mutation in mutations_of(SOURCE, "queue.py"):
        changed = ast.unparse(ast.parse(mutation.apply(SOURCE))).splitlines()
        compile(mutation.apply(SOURCE), mutation.path, "exec")
        assert len(Counter(plain) - Counter(changed)) <= 1, mutation


def test_a_change_behind_characters_of_several_bytes_is_made_where_it_belongs():
    (mutation,) = [
        each for each in mutations_of(SOURCE, "queue.py") if each.kind == "swapped arguments" and "é" in each.before
    ]
    assert "raise (ValueError(item, 'é'))\n" in mutation.apply(SOURCE)


def test_equal_changes_of_one_function_are_told_apart():
    source = "def f(a):\n    g(1)\n    g(1)\n"
    both = [each for each in mutations_of(source, "f.py") if each.kind == "removed statement"]
    assert [(each.ordinal, each.apply(source)) for each in both] == [
        (0, "def f(a):\n    pass\n    g(1)\n"),
        (1, "def f(a):\n    g(1)\n    pass\n"),
    ]


def test_a_seed_draws_everything_once_in_an_order_of_its_own_and_each_function_first():
    found = [each for name in ("a.py", "b.py") for each in mutations_of(SOURCE, name)]
    functions = {(each.path, each.function) for each in found}
    drawn = list(draw(found, 1))
    assert drawn == list(draw(found, 1))
    assert drawn != list(draw(found, 2))
    assert Counter(drawn) == Counter(found)
    assert {(each.path, each.function) for each in drawn[: len(functions)]} == functions


def test_the_same_change_is_found_where_its_function_lies_elsewhere():
    (mutation,) = [each for each in mutations_of(SOURCE, "hub/queue.py") if each.kind == "removed not"]
    moved = mutations_of(f"# more\n{SOURCE}", "domain/queues.py")
    twin = twin_of(mutation, moved)
    assert twin is not None
    assert (twin.path, twin.start[0]) == ("domain/queues.py", mutation.start[0] + 1)
    # which of two is meant says the name of the file, if anything does
    assert twin_of(mutation, [*moved, *mutations_of(SOURCE, "domain/others.py")]) is None
    assert twin_of(mutation, [*moved, *mutations_of(SOURCE, "domain/queue.py")]).path == "domain/queue.py"
    assert twin_of(mutation, mutations_of(SOURCE.replace("not item", "not items"), "domain/queues.py")) is None


def checkout(folder, *, code, tests):
    """A small project whose tests see its code only through PYTHONPATH."""
    (folder / "simulator" / "little").mkdir(parents=True)
    (folder / "simulator" / "little" / "__init__.py").touch()
    (folder / "simulator" / "little" / "code.py").write_text(textwrap.dedent(code), "utf-8")
    (folder / "tests").mkdir()
    (folder / "tests" / "test_code.py").write_text(textwrap.dedent(tests), "utf-8")
    (folder / "pyproject.toml").write_text("[tool.pytest.ini_options]\ntestpaths = ['tests']\n", "utf-8")
    return folder


CODE = """
    def older(age):
        return age > 17


    def count(upwards):
        number = 0
        while number != upwards:
            number += 1
        return number


    def unused(age):
        return not age
"""
TESTS = """
    from little import code


    def test_older():
        assert code.older(30)


    def test_younger():
        assert not code.older(10)


    def test_count():
        assert code.count(3) == 3
"""


def run(folder, chosen, *arguments):
    """The table of some changes, each named by its function and what stands there afterwards."""
    every = draw(mutations_below(mutations.ROOT, ["simulator/little"]), mutations.SEED)
    numbers = [str(number) for number, each in enumerate(every, start=1) if (each.function, each.after) in chosen]
    assert len(numbers) == len(chosen)
    where = ["--code", "simulator/little", "--tests", "tests", "--only", ",".join(numbers)]
    assert mutations.main([str(folder / "table.md"), *where, *arguments]) == 0
    return (folder / "table.md").read_text("utf-8")


def rows(table):
    return {
        (cells[2].rpartition(" ")[2], cells[4]): cells[5:8]
        for cells in ([cell.strip() for cell in line.split("|")] for line in table.splitlines())
        if len(cells) == 9 and cells[1].isdigit()
    }


def test_changes_are_tried_with_the_tests_that_run_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mutations, "ROOT", checkout(tmp_path / "here", code=CODE, tests=TESTS))
    table = run(tmp_path, [("older", "(age >= 17)"), ("older", "(age <= 17)"), ("unused", "(age)")])
    assert rows(table) == {
        # no test asks about a person of 17
        ("older", "`age > 17` → `(age >= 17)`"): ["–", "survived", "none of 2"],
        ("older", "`age > 17` → `(age <= 17)`"): ["–", "caught", ANY],
        ("unused", "`not age` → `(age)`"): ["–", "survived", "`no test passes there`"],
    }
    assert re.search(r"\| caught \| `tests/test_code.py::test_(older|younger)` \|", table)
    assert (mutations.ROOT / "simulator" / "little" / "code.py").read_text("utf-8") == textwrap.dedent(CODE)
    assert capsys.readouterr().out.splitlines()[-1] == "Of 3 changes, 1 are caught."


def test_a_loop_without_end_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(mutations, "ROOT", checkout(tmp_path / "here", code=CODE, tests=TESTS))
    monkeypatch.setattr(mutations, "PATIENCE", 1)
    table = run(tmp_path, [("count", "pass")])
    assert rows(table) == {("count", "`number += 1` → `pass`"): ["–", "caught", "`it does not end`"]}


def test_an_earlier_checkout_is_compared_and_what_is_new_counts_for_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(mutations, "ROOT", checkout(tmp_path / "here", code=CODE, tests=TESTS))
    earlier = checkout(
        tmp_path / "there",
        code=CODE.replace("not age", "age"),
        tests=TESTS + "\n\n    def test_17():\n        assert not code.older(17)\n",
    )
    table = run(tmp_path, [("older", "(age >= 17)"), ("unused", "(age)")], "--before", str(earlier))
    assert rows(table) == {
        ("older", "`age > 17` → `(age >= 17)`"): ["caught", "survived", "none of 2"],
        ("unused", "`not age` → `(age)`"): ["–", "survived", "`no test passes there`"],
    }
    assert (
        "Of 1 changes in both, 1 were caught earlier and 0 are now. Of 1 changes of what is new, 0 are caught." in table
    )


def test_tests_that_fail_by_themselves_show_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(
        mutations, "ROOT", checkout(tmp_path / "here", code=CODE, tests="def test_it():\n    assert False\n")
    )
    with pytest.raises(mutations.MutationsError, match=r"(?s)without any change.*test_it"):
        run(tmp_path, [])


def test_a_test_that_fails_anyway_notices_nothing(tmp_path, monkeypatch):
    tests = TESTS + "\n\n    def test_17():\n        assert code.older(17)\n"
    monkeypatch.setattr(mutations, "ROOT", checkout(tmp_path / "here", code=CODE, tests=tests))
    assert rows(run(tmp_path, [("older", "(age >= 17)")])) == {
        ("older", "`age > 17` → `(age >= 17)`"): ["–", "survived", "none of 2"]
    }


def test_who_interrupts_keeps_what_is_known_by_then(tmp_path, monkeypatch):
    def interrupted(options, folder):
        yield mutations.Result(
            1, mutations_of(SOURCE, "queue.py")[0], mutations.Outcome(caught=True, tests=1, by="test_it")
        )
        raise KeyboardInterrupt

    monkeypatch.setattr(mutations, "_try", interrupted)
    assert mutations.main([str(tmp_path / "table.md")]) == 0
    assert "Of 1 changes, 1 are caught." in (tmp_path / "table.md").read_text("utf-8")


def test_what_runs_at_import_only_is_tried_with_all_tests(tmp_path, monkeypatch):
    code = "def limit():\n    return 17\n\n\nLIMIT = limit()\n"
    tests = "from little import code\n\n\ndef test_it():\n    assert code.LIMIT == 17\n"
    monkeypatch.setattr(mutations, "ROOT", checkout(tmp_path / "here", code=code, tests=tests))
    assert rows(run(tmp_path, [("limit", "(18)")])) == {
        ("limit", "`17` → `(18)`"): ["–", "caught", "`tests/test_code.py::test_it`"]
    }
