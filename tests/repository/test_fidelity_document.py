"""What docs/fidelity.md says is what the simulator does."""

import re

from tools.fidelity.document import measure, render


def test_the_document_is_what_make_fidelity_writes(repository):
    committed = (repository / "docs" / "fidelity.md").read_text(encoding="utf-8")
    assert committed == render(measure()), "docs/fidelity.md is out of date; run make fidelity"


def test_its_links_lead_somewhere(repository):
    text = (repository / "docs" / "fidelity.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for file, anchor in re.findall(r"\]\(([^)#]*)#([^)]+)\)", text):
        if file:
            other = (repository / "docs" / file).read_text(encoding="utf-8")
            assert re.search(rf"^#+ {anchor}$", other, re.MULTILINE | re.IGNORECASE), anchor
        else:
            assert anchor in anchors
