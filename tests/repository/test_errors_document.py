"""What docs/errors.md says is what `explain` says."""

import re

from helpers.diagnosis.table import SECTIONS, SYMPTOMS
from tools.errors_document import main, render


def test_the_document_is_what_make_errors_writes(repository):
    committed = (repository / "docs" / "errors.md").read_text(encoding="utf-8")
    assert committed == render(), "docs/errors.md is out of date; run make errors"


def test_it_is_written_where_it_should_be(tmp_path, capsys):
    assert main([str(tmp_path / "errors.md")]) == 0
    assert (tmp_path / "errors.md").read_text(encoding="utf-8") == render()
    assert main([]) == 0
    assert capsys.readouterr().out == render()
    assert main([str(tmp_path / "no" / "errors.md")]) == 1
    assert "errors.md" in capsys.readouterr().err


def test_every_entry_has_a_heading_and_links_lead_somewhere(repository):
    text = render()
    assert text.count("\n## ") == len(SECTIONS)
    assert text.count("\n### ") == len(SYMPTOMS)
    links = set(re.findall(r"\]\(([^)]+)\)", text))
    assert links
    for link in links:
        assert (repository / "docs" / link).is_file(), link
    # every row of a table has four cells
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}
