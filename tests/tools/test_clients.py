"""docs/clients.md says what the tests tried, and nothing else."""

import re

import pytest

from tools.clients.__main__ import TESTS, main
from tools.clients.document import renewed
from tools.clients.table import BY_CONTRACT, DEVICES, OF_DEVICES, SERVICES, WORKS
from tools.clients.tried import Tried, TriedError, read

PLACES = "".join(
    f"<!-- {name}: made by `make clients`, do not edit -->\n<!-- end of {name} -->\n"
    for name in ("devices", "services")
)


def test_the_document_is_what_make_clients_writes(repository):
    committed = (repository / "docs" / "clients.md").read_text(encoding="utf-8")
    assert committed == renewed(committed, read(TESTS)), "docs/clients.md is out of date; run make clients"


def test_its_links_lead_somewhere(repository):
    text = (repository / "docs" / "clients.md").read_text(encoding="utf-8")
    for file, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", text):
        target = repository / "docs" / (file or "clients.md")
        headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, (file, anchor)


def test_a_row_is_filled_by_marks_then_by_what_the_table_says():
    tried = read(TESTS)
    rows = [line.split(" | ") for line in renewed(PLACES, tried).splitlines() if line.startswith("| ")]
    assert {len(row) for row in rows} == {len(OF_DEVICES) + 1, len(rows[-1])}
    cells = {row[0].removeprefix("| "): row[1:] for row in rows}
    assert cells.keys() >= {client.name for client in (*DEVICES, *SERVICES)}
    assert cells["Python SDK, MQTT"][:4] == [WORKS] * 4
    assert cells["Java SDK, MQTT"][0] == BY_CONTRACT
    # nothing works that no test marks
    assert sum(text.count(WORKS) for row in rows for text in row) == len(
        {(each.client, each.feature) for each in tried}
    )


def test_the_tests_that_tried_exist_and_each_client_that_works_has_one():
    for each in read(TESTS):
        name, _, function = each.test.partition("::")
        assert re.search(rf"^(async )?def {function}\(", (TESTS / name).read_text(encoding="utf-8"), re.MULTILINE)


def test_marks_are_read_from_decorators(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "test_a.py").write_text(
        '@pytest.mark.tried("B", "key", "twin")\n@pytest.mark.tried("A", "key")\n@other\ndef test_x(): ...\n'
        '@pytest.mark.tried("A", "twin")\nasync def test_y(): ...\ndef helper(): ...\n'
    )
    (tmp_path / "helper.py").write_text('@pytest.mark.tried("C", "key")\ndef test_x(): ...\n')
    x, y = "sub/test_a.py::test_x", "sub/test_a.py::test_y"
    assert read(tmp_path) == [Tried("A", "key", x), Tried("A", "twin", y), Tried("B", "key", x), Tried("B", "twin", x)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('NAME = pytest.mark.tried("A", "key")\n', "line 1: only a test itself"),
        ('@pytest.mark.tried("A", "key")\ndef helper(): ...\n', "line 1: only a test itself"),
        ('@pytest.mark.tried("A")\ndef test_x(): ...\n', "names a client, and then features"),
        ('@pytest.mark.tried(NAME, "key")\ndef test_x(): ...\n', "as plain texts"),
        ('@pytest.mark.tried("A", "key", why="b")\ndef test_x(): ...\n', "as plain texts"),
    ],
)
def test_a_mark_that_proves_nothing_is_refused(tmp_path, text, said):
    (tmp_path / "test_a.py").write_text(text)
    with pytest.raises(TriedError, match=said):
        read(tmp_path)


def test_what_contradicts_the_table_is_refused():
    tried = read(TESTS)
    for extra, said in (
        (Tried("Fortran SDK", "key", "test_a.py::test_x"), "test_x tried 'key' with 'Fortran SDK'"),
        (Tried("C firmware", "enrollments", "test_a.py::test_x"), "has no such cell"),
        (Tried("paho-mqtt", "TPM", "test_a.py::test_x"), "the table says 'use HTTPS': remove that"),
    ):
        with pytest.raises(TriedError, match=said):
            renewed(PLACES, [*tried, extra])
    without = [each for each in tried if (each.client, each.feature) != ("paho-mqtt", "key")]
    with pytest.raises(TriedError, match="No test tried 'key' with 'paho-mqtt'"):
        renewed(PLACES, without)
    with pytest.raises(TriedError, match="no lines <!-- devices"):
        renewed("nothing", tried)


def test_the_command(tmp_path, capsys):
    file = tmp_path / "clients.md"
    file.write_text(PLACES)
    assert main([str(file)]) == 0
    assert "| paho-mqtt | **works** |" in file.read_text(encoding="utf-8")
    assert main([str(tmp_path / "none.md")]) == 1
    assert "none.md" in capsys.readouterr().err
