"""Every rule lets a good notebook pass and sees the fault it is there for."""

import pytest
from nbformat.v4 import new_markdown_cell, new_output
from notebook_samples import code, good, notebook, parameters_cell, printed, saved, shown

from helpers.runner.lint import code_lines, problems

KEY = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="


def text(source):
    return new_markdown_cell(source)


def replaced(document, old, new):
    for cell in document.cells:
        cell.source = cell.source.replace(old, new)
    return document


def without_counts():
    document = good(code("print(1)"))
    document.cells[3].execution_count = None
    return document


def with_editor_metadata():
    document = good()
    document.metadata["language_info"] = {"name": "python", "version": "3.11.7"}
    return document


def without_parameters():
    return notebook(*(cell for cell in good().cells if "parameters" not in cell.metadata.get("tags", [])))


FAULTS = {
    "two titles": (good(text("# Run another")), "2 headings of level 1"),
    "no title": (replaced(good(), "# Run a sample", "Run"), "0 headings of level 1"),
    "title without verb": (replaced(good(), "# Run a sample", "# Sample"), "starts with 'Sample', not with a verb"),
    "late title": (notebook(text("hello"), *good().cells), "the title is not in the first cell"),
    "skipped level": (good(text("### Deep")), "heading 'Deep' has level 3 after level 1"),
    "a step twice": (good(text("## Step 1: One"), text("## Step 1: Two")), "heading 'Step 1: Two' follows step 1;"),
    "a step left out": (good(text("## Step 1: One"), text("## Step 3: Three")), "'Step 3: Three' follows step 1;"),
    "steps from zero": (good(text("## Step 0: None")), "heading 'Step 0: None' follows step 0;"),
    "missing section": (replaced(good(), "## In practice", "## Elsewhere"), "the section 'In practice' is missing"),
    "wrong order": (replaced(good(text("## Next")), "## Next\n\nNothing", "Nothing"), "'Next' stands too early"),
    "no parameters": (without_parameters(), "0 cells have the tag 'parameters'"),
    "parameter without type": (replaced(good(), "target: str", "target"), "every line must read"),
    "parameter without comment": (replaced(good(), "  # simulator or azure", ""), "has no comment that explains it"),
    "parameter of another name": (replaced(good(), "target: str", "goal: str"), "`target: str` is missing"),
    "unchecked parameters": (replaced(good(), "check_parameters", "print"), "does not call check_parameters"),
    "empty cell": (good(code("")), "the cell is empty"),
    "long cell": (good(code("\n".join(f"x{n} = {n}" for n in range(13)))), "the cell has 13 lines of code"),
    "semicolon": (good(code("1 + 1;")), "ends with ';'"),
    "semicolon before a comment": (good(code("1 + 1;  # quiet")), "ends with ';'"),
    "display handle": (good(code("display(1, display_id='x')")), "a display is updated later"),
    "matplotlib SVG": (good(code("set_matplotlib_formats('svg')")), "use PNG"),
    "magic": (good(code("%pip install x")), "a magic or shell line"),
    "waiting": (good(code("name = input()")), "waits for a person"),
    "error output": (
        good(code("1/0", new_output("error", ename="ZeroDivisionError", evalue="x", traceback=[]))),
        "the output is an error: ZeroDivisionError",
    ),
    "warning": (good(code("f()", printed("careful", "stderr"))), "on stderr"),
    "JSON output": (good(code("f()", shown(application__json={}, text__plain="x"))), "application/json"),
    "no plain text": (good(code("f()", shown(text__html="<b>x</b>"))), "no text/plain form"),
    "SVG by matplotlib": (
        good(code("f()", shown(**{"image__svg+xml": "<svg><title>x</title>matplotlib</svg>", "text__plain": "x"}))),
        "an SVG by matplotlib",
    ),
    "nameless SVG": (
        good(code("f()", shown(**{"image__svg+xml": "<svg></svg>", "text__plain": "x"}))),
        "neither a title nor",
    ),
    "nameless SVG in HTML": (good(code("f()", shown(text__html="<svg></svg>", text__plain="x"))), "neither a title"),
    "picture without words": (good(text("![](x.png)")), "no alternative text"),
    "HTML picture without words": (good(code("f()", shown(text__html="<img src=x>", text__plain="x"))), "alternative"),
    "not executed": (without_counts(), "not executed once each"),
    "metadata": (with_editor_metadata(), "metadata, widget references"),
    "unknown tag": (good(code("1", tags=["mystery"])), "unknown tag mystery"),
    "key in an output": (good(code("f()", printed(f"key {KEY}"))), "a base64 key stands in the notebook"),
    "key in a source": (good(code(f"key = '{KEY}'")), "a base64 key stands in the notebook"),
    "key in HTML": (
        good(code("f()", shown(text__html=f"<b>SharedAccessKey&#61;{KEY}</b>", text__plain="x"))),
        "a shared access key stands in the notebook",
    ),
    "path": (good(code("f()", printed("wrote /home/ada/key.pem"))), "/home/ada is a path of one machine"),
}


@pytest.mark.parametrize(("document", "expected"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_seen(tmp_path, document, expected):
    found = problems(saved(document, tmp_path / "sample.ipynb"))
    assert any(expected in problem and problem.startswith("sample.ipynb") for problem in found), found


def test_a_good_notebook_passes(tmp_path):
    document = good(
        text("## Step\n\n### Detail\n\n```python\n# no heading\n```\n\n![a device](x.png)"),
        code("print(1)\n# a comment\n\nprint(2)", printed("1\n2\n")),
        code(
            "f()",
            shown(text__html='<svg role="img"><title>two devices</title></svg><img alt="a" src=x>', text__plain="x"),
        ),
    )
    assert problems(saved(document, tmp_path / "sample.ipynb")) == []


def test_what_is_no_notebook_is_a_problem(tmp_path):
    path = tmp_path / "sample.ipynb"
    path.write_text("{")
    assert len(problems(path)) == 1


def test_only_lines_with_code_count():
    assert code_lines("# comment\n\nx = 1\nprint(\n    x,  # comment\n)\n") == 4
    assert code_lines('text = """\none\n\ntwo\n"""') == 5
    assert code_lines("broken(\n# comment\nx") == 2


def test_parameters_may_be_explained_on_the_line_above(tmp_path):
    document = good()
    document.cells[1] = parameters_cell("# how many", "# devices")
    document.cells[1]["id"] = "cell-1"
    assert problems(saved(document, tmp_path / "sample.ipynb")) == []


def test_a_notebook_without_code_is_a_page_and_needs_only_title_and_headings(tmp_path):
    page = notebook(text("# Look up a word"), text("## Words\n\n### DPS"))
    assert problems(saved(page, tmp_path / "page.ipynb")) == []
    untitled = notebook(text("## Words"))
    assert "0 headings of level 1" in problems(saved(untitled, tmp_path / "page.ipynb"))[0]


def test_one_code_cell_makes_a_lesson(tmp_path):
    document = notebook(text("# Look up a word"), code("print(1)", count=1))
    found = problems(saved(document, tmp_path / "lesson.ipynb"))
    assert any("'You will' is missing" in line for line in found)
    assert any("cells have the tag 'parameters'" in line for line in found)


def test_links_to_no_word_are_found(tmp_path):
    glossary = notebook(text("# Look up a word\n\n## A\n\n### DPS"))
    document = good(text("[DPS](01_glossary.ipynb#cell-id=dps) [x](01_glossary.ipynb#cell-id=eps)"))
    saved(glossary, tmp_path / "01_glossary.ipynb")
    found = problems(saved(document, tmp_path / "globals.ipynb"))
    assert [line.split(": ", 1)[1] for line in found] == [
        "the link to #cell-id=eps leads to no word of 01_glossary.ipynb"
    ]


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<table><tr><td>1</td></tr></table>", "a table has no heads"),
        ("<table><tr><th>a</th></tr></table>", "a head of a table has no scope"),
        ('<p style="color: red">no</p>', "color is 'red'"),
        ("<input>", "a field (input) has no label"),
        ("<svg role='img'><rect/></svg>", "neither a title nor an aria-label"),
    ],
)
def test_html_that_some_cannot_read_is_found(tmp_path, html, expected):
    document = good(code("1", shown(text__html=html, text__plain="x"), count=2))
    assert any(expected in line for line in problems(saved(document, tmp_path / "sample.ipynb")))
