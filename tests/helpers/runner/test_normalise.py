import copy

import pytest
from nbformat.v4 import new_markdown_cell, new_output
from notebook_samples import code, notebook, printed

from helpers.runner.normalise import VARIES, WIDGET_VIEW, comparable, is_outdated, merge, normalise, sanitize_rules

WIDGET = {WIDGET_VIEW: {"model_id": "1"}, "text/plain": "Table(3)"}


def display(data):
    return new_output("display_data", data=data)


def result(text, count):
    return new_output("execute_result", data={"text/plain": text}, execution_count=count)


@pytest.fixture
def rules(tmp_path):
    path = tmp_path / "sanitize.cfg"
    path.write_text(
        "[time]\nregex: \\d\\d:\\d\\d\nreplace: <TIME>\n\n[again]\nregex: <TIME> (\\w+)\nreplace: \\1 <TIME>\n"
    )
    return sanitize_rules(path)


def test_normalising_keeps_content_only():
    document = notebook(
        new_markdown_cell("text  \n\n"),
        code("x = 1  \n", count=7, tags=["parameters"], collapsed=True, jupyter={"source_hidden": True, "x": 1}),
        code("x", printed("a"), result("1", 9), printed("b"), count=9),
        code("never run"),
    )
    document.metadata.update({"language_info": {"name": "python"}, "widgets": {}, "papermill": {}})
    document.cells[2].outputs[1].metadata["isolated"] = True
    before = copy.deepcopy(document)
    clean = normalise(document)
    assert document == before
    assert list(clean.metadata) == ["kernelspec"]
    assert [cell.source for cell in clean.cells] == ["text", "x = 1", "x", "never run"]
    assert clean.cells[1].metadata == {"tags": ["parameters"], "jupyter": {"source_hidden": True}}
    assert [cell.get("execution_count") for cell in clean.cells] == [None, 1, 2, None]
    assert clean.cells[2].outputs[0].text == "ab"
    assert clean.cells[2].outputs[1].execution_count == 2
    assert clean.cells[2].outputs[1].metadata == {}
    assert normalise(clean) == clean


def test_a_widget_goes_but_its_text_stays():
    clean = normalise(notebook(code("t", display(WIDGET), display({WIDGET_VIEW: {}}), count=1)))
    assert clean.cells[0].outputs[0].data == {"text/plain": "Table(3)"}
    assert list(clean.cells[0].outputs[1].data) == [WIDGET_VIEW]


def test_comparison_is_nbvals(rules):
    def agree(one, two):
        return comparable(one, rules) == comparable(two, rules)

    assert agree([printed("12:30 now\n")], [printed("12:"), printed("31 now\n")])
    assert not agree([printed("12:30 now\n")], [printed("12:30 later\n")])
    assert not agree([printed("x")], [printed("x", "stderr")])
    assert not agree([printed("x")], [])
    assert agree([display(WIDGET)], [display({"text/plain": "Table(3)"})])
    assert agree([display({"text/plain": "p", "image/png": "AAAA"})], [display({"text/plain": "p", "image/png": "BB"})])
    assert not agree([display({"text/plain": "p"})], [display({"text/plain": "p", "text/html": "<p>"})])
    assert agree([display({"application/json": {"a": 1}})], [display({"application/json": {"a": 1}})])


def texts_of(document):
    cells = [cell for cell in document.cells if cell.cell_type == "code"]
    return [cell.outputs[0].get("text") or cell.outputs[0].data["text/plain"] for cell in cells]


def test_committed_outputs_stay_when_all_agree(rules):
    committed = notebook(
        new_markdown_cell("text"),
        code("a()", printed("12:30 fine\n"), count=4),
        code("b()", result("at 10:00", 9), count=9),
    )
    executed = copy.deepcopy(committed)
    executed.cells[1].outputs = [printed("12:31 fine\n")]
    executed.cells[2].outputs = [result("at 11:00", 3)]
    merged = merge(committed, executed, rules)
    assert texts_of(merged) == ["12:30 fine\n", "at 10:00"]
    assert [cell.get("execution_count") for cell in merged.cells] == [None, 1, 2]
    assert merged.cells[2].outputs[0].execution_count == 2
    assert merge(merged, executed, rules) == merged
    assert texts_of(merge(committed, executed, rules, anew=True)) == ["12:31 fine\n", "at 11:00"]


@pytest.mark.parametrize(
    "change",
    [
        lambda cells: cells[1].update(outputs=[printed("12:40 new\n")]),
        lambda cells: cells[1].update(outputs=[]),
        lambda cells: cells[1].update(source="b(1)"),
        lambda cells: cells.insert(1, code("fresh()", printed("12:00\n"), count=2)),
        lambda cells: cells.pop(1),
        lambda cells: cells.reverse(),
    ],
    ids=["another output", "no output", "other code", "one cell more", "one cell less", "another order"],
)
def test_all_outputs_are_renewed_together(rules, change):
    """Outputs of two runs in one notebook would show two keys for one thing."""
    committed = notebook(code("a()", printed("12:30 fine\n"), count=1), code("b()", printed("12:30 also\n"), count=2))
    executed = copy.deepcopy(committed)
    for cell in executed.cells:
        cell.outputs = [printed(cell.outputs[0].text.replace("12:30", "12:40"))]
    assert texts_of(merge(committed, executed, rules)) == ["12:30 fine\n", "12:30 also\n"]
    change(executed.cells)
    assert merge(committed, executed, rules) == normalise(executed)


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        (["12:30", "12:30"], ["12:40", "12:40"], True),
        (["12:30", "12:31"], ["12:40", "12:41"], True),
        (["12:30", "12:31"], ["12:40", "12:40"], False),
        (["12:30", "12:30"], ["12:40", "12:41"], False),
        (["12:30 12:31", "12:31"], ["12:40 12:41", "12:41"], True),
        (["12:30 12:31", "12:31"], ["12:40 12:41", "12:40"], False),
    ],
)
def test_what_varies_must_vary_in_step(rules, old, new, kept):
    committed, executed = (
        notebook(*(code("a()", printed(text), count=number) for number, text in enumerate(texts, 1)))
        for texts in (old, new)
    )
    assert texts_of(merge(committed, executed, rules)) == (old if kept else new)


def test_outputs_that_contradict_each_other_are_renewed_though_they_agree(rules):
    committed = notebook(code("display(bar)", printed("0 of 9 assigned, 9 remaining"), count=1, tags=[VARIES]))
    executed = copy.deepcopy(committed)
    executed.cells[0].outputs = [printed("9 of 9 assigned, 0 remaining")]
    assert texts_of(merge(committed, executed, rules)) == ["9 of 9 assigned, 0 remaining"]


def test_the_committed_rules_are_valid_and_few():
    assert 0 < len(sanitize_rules()) <= 5


def test_cells_that_show_what_they_measured_keep_their_outputs_with_all_others(rules):
    measured = {"tags": [VARIES]}
    committed = notebook(
        code("a()", printed("0.1 s\n"), count=1, **measured),
        code("b()", printed("0.2 s\n"), count=2, **measured),
        code("c()", printed("fine\n"), count=3),
    )
    executed = copy.deepcopy(committed)
    executed.cells[0].outputs = [printed("0.3 s\n")]
    executed.cells[1].outputs = [printed("0.4 s\n")]
    assert texts_of(merge(committed, executed, rules)) == ["0.1 s\n", "0.2 s\n", "fine\n"]
    executed.cells[2].outputs = [printed("finer\n")]
    assert texts_of(merge(committed, executed, rules)) == ["0.3 s\n", "0.4 s\n", "finer\n"]
    committed.cells[1].outputs = []
    executed.cells[2].outputs = [printed("fine\n")]
    assert texts_of(merge(committed, executed, rules)) == ["0.3 s\n", "0.4 s\n", "fine\n"]


def test_measured_outputs_are_outdated_when_code_changed_and_they_did_not():
    before = notebook(code("start(10)", count=1), code("show()", printed("10.0 s\n"), count=2, tags=[VARIES]))
    now = copy.deepcopy(before)
    assert not is_outdated(now, before)
    assert not is_outdated(now, None)
    now.cells[0].source = "start(5)"
    assert is_outdated(now, before)
    now.cells[1].outputs = [printed("5.1 s\n")]
    assert not is_outdated(now, before)
