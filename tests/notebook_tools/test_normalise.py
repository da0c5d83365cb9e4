import copy

import pytest
from nbformat.v4 import new_markdown_cell, new_output
from notebook_samples import code, notebook, printed

from helpers.notebook_tools.normalise import VARIES, WIDGET_VIEW, comparable, merge, normalise, sanitize_rules

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


def test_committed_outputs_stay_where_they_agree(rules):
    committed = notebook(
        code("a()", printed("12:30 fine\n"), count=1),
        code("b()", printed("old\n"), count=2),
        code("c()", result("at 10:00", 3), count=3),
        code("d()", printed("12:00 same\n"), count=4),
        code("e()", printed("11:11 same\n")),
    )
    executed = copy.deepcopy(committed)
    executed.cells[0].outputs = [printed("12:31 fine\n")]
    executed.cells[1].outputs = [printed("new\n")]
    executed.cells[2].outputs = [result("at 11:00", 3)]
    executed.cells[3].source = "d(1)"
    executed.cells[3].outputs = [printed("12:01 same\n")]
    executed.cells[4].execution_count = 5
    executed.cells[4].outputs = [printed("11:12 same\n")]
    executed.cells.insert(1, code("fresh()", printed("09:00\n"), count=2))
    merged = merge(committed, executed, rules)
    texts = [cell.outputs[0].get("text") or cell.outputs[0].data["text/plain"] for cell in merged.cells]
    assert texts == ["12:30 fine\n", "09:00\n", "new\n", "at 10:00", "12:01 same\n", "11:12 same\n"]
    assert [cell.execution_count for cell in merged.cells] == [1, 2, 3, 4, 5, 6]
    assert merged.cells[3].outputs[0].execution_count == 4
    again = copy.deepcopy(merged)
    again.cells[0].outputs = [printed("12:59 fine\n")]
    assert merge(merged, again, rules) == merged


def test_the_committed_rules_are_valid_and_few():
    assert 0 < len(sanitize_rules()) <= 5


def test_a_cell_that_shows_what_it_measured_keeps_its_output_while_its_code_stays(rules):
    measured = {"tags": [VARIES]}
    committed = notebook(code("a()", printed("0.1 s\n"), count=1, **measured), code("b()", count=2, **measured))
    executed = copy.deepcopy(committed)
    executed.cells[0].outputs = [printed("0.2 s\n")]
    executed.cells[1].outputs = [printed("0.3 s\n")]
    merged = merge(committed, executed, rules)
    assert [cell.outputs[0].text for cell in merged.cells] == ["0.1 s\n", "0.3 s\n"]
    executed.cells[0].source = "a(1)"
    assert merge(committed, executed, rules).cells[0].outputs[0].text == "0.2 s\n"
