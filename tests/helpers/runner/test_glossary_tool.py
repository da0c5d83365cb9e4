"""The glossary: its words, the links to them, and the tool that writes the links."""

import json
import re

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell
from notebook_samples import notebook

from helpers.runner import glossary
from helpers.runner.documents import read, write
from helpers.runner.glossary import add_links, anchor, broken, cell_id, introduction, links, unlinked, words

WORDS = ["Registration ID", "Registration", "Retry-After", "TPM", "Device twin"]


def lesson(*texts):
    return notebook(*(new_markdown_cell(text) for text in texts))


def page(*extra, listed=WORDS):
    index = new_markdown_cell("## From A to Z\n\n" + ", ".join(f"[{word}](#{anchor(word)})" for word in listed))
    entries = [new_markdown_cell(f"### {word}\n\nTwo sentences. About it.") for word in WORDS]
    part = new_markdown_cell("## Words")
    document = notebook(new_markdown_cell("# Look up a word"), index, part, *entries, *extra)
    document.cells[1]["id"] = glossary.LIST
    for cell, word in zip(document.cells[3:], WORDS, strict=False):
        cell["id"] = cell_id(word)
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
        ("A TPM.", "A [TPM](01_glossary.ipynb#cell-id=tpm)."),
        ("Many TPMs.", "Many [TPMs](01_glossary.ipynb#cell-id=tpm)."),
        ("A **TPM** is", "A **[TPM](01_glossary.ipynb#cell-id=tpm)** is"),
        ("TPM first, then **TPM**", "TPM first, then **[TPM](01_glossary.ipynb#cell-id=tpm)**"),
        ("| TPM | a chip |", "| [TPM](01_glossary.ipynb#cell-id=tpm) | a chip |"),
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
    assert (
        documents[0].cells[0].source.startswith("Wait as [`Retry-After`](01_glossary.ipynb#cell-id=retry-after) says")
    )


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
    write(lesson("[a](01_glossary.ipynb#cell-id=tpm) [b](01_glossary.ipynb#TPM)"), folder / "12_a.ipynb")
    assert faults(folder, "12_a.ipynb") == ["the link to #TPM leads to no word of 01_glossary.ipynb"]


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("[c](#cell-id=cell-1)", None),
        ("[c](11_start.ipynb#cell-id=cell-2)", None),
        ("[c](#cell-id=cell-2)", "the link to #cell-id=cell-2 leads to no cell of 12_a.ipynb"),
        ("[c](11_start.ipynb#cell-id=cell-9)", "the link to #cell-id=cell-9 leads to no cell of 11_start.ipynb"),
        ("[c](15_none.ipynb#cell-id=cell-0)", "there is no 15_none.ipynb for the link to #cell-id=cell-0"),
        ("[c](#Step-1)", "the link to #Step-1 gets lost in JupyterLab, which finds cells: write #cell-id=…"),
        ("[c](https://example.org/a.ipynb#Step-1)", None),
        ("`[c](#Step-1)`", None),
    ],
)
def test_links_lead_to_cells(folder, link, fault):
    write(lesson("# A", link), folder / "12_a.ipynb")
    assert faults(folder, "12_a.ipynb") == ([fault] if fault else [])


def test_words_without_a_link_are_a_fault_of_the_glossary(folder):
    assert "no notebook leads to: Registration ID, Registration, Retry-After, TPM, Device" in faults(
        folder, glossary.PAGE
    )[0].replace("Device twin", "Device")
    glossary.main(["link", *paths(folder)])
    assert faults(folder, glossary.PAGE) == []


def test_one_word_may_lead_to_another(folder):
    glossary.main(["link", *paths(folder)])
    write(page(new_markdown_cell("see [it](#cell-id=tpm)")), folder / glossary.PAGE)
    write(lesson("nothing"), folder / "11_start.ipynb")
    assert "TPM" not in unlinked(folder)
    assert "TPM" in unlinked(folder, lessons_only=True)


def test_the_list_is_complete_and_no_word_stands_there_twice(folder):
    glossary.main(["link", *paths(folder)])
    document = read(folder / glossary.PAGE)
    document.cells.append(new_markdown_cell("### TPM"))
    document.cells[1].source = document.cells[1].source.replace("[Device twin](#cell-id=device-twin)", "Device twin")
    write(document, folder / glossary.PAGE)
    found = faults(folder, glossary.PAGE)
    assert found[0] == "these words stand here twice: TPM"
    assert found[1].startswith("the list from A to Z lacks: Device twin; run ")


def test_the_page_says_in_which_step_one_meets_a_word(folder):
    write(
        lesson("# Start\n\nA TPM.", "## Step 2: Wait\n\nA registration.", "Twins.", "## In practice\n\nRetry-After"),
        folder / "11_start.ipynb",
    )
    write(lesson("# Go on\n\nA registration ID, a [TPM](01_glossary.ipynb#cell-id=tpm)"), folder / "12_go_on.ipynb")
    glossary.main(["link", *paths(folder)])
    found = {cell.id: cell.source.splitlines()[-1] for cell in read(folder / glossary.PAGE).cells}
    assert found["registration"] == "You meet it in [Start, step 2](11_start.ipynb#cell-id=cell-1)."
    assert found["device-twin"] == "You meet it in [Start, step 2](11_start.ipynb#cell-id=cell-2)."
    assert found["retry-after"] == "You meet it in [Start, In practice](11_start.ipynb#cell-id=cell-3)."
    assert found["registration-id"] == "You meet it in [Go on](12_go_on.ipynb#cell-id=cell-0)."
    assert found["tpm"] == "You meet it in [Go on](12_go_on.ipynb#cell-id=cell-0)."

    # a word that one meets elsewhere from now on
    write(lesson("# Start\n\nA [TPM](01_glossary.ipynb#cell-id=tpm)."), folder / "11_start.ipynb")
    assert any("in which step one meets TPM" in fault for fault in faults(folder, glossary.PAGE))
    glossary.main(["link", *paths(folder)])
    found = {cell.id: cell.source for cell in read(folder / glossary.PAGE).cells}
    assert found["tpm"].endswith("About it.\n\nYou meet it in [Start](11_start.ipynb#cell-id=cell-0).")
    assert found["registration"].endswith("About it.")


def test_each_word_gets_a_cell_of_its_own_and_its_place_in_the_list(folder):
    text = "## More words\n\nRead on.\n\n### Nonce\n\nA number.\n\n### back-off\n\nTo wait."
    document = page(new_markdown_cell(text))
    document.cells[0]["id"] = "nonce"
    write(document, folder / glossary.PAGE)
    write(lesson("# Start\n\n" + ", ".join(WORDS) + ", nonce, back-off"), folder / "11_start.ipynb")
    assert any("Nonce has no cell of its own with the ID 'nonce'" in fault for fault in faults(folder, glossary.PAGE))
    glossary.main(["link", *paths(folder)])
    assert faults(folder, glossary.PAGE) == []
    tidied = read(folder / glossary.PAGE).cells
    assert [cell.id for cell in tidied[-3:]] == ["cell-8", "nonce", "back-off"]
    assert tidied[-3].source == "## More words\n\nRead on."
    assert tidied[0].id == "part-nonce"
    listed = re.findall(r"\[(.*?)\]", tidied[1].source)
    assert listed == [
        "back-off",
        "Device twin",
        "Nonce",
        "Registration",
        "Registration ID",
        "Retry-After",
        "TPM",
    ]
    before = (folder / glossary.PAGE).read_bytes()
    glossary.main(["link", *paths(folder)])
    assert (folder / glossary.PAGE).read_bytes() == before


def test_the_forms_belong_to_words_of_the_glossary():
    assert set(glossary.FORMS) <= set(words())
