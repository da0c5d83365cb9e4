import re

import pytest
from nbformat.v4 import new_markdown_cell
from notebook_samples import code, notebook, printed, shown

from helpers.runner.documents import NOTEBOOKS, find, read
from helpers.runner.lint import problems
from helpers.runner.stories import contradictions

ONE, OTHER = "a" * 52, "b" * 52
THUMBPRINT, ANOTHER = "4CBE82D0" * 8, "0B16FD22" * 8
TABLE = """\
Meters
hub    even       weighted
-----  ---------  ---------
hub-1  {}  75 of 100
hub-2  52 of 100  25 of 100
"""


def table(text, html=None):
    return shown(text__plain=text, text__html=f"<p>{text if html is None else html}</p>")


def ticks(number):
    return printed("✓ passed: it works\n" * number)


def told(text):
    return new_markdown_cell(text)


def found(*cells):
    return [text for _, text in contradictions(notebook(*cells))]


CONTRADICTIONS = {
    "names of two TPMs": (
        [code("a", printed(f"Registration ID: {ONE}\n")), code("b", table(f"individual  {OTHER}  tpm"))],
        f"the registration ID of the TPM is {OTHER} here and {ONE} in a cell before",
    ),
    "progress left at its beginning": (
        [code("display(bar)", table("0 of 200 assigned, 0 failed, 200 remaining"))],
        "progress is left at 0 of 200, 200 remaining",
    ),
    "progress left in the middle": (
        [code("print(bar)", printed("Booting\n7 of 20 assigned, 1 failed, 12 remaining, 3.0 devices per second\n"))],
        "progress is left at 7 of 20, 12 remaining",
    ),
    "a count and another": (
        [code("a", printed("Assigned: 200 of 200\n")), code("b", printed("199 of 200 assigned, fine\n"))],
        "199 of 200 assigned here, and 200 of 200 in cell 1",
    ),
    "a table and another": (
        [code("a", printed(TABLE.format("48 of 100"))), code("b", table(TABLE.format("47 of 100")))],
        "hub-1, even: 47 of 100 here, and 48 of 100 in cell 1",
    ),
    "a key in HTML": ([code("a", table("key ****abcd", "key ****efgh"))], "differ in a masked key: ****abcd, ****efgh"),
    "a thumbprint in HTML": (
        [code("a", table(f"it is {THUMBPRINT}", f"it is {ANOTHER}"))],
        f"differ in a thumbprint: {ANOTHER}, {THUMBPRINT}",
    ),
    "a count in HTML": ([code("a", table("3 of 4", "2 of 4"))], "differ in a count: 2 of 4, 3 of 4"),
    "a key printed twice": (
        [
            code(
                "print('Group:', group_id, 'with the key', group_key)", printed("Group: pumps with the key ****abcd\n")
            ),
            code("print('Key of the group:', group_key, '- secret')", printed("Key of the group: ****efgh - secret\n")),
        ],
        "group_key is ****efgh here, and ****abcd in cell 1",
    ),
    "a number measured twice": (
        [
            code("refusals = 1\nrefusals = len(found)\nprint('Refusals:', refusals)", printed("Refusals: 10\n")),
            code(
                "print(f'All at once: {total():.1f} s, {refusals} refusals')",
                printed("All at once: 1.5 s, 12 refusals\n"),
            ),
        ],
        "refusals is 12 here, and 10 in cell 1",
    ),
    "another parameter": (
        [
            code("device_id: str = 'hall'  # its name"),
            code("print('In the hub:', device_id)", printed("In the hub: kitchen\n")),
        ],
        "device_id is kitchen here, and hall in cell 1",
    ),
    "ticks and text": ([code("a", ticks(3)), told("You should see four lines with ✓. Go on.")], "speaks of four lines"),
    "a tick and no text": ([code("a", ticks(2)), told("You should see a line with ✓.")], "speaks of a lines"),
}


@pytest.mark.parametrize(("cells", "words"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_contradiction_is_seen(cells, words):
    texts = found(*cells)
    assert len(texts) == 1, texts
    assert words in texts[0]


STORIES = {
    "one TPM": [code("a", printed(f"{ONE}\n")), code("b", table(f"x {ONE} y"))],
    "two TPMs beside each other": [
        code("a", printed(f"{ONE}\n")),
        code("b", printed(f"{ONE}\n{OTHER}\n")),
        code("c", printed(f"{OTHER}\n")),
    ],
    "progress at its end": [code("a", table("198 of 200 assigned, 2 failed, 0 remaining"))],
    "counts of different things": [
        code("a", printed("Through: 1 of 15 notebooks. Solved: 0 of 35 exercises.\n2 of 4 assigned\n4 of 5 assigned\n"))
    ],
    "the same table twice": [
        code("a", printed(TABLE.format("48 of 100"))),
        code("b", table(TABLE.format("48 of 100"))),
    ],
    "tables of other hundreds": [
        code("a", printed(TABLE.format("48 of 100"))),
        code("b", printed(TABLE.format("4 of 20  "))),
    ],
    "a device that connects": [
        code("a", printed("name  state\n----  -----\npump  off\n")),
        code("b", printed("name  state\n----  -----\npump  on\n")),
    ],
    "set anew in between": [
        code("print('The key is', key)", printed("The key is ****abcd\n")),
        code("stolen, key = key, new_key()"),
        code("print('The key is', key)", printed("The key is ****efgh\n")),
    ],
    "set in a loop, a with and an import": [
        code("print('It is now', a, b, c)", printed("It is now 1 2 3\n")),
        code("for a in (7,): pass\nwith open(b) as b: pass\nimport c"),
        code("print('It is now', a, b, c)", printed("It is now 7 8 9\n")),
    ],
    "two lines of one print": [
        code("print('hub', hub)\nhub = 2\nprint('hub', hub)", printed("hub 1\nhub 2\n")),
    ],
    "set inside a function only": [
        code("key = 'a'\ndef f():\n    key = 'b'\nprint('The key is', key)", printed("The key is a\n"))
    ],
    "text that cannot be told from other text": [code("n = 1\nprint(n, x)", printed("7 8\n"))],
    "more lines with ticks, over two cells": [
        code("a", ticks(4)),
        code("b", ticks(2)),
        told("You should see six more lines with ✓."),
    ],
    "ticks since the text before": [
        code("a", ticks(2)),
        told("Next:"),
        code("b", ticks(1)),
        told("You should see a line with ✓."),
    ],
    "a cell that was not run": [code("print('It is', n)"), code("n = (", printed("It is 3\n"))],
}


@pytest.mark.parametrize("cells", STORIES.values(), ids=STORIES)
def test_one_story_is_left_alone(cells):
    assert found(*cells) == []


@pytest.mark.parametrize("path", find(), ids=lambda path: path.stem)
def test_the_notebooks_tell_one_story_each(path):
    assert list(contradictions(read(path))) == []


def test_lint_reports_it(tmp_path):
    path = tmp_path / "31_tpm_enroll.ipynb"
    text = (NOTEBOOKS / path.name).read_text(encoding="utf-8")
    name = re.search(r"\b[a-z2-7]{52}\b", text).group()
    assert text.count(name) > 2
    path.write_text(text.replace(name, ONE, 1), encoding="utf-8")
    assert any("registration ID of the TPM" in problem for problem in problems(path))
