"""Spelling: what is looked up, what is not, and what is said about a wrong word."""

import json
import sys

import pytest

from helpers.runner.documents import NotebookError
from tools import spelling
from tools.spelling import WordList, everything, misspelt, problems, word_list, words_of

KNOWN = WordList(frozenset({"DPS", "webhook", "colour"}), {"color": "colour"})


def look_up(word):
    return word.lower() in {"the", "device", "asks", "a", "its", "and", "hub", "device's", "of"}


@pytest.mark.parametrize(
    "text",
    [
        "The device asks DPS.",
        "Webhooks and a webhook's colour",
        "the `devise` and ``a ` b`` asks",
        "```python\nfoo = baar\n```\nthe hub",
        "- the hub:\n\n  ```\n  wrogn\n  ```",
        "[the hub](wrogn.ipynb#abc) and <img alt='wrogn'>",
        "https://wrogn.example/abc and amqps://wrogn",
        "CreateOrUpdate, geoLatency, azure-iot-devcie, docs/wrogn.md, iot-hubb-sdk",
        "the device’s hub &nbsp; and x",
    ],
)
def test_right_words_and_what_is_no_prose_pass(text):
    assert list(misspelt(text, KNOWN, look_up)) == []


def test_a_wrong_word_is_named_with_its_line():
    text = "the hub\n\n```\nwrogn\n```\nthe devcie"
    assert list(misspelt(text, KNOWN, look_up)) == [
        (6, "'devcie' is in no dictionary; if it is right, add it to words.txt")
    ]


def test_a_form_that_is_not_wanted_is_replaced():
    assert list(misspelt("Color and color", KNOWN, lambda word: True)) == [
        (1, "'Color' is spelt 'colour' here"),
        (1, "'color' is spelt 'colour' here"),
    ]


def test_words_know_apostrophes():
    assert [word for _, word in words_of("the hub’s don't 'quoted' 3rd")] == ["the", "hub's", "don't", "quoted", "rd"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("b\na\n", "must be sorted"),
        ("a\na\n", "must be sorted"),
        ("two words\n", "'two words' in words.txt is no word"),
        ("color -> \n", "is no word"),
    ],
    ids=["not sorted", "twice", "two words", "no replacement"],
)
def test_a_list_that_is_not_in_order_is_refused(tmp_path, lines, message):
    path = tmp_path / "words.txt"
    path.write_text("# words\n" + lines, encoding="utf-8")
    with pytest.raises(NotebookError, match=message):
        word_list(path)


def test_the_projects_own_list():
    known = word_list()
    assert known.knows("Webhooks")
    assert known.knows("TPM's")
    assert not known.knows("tpm")
    assert known.refused["enrolment"] == "enrollment"
    assert known.knows("neighbour")


def test_notebooks_and_documents_are_read(tmp_path):
    cells = [
        {"cell_type": "code", "source": ["wrogn"]},
        {"cell_type": "markdown", "source": ["the hub\n", "the devcie"]},
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    (tmp_path / "b.md").write_text("wrogn", encoding="utf-8")
    found = problems([tmp_path / "a.ipynb", tmp_path / "b.md"], KNOWN, look_up)
    assert [line.split(" is in")[0] for line in found] == ["a.ipynb, cell 2, line 2: 'devcie'", "b.md, line 1: 'wrogn'"]


def test_all_texts_are_looked_at():
    names = {path.name for path in everything()}
    assert {"00_start_here.ipynb", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "simulator.md"} <= names


@pytest.fixture(scope="module")
def american():
    pytest.importorskip("spylls")
    return spelling.dictionary()


def test_the_dictionary_knows_english(american):
    assert all(american(word) for word in ("enrollment", "Enrollment", "device's", "provisioning", "isn't"))
    assert not american("devcie")
    assert not american("devcie")


def test_no_word_is_misspelt(american):
    assert problems(everything(), word_list(), american) == []


def test_a_missing_dictionary_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "spylls.hunspell", None)
    with pytest.raises(NotebookError, match=r"requirements-dev\.txt"):
        spelling.dictionary()


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(spelling, "dictionary", lambda: look_up)
    good, bad = tmp_path / "good.md", tmp_path / "bad.md"
    good.write_text("the hub", encoding="utf-8")
    bad.write_text("the hubb", encoding="utf-8")
    assert spelling.main([str(good)]) == 0
    assert spelling.main([str(bad)]) == 1
    assert "bad.md, line 1: 'hubb'" in capsys.readouterr().out
    assert spelling.main([str(tmp_path / "missing.md")]) == 2
    assert "missing.md" in capsys.readouterr().err
