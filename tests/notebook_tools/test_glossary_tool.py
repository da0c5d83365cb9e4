"""The glossary: its words, the links to them, and the tool that writes the links."""

import json

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell
from notebook_samples import notebook

from helpers.notebook_tools import glossary
from helpers.notebook_tools.documents import read, write
from helpers.notebook_tools.glossary import add_links, anchor, broken, introduction, links, unlinked, words

WORDS = ["Registration ID", "Registration", "Retry-After", "TPM", "Device twin"]


def lesson(*texts):
    return notebook(*(new_markdown_cell(text) for text in texts))


def page(*extra, listed=WORDS):
    entries = "\n\n".join(f"### {word}\n\nTwo sentences. About it." for word in WORDS)
    index = new_markdown_cell("## From A to Z\n\n" + ", ".join(f"[{word}](#{anchor(word)})" for word in listed))
    document = notebook(new_markdown_cell("# Look up a word"), index, new_markdown_cell(entries), *extra)
    document.cells[1]["id"] = glossary.LIST
    return document


@pytest.fixture
def folder(tmp_path):
    write(page(), tmp_path / glossary.PAGE)
    write(
        lesson(
            "# Start\n\nA registration ID, a registration.",
            "Wait as `Retry-After` says.\n\n```\nTPM\n```",
            "its **twin**, TPMs",
        ),
        tmp_path / "11_start.ipynb",
    )
    write(lesson("# Run\n\nTPM"), tmp_path / "02_run_a_workshop.ipynb")
    return tmp_path


def paths(folder):
    return [str(path) for path in sorted(folder.glob("*.ipynb"))]


def test_headings_of_level_three_are_words(folder):
    assert words(folder) == WORDS


def test_a_folder_without_glossary_has_no_words(tmp_path):
    assert words(tmp_path) == []
    assert list(broken(tmp_path / "11_a.ipynb", lesson("text"))) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A TPM.", "A [TPM](01_glossary.ipynb#TPM)."),
        ("Many TPMs.", "Many [TPMs](01_glossary.ipynb#TPM)."),
        ("A **TPM** is", "A **[TPM](01_glossary.ipynb#TPM)** is"),
        ("TPM first, then **TPM**", "TPM first, then **[TPM](01_glossary.ipynb#TPM)**"),
        ("| TPM | a chip |", "| [TPM](01_glossary.ipynb#TPM) | a chip |"),
    ],
)
def test_the_place_where_a_word_is_introduced_becomes_a_link(text, expected):
    documents = [lesson(text)]
    assert add_links(documents, ["TPM"], WORDS) == []
    assert documents[0].cells[0].source == expected


@pytest.mark.parametrize(
    "text",
    [
        "## A TPM",
        "`TPM`",
        "```python\nTPM\n```",
        "[with a TPM](31_tpm_enroll.ipynb)",
        "![TPM](a.png)",
        '<span title="TPM">',
        "<details>\n<summary>Solution</summary>\n\nTPM\n\n</details>",
        "https://example.org/TPM",
        "TPM2_Import, swTPM, TPM-like, a/TPM",
        "## You need\n\nTPM",
        "## Next\n\nTPM",
        "tpm",
    ],
)
def test_a_word_is_linked_only_where_text_is_read(text):
    documents = [lesson(text)]
    assert add_links(documents, ["TPM"], WORDS) == ["TPM"]
    assert documents[0].cells[0].source == text


def test_a_word_inside_of_a_longer_one_is_left_alone():
    documents = [lesson("A registration ID", "Then its Registration.")]
    place = introduction("Registration", documents, WORDS)
    assert (place.cell, place.bold) == (1, False)


def test_a_header_in_code_can_be_a_link():
    documents = [lesson("Wait as `Retry-After` says, not `Retry-After: 3`.")]
    add_links(documents, ["Retry-After"])
    assert documents[0].cells[0].source.startswith("Wait as [`Retry-After`](01_glossary.ipynb#Retry-After) says")


def test_code_cells_hold_no_links():
    document = notebook(new_code_cell("# TPM"))
    assert introduction("TPM", [document]) is None
    assert list(links(document)) == []


def test_links_are_written_once(folder, capsys):
    assert glossary.main(["link", *paths(folder)]) == 0
    assert "11_start.ipynb: 3 cells changed" in capsys.readouterr().out
    assert unlinked(folder, lessons_only=True) == []
    before = [path.read_bytes() for path in sorted(folder.iterdir())]
    assert glossary.main(["link", *paths(folder)]) == 0
    assert [path.read_bytes() for path in sorted(folder.iterdir())] == before
    assert "](01" not in json.dumps(read(folder / "02_run_a_workshop.ipynb"))


def test_words_that_are_used_nowhere_are_named(folder, capsys):
    write(lesson("nothing"), folder / "11_start.ipynb")
    assert glossary.main(["link", *paths(folder)]) == 0
    assert "Used in none of these notebooks: Device twin, Registration, Reg" in capsys.readouterr().out


def test_a_notebook_that_is_not_there_is_refused(capsys):
    assert glossary.main(["link", "nowhere.ipynb"]) == 2
    assert "There is no notebook" in capsys.readouterr().err


def faults(folder, name):
    return [text for _, text in broken(folder / name, read(folder / name))]


def test_a_link_to_no_word_is_a_fault(folder):
    write(lesson("[a](01_glossary.ipynb#TPM) [b](01_glossary.ipynb#EPM) [c](#Step-1)"), folder / "12_a.ipynb")
    assert faults(folder, "12_a.ipynb") == ["the link to #EPM leads to no word of 01_glossary.ipynb"]


def test_words_without_a_link_are_a_fault_of_the_glossary(folder):
    assert "no notebook leads to: Registration ID, Registration, Retry-After, TPM, Device" in faults(
        folder, glossary.PAGE
    )[0].replace("Device twin", "Device")
    glossary.main(["link", *paths(folder)])
    assert faults(folder, glossary.PAGE) == []


def test_one_word_may_lead_to_another(folder):
    glossary.main(["link", *paths(folder)])
    write(page(new_markdown_cell("see [it](#TPM)")), folder / glossary.PAGE)
    write(lesson("nothing"), folder / "11_start.ipynb")
    assert "TPM" not in unlinked(folder)
    assert "TPM" in unlinked(folder, lessons_only=True)


def test_the_list_is_complete_and_no_word_stands_there_twice(folder):
    glossary.main(["link", *paths(folder)])
    write(page(new_markdown_cell("### TPM"), listed=WORDS[:-1]), folder / glossary.PAGE)
    found = faults(folder, glossary.PAGE)
    assert found == ["these words stand here twice: TPM", "the list from A to Z lacks: Device twin"]


def test_the_forms_belong_to_words_of_the_glossary():
    assert set(glossary.FORMS) <= set(words())
