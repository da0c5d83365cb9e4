"""A word of the glossary is one click away, in the glossary and from other notebooks."""

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")

PICTURE_WITHOUT_TEXT = "where => document.querySelector(where).insertAdjacentHTML('beforeend', '<img src=data:,>')"


def test_links_lead_to_words_and_serious_faults_would_be_found(learner):
    learner.open("00_start_here.ipynb")
    learner.find(learner.page.locator(".jp-Notebook a[href*='#ID-scope']")).click()
    word = learner.page.get_by_role("heading", name="ID scope", exact=True)
    word.wait_for()
    playwright.expect(word).to_be_in_viewport()

    learner.open("01_glossary.ipynb")
    learner.page.get_by_role("link", name="Throttling", exact=True).first.click()
    word = learner.page.get_by_role("heading", name="Throttling", exact=True)
    word.wait_for()
    playwright.expect(word).to_be_in_viewport()
    assert word.bounding_box()["y"] < 900
    assert learner.accessibility_faults() == []
    learner.picture("01-word", word)

    # axe-core looks at what is ours, and does see faults there; what is JupyterLab's is not looked at
    learner.page.evaluate(PICTURE_WITHOUT_TEXT, ".jp-Toolbar")
    assert learner.accessibility_faults() == []
    learner.page.evaluate(PICTURE_WITHOUT_TEXT, ".jp-MarkdownOutput")
    assert [fault.split(":")[0] for fault in learner.accessibility_faults()] == ["image-alt"]
