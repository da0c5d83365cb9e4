"""A learner's first minutes, in a real browser: open JupyterLab, run a notebook, fill in a form, solve an exercise."""

import contextlib
import functools
import re

import pytest
from patience import PATIENCE

from helpers.runner.documents import NOTEBOOKS, read
from helpers.runner.glossary import anchor, cell_id
from helpers.runner.solutions import exercises

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
expect = playwright.expect
expect.set_options(timeout=1_000 * PATIENCE)


#: What has the focus, by its label or by its own text.
FOCUSED = "(document.activeElement.labels?.[0] ?? document.activeElement).innerText.trim()"
PICTURE_WITHOUT_TEXT = "where => document.querySelector(where).insertAdjacentHTML('beforeend', '<img src=data:,>')"
FIELDS = ["Device ID", "Primary key", "Secondary key", "Choice of hub", "Desired properties", "Enabled", "Enroll"]


def fill_in(learner, name):
    """Type a name into the form of the first notebook; gives the field."""
    field = learner.find(learner.page.get_by_label("Registration ID", exact=True))
    field.fill(name)
    sent = learner.page.locator("section[aria-label='What will be sent']")
    expect(sent).to_contain_text(f'"registrationId": "{name}"', timeout=1_000 * PATIENCE)
    return field


def is_enrolled_and_starts(learner, name):
    """See that the first button did its work, and press the second."""
    said = learner.page.get_by_role("status").filter(has_text=name)
    expect(said).to_contain_text(f"Enrolled: {name}. Now you can start the device.", timeout=1_000 * PATIENCE)
    learner.page.get_by_role("button", name="Start the device").click()
    expect(said).to_contain_text(f"{name} belongs to contoso-hub-", timeout=1_000 * PATIENCE)


def test_the_first_notebook_provisions_a_device_and_its_form_others(learner):
    page = learner.page
    learner.run_until("00_start_here.ipynb", "passed: the hub's registry knows the device")
    learner.picture("00-check", learner.see("Removed: first-device"))
    assert learner.failures() == 0

    # the table was live, and does not go on showing what the end of the notebook has removed
    learner.see("Devices in the registry: (no devices)")
    learner.picture("00-ended", learner.see("Read for the last time: 0 lines."))

    # what DPS does, as a picture that has a name, and words for whoever does not see it
    diagram = learner.find(page.get_by_role("img", name="How a device finds its hub"))
    assert "1. You → DPS: enroll" in diagram.locator("desc").text_content()
    learner.picture("00-overview", diagram)
    messages = learner.find(page.get_by_role("img", name="Your first device and DPS"))
    assert "register me" in messages.locator("desc").text_content()
    assert learner.failures() == 0
    assert learner.accessibility_faults() == []
    learner.picture("00-messages", messages)

    # after Run All the form is closed, and says how it opens; until then nothing in it can be pressed
    closed = learner.find(page.get_by_role("status").filter(has_text="This form is closed"))
    enroll = page.get_by_role("button", name="Enroll", exact=True)
    expect(enroll).to_be_disabled()
    learner.picture("00-form-closed", closed)
    learner.run_cell(learner.cell("form = enrollment_form("))
    expect(enroll).to_be_enabled(timeout=1_000 * PATIENCE)

    # what is wrong stands at its field, and the button waits until it is right
    name = page.get_by_label("Registration ID", exact=True)
    name.fill("browser device")
    mark = page.get_by_text("✗ Registration ID is 'browser device'")
    expect(mark).to_be_visible(timeout=1_000 * PATIENCE)
    expect(enroll).to_be_disabled()
    expect(page.get_by_role("status").filter(has_text="Enroll is switched off")).to_be_visible()
    assert learner.accessibility_faults() == []
    learner.picture("00-form-marked", mark)
    # a name of full length is there as a whole, and leaves the page nowhere
    name.fill("x" * 128)
    expect(page.locator("section[aria-label='What will be sent']")).to_contain_text("x" * 128)
    assert page.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollWidth") <= page.evaluate(
        "document.querySelector('.jp-WindowedPanel-outer').clientWidth"
    )
    learner.picture("00-form-long", name)

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


def get_there(click, arrived, again=lambda: None):
    """Click on a link until it has led to its place, a few times; gives what was seen there.

    The first click opens the page. JupyterLab waits some seconds for the cell while it draws the page, and on a machine
    that is busy with other things it gives up and stays at the top. The next click finds the page drawn, whatever the
    speed; a link that leads nowhere leads nowhere each time.
    """
    for _ in range(5):
        click()
        with contextlib.suppress(AssertionError, playwright.TimeoutError):
            return arrived()
        again()
    click()
    return arrived()


def follow(learner, notebook, word):
    """Click on the first link from a lesson to a word."""
    learner.open(notebook)
    return get_there(
        learner.find(learner.page.locator(f".jp-Notebook a[href$='#{anchor(word)}']")).click,
        lambda: at_the_top(learner, "h3", word),
        learner.tab(notebook.removesuffix(".ipynb")).click,
    )


def at_the_top(learner, level, text):
    """Wait until a heading is what one reads, and give it; it must stay there."""
    heading = learner.page.locator(f".jp-Notebook {level}:visible").filter(has_text=re.compile(rf"^{text}\W*$"))
    # one that JupyterLab has not drawn by then is not where it went
    heading.wait_for(timeout=30_000)
    # cells above it are drawn a little later, and must not push it away
    learner.page.wait_for_timeout(1500)
    expect(heading).to_be_in_viewport(timeout=5_000)
    assert heading.bounding_box()["y"] < 700
    return heading


@pytest.mark.parametrize(
    ("notebook", "word"),
    [
        pytest.param("21_x509_enroll.ipynb", "Proof of possession", marks=pytest.mark.anywhere),
        ("52_provision_a_fleet.ipynb", "Jitter"),
    ],
)
def test_a_link_leads_to_the_word(learner, notebook, word):
    learner.picture(f"01-{cell_id(word)}", follow(learner, notebook, word))


@pytest.mark.anywhere
def test_one_comes_back_from_the_glossary_to_where_one_was(learner):
    page = learner.page
    follow(learner, "31_tpm_enroll.ipynb", "Endorsement key")
    met = page.locator(f".jp-Notebook a[href$='#{anchor('Storage root key')}']:visible")
    lesson, glossary = learner.tab("31_tpm_enroll"), learner.tab("01_glossary")
    # the link under the word leads to the step in which one meets it
    get_there(
        learner.find(page.locator(".jp-Notebook a[href$='#cell-id=see-inside']:visible")).click,
        lambda: expect(met).to_be_in_viewport(timeout=5_000),
        glossary.click,
    )
    # a word again, with the glossary open in a tab; then the tab of the notebook, and all is as it was
    get_there(met.click, lambda: at_the_top(learner, "h3", "Storage root key"), lesson.click)
    lesson.click()
    expect(met).to_be_in_viewport()


def go_from_word_to_word(learner):
    """Through the glossary by its links, and one step back; gives the word that one reads then."""
    learner.open("01_glossary.ipynb")
    page = learner.page
    for word in ("Throttling", "Workspace", "TPM"):
        # from the top again
        page.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollTop = 0")
        link = page.get_by_role("link", name=word, exact=True).first
        found = get_there(link.click, functools.partial(at_the_top, learner, "h3", word))
    # between words, the browser goes back
    get_there(page.go_back, lambda: at_the_top(learner, "h3", "Workspace"))
    return found


def test_the_words_of_the_glossary_lead_to_each_other_and_serious_faults_would_be_found(learner):
    found = go_from_word_to_word(learner)
    assert learner.accessibility_faults() == []
    learner.picture("01-word", found)

    # axe-core looks at what is ours, and does see faults there; what is JupyterLab's is not looked at
    learner.page.evaluate(PICTURE_WITHOUT_TEXT, ".jp-Toolbar")
    assert learner.accessibility_faults() == []
    learner.page.evaluate(PICTURE_WITHOUT_TEXT, ".jp-MarkdownOutput")
    assert [fault.split(":")[0] for fault in learner.accessibility_faults()] == ["image-alt"]


@pytest.mark.anywhere
@pytest.mark.parametrize(
    "file",
    ["docs/handout.md", "docs/fidelity.md", "README.md"],
)
def test_links_lead_out_of_the_folder_of_the_notebooks(learner, file):
    learner.open("02_run_a_workshop.ipynb")
    learner.find(learner.page.locator(f".jp-Notebook a[href*='{file}']")).click()
    tab = learner.page.get_by_role("tab", name=file.rpartition("/")[2])
    tab.first.wait_for()
    expect(tab.first).to_have_attribute("aria-selected", "true")
    assert learner.page.locator(".jp-Dialog").count() == 0


def test_without_azure_every_command_is_shown_and_none_runs(learner):
    learner.run_until("61_run_on_azure.ipynb", "not checked, as no command ran: nothing of this page is on Azure")
    learner.see("none was run: nothing was made on Azure, nothing costs.")
    shown = {
        "prices": "As listed on",
        "make": "az iot dps create --name contoso-course-dps",
        "settings": "Ready for Azure: False",
        "ways": "Nothing to try",
        "prove": "not checked, as no command ran: nothing of this page is on Azure",
    }
    for name, text in shown.items():
        learner.picture(f"61-{name}", learner.see(text))
    assert learner.failures() == 0
    assert learner.accessibility_faults() == []
