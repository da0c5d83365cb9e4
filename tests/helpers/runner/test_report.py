import re
from datetime import datetime, timezone
from pathlib import Path

from nbformat.v4 import new_output
from notebook_samples import code, notebook, printed

from helpers.runner.execution import Outcome
from helpers.runner.normalise import WIDGET_VIEW
from helpers.runner.report import page, place, save, summary

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=timezone.utc)


def outcome(name, status="passed", **fields):
    return Outcome(Path(f"{name}.ipynb"), status, **fields)


def test_the_summary_counts():
    assert summary([outcome("a")]) == "1 notebook: 1 passed."
    several = [outcome("a"), outcome("b", "failed"), outcome("c"), outcome("d", "not run"), outcome("e", "interrupted")]
    assert summary(several) == "5 notebooks: 2 passed, 1 failed, 1 interrupted, 1 not run."


def test_the_place_of_a_failure():
    assert place(outcome("a")) == ""
    assert place(outcome("a", error="KeyError: 'x'", cell=3)) == "In [3]: KeyError: 'x'"
    assert place(outcome("a", error="The kernel could not be started.")) == "The kernel could not be started."


def test_the_page_is_complete_and_escapes_what_it_shows():
    outcomes = [outcome("a", document=notebook()), outcome("b", "failed", error="<script>alert(1)</script>", cell=2)]
    text = page(outcomes, {"target": "simulator <here>"}, NOW)
    assert '<a href="notebooks/a.html">a</a>' in text
    assert "<script" not in text
    assert "In [2]: &lt;script&gt;" in text
    assert "simulator &lt;here&gt;" in text
    assert "2026-01-02 03:04 UTC" in text
    assert '<html lang="en">' in text


def test_saved_files_load_nothing_from_elsewhere_and_hold_no_secret(tmp_path):
    widget = new_output(
        "display_data", data={WIDGET_VIEW: {"model_id": "1"}, "text/html": "<b>table</b>", "text/plain": "t"}
    )
    document = notebook(code("f()", printed("SharedAccessKey=abcdefghijkl"), widget, count=1))
    document.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "b.html").write_text("stale")
    report = save([outcome("a", document=document), outcome("b", "not run")], tmp_path, {}, NOW)
    assert report == tmp_path / "report.html"
    assert sorted(path.name for path in (tmp_path / "notebooks").iterdir()) == ["a.html", "a.ipynb"]
    for path in (report, *(tmp_path / "notebooks").iterdir()):
        text = path.read_text()
        assert "abcdefghijkl" not in text
        assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", text), path
        assert not re.findall(r"@import|url\(\s*[\"']?https?:", text), path
        assert "<script" not in text
    shown = (tmp_path / "notebooks" / "a.html").read_text()
    assert "<b>table</b>" in shown
    assert "****ijkl" in shown
