"""A learner's first minutes, in a real browser: open JupyterLab, run a notebook, fill in a form, solve an exercise."""

import pytest

from helpers.notebook_tools.documents import NOTEBOOKS, read
from helpers.notebook_tools.solutions import exercises

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
expect = playwright.expect


#: What has the focus, by its label or by its own text.
FOCUSED = "(document.activeElement.labels?.[0] ?? document.activeElement).innerText.trim()"
PICTURE_WITHOUT_TEXT = "where => document.querySelector(where).insertAdjacentHTML('beforeend', '<img src=data:,>')"
FIELDS = ["Device ID", "Primary key", "Secondary key", "Choice of hub", "Desired properties", "Enabled", "Enroll"]


def fill_in(learner, name):
    """Type a name into the form of the first notebook; gives the field."""
    field = learner.find(learner.page.get_by_label("Registration ID", exact=True))
    field.fill(name)
    sent = learner.page.locator("section[aria-label='What will be sent']")
    expect(sent).to_contain_text(f'"registrationId": "{name}"', timeout=15_000)
    return field


def is_enrolled_and_starts(learner, name):
    """See that the first button did its work, and press the second."""
    said = learner.page.get_by_role("status").filter(has_text=name)
    expect(said).to_contain_text(f"Enrolled: {name}. Now you can start the device.", timeout=15_000)
    learner.page.get_by_role("button", name="Start the device").click()
    expect(said).to_contain_text(f"{name} belongs to contoso-hub-", timeout=30_000)


def test_the_first_notebook_provisions_a_device_and_its_form_others(learner):
    page = learner.page
    learner.run_until("00_start_here.ipynb", "passed: the hub's registry knows the device")
    learner.picture("00-check", learner.see("Removed: first-device"))
    assert learner.failures() == 0

    # what DPS does, as a picture that has a name, and words for whoever does not see it
    diagram = learner.find(page.get_by_role("img", name="How a device finds its hub"))
    assert "1. You → DPS: enroll" in diagram.locator("desc").text_content()
    learner.picture("00-overview", diagram)
    messages = learner.find(page.get_by_role("img", name="Your first device and DPS"))
    assert "register me" in messages.locator("desc").text_content()
    assert learner.failures() == 0
    assert learner.accessibility_faults() == []
    learner.picture("00-messages", messages)

    # a device of one's own: it is in the table when the table reads again
    field = fill_in(learner, "browser-device")
    # with the keyboard alone, in the order in which one reads
    field.focus()
    order = [page.keyboard.press("Tab") or page.evaluate(FOCUSED) for _ in FIELDS]
    assert order == FIELDS
    page.keyboard.press("Enter")
    is_enrolled_and_starts(learner, "browser-device")
    learner.picture("00-form", field)
    assert learner.accessibility_faults() == []
    learner.theme(learner.THEMES["dark"])
    assert learner.accessibility_faults() == []
    learner.theme(learner.THEMES["light"])
    table = page.get_by_role("table", name="Devices in the registry")
    learner.find(page.get_by_role("button", name="Read again")).click()
    learner.find(table.get_by_role("cell", name="browser-device", exact=True))

    # and another one: now the table looks by itself
    learner.find(page.get_by_label("Refresh by itself")).check()
    fill_in(learner, "second-device")
    page.get_by_role("button", name="Enroll", exact=True).click()
    is_enrolled_and_starts(learner, "second-device")
    row = learner.find(table.get_by_role("row").filter(has_text="second-device"))
    expect(row).to_contain_text("enabled")
    learner.picture("00-devices", row)
    assert learner.accessibility_faults() == []
    learner.find(page.get_by_label("Refresh by itself")).uncheck()
    assert learner.failures() == 0


def test_an_exercise_says_what_was_mistaken_and_then_that_it_is_solved(learner):
    document = read(NOTEBOOKS / "11_symmetric_key_enroll.ipynb")
    exercise = next(iter(exercises(document)))
    cell = learner.cell(exercise.check.partition("(")[0])
    learner.run_until("11_symmetric_key_enroll.ipynb", "passed: the member's key is derived from the group's key")
    shown = cell.locator(".jp-OutputArea")

    learner.find(shown.get_by_text("not yet:"))
    learner.answer(cell, f"your_key = group_key\n\n{exercise.check}")
    learner.picture("11-mistake", learner.find(shown.get_by_text("That is the key of the group itself")))
    assert learner.accessibility_faults() == []

    learner.answer(cell, exercise.solved)
    learner.picture("11-solved", learner.find(shown.get_by_text("✓ solved:")))
    assert learner.failures() == 0


def test_links_lead_to_words_and_serious_faults_would_be_found(learner):
    learner.open("00_start_here.ipynb")
    learner.find(learner.page.locator(".jp-Notebook a[href*='#ID-scope']")).click()
    word = learner.page.get_by_role("heading", name="ID scope", exact=True)
    word.wait_for()
    expect(word).to_be_in_viewport()

    learner.open("01_glossary.ipynb")
    learner.page.get_by_role("link", name="Throttling", exact=True).first.click()
    word = learner.page.get_by_role("heading", name="Throttling", exact=True)
    word.wait_for()
    expect(word).to_be_in_viewport()
    assert word.bounding_box()["y"] < 900
    assert learner.accessibility_faults() == []
    learner.picture("01-word", word)

    # axe-core looks at what is ours, and does see faults there; what is JupyterLab's is not looked at
    learner.page.evaluate(PICTURE_WITHOUT_TEXT, ".jp-Toolbar")
    assert learner.accessibility_faults() == []
    learner.page.evaluate(PICTURE_WITHOUT_TEXT, ".jp-MarkdownOutput")
    assert [fault.split(":")[0] for fault in learner.accessibility_faults()] == ["image-alt"]
