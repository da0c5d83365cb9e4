"""docs/architecture.md says what the code does: who imports whom, and where things are."""

import re

import pytest

from tools import architecture
from tools.architecture import ArchitectureError, Arrow


@pytest.fixture
def document(repository):
    return (repository / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_no_room_imports_what_it_may_not(document):
    assert architecture.forbidden(architecture.arrows(), architecture.allowed(document)) == []


def test_the_table_knows_every_room_and_no_other(document):
    rooms = {architecture.room_of(name) for name in architecture.modules()}
    assert set(architecture.allowed(document)) == rooms


def test_the_picture_is_what_make_architecture_draws(document):
    assert document == architecture.renewed(document, architecture.arrows()), "run make architecture"


def test_every_file_and_folder_that_it_names_exists(repository, document):
    package = repository / "simulator" / "dps_simulator"
    named = re.findall(r"`([\w/]+(?:/|\.py))`", document)
    assert len(named) > 40
    for name in named:
        assert (repository / name).exists() or (package / name).exists(), name


def test_an_arrow_too_many_is_found(tmp_path, document):
    package = tmp_path / "dps_simulator"
    for name, text in {
        "hub/hub.py": "from dps_simulator.common import ports\nfrom ..provisioning import service\n",
        "hub/__init__.py": "",
        "provisioning/service.py": "def later():\n    import dps_simulator.hub.hub\n",
        "provisioning/__init__.py": "",
        "common/ports.py": "",
        "common/__init__.py": "",
        "attic/old.py": "from dps_simulator.common.ports import Storage\n",
        "services.py": "from .hub import hub\n",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    found = architecture.arrows(package)
    assert Arrow("dps_simulator.services", "dps_simulator.hub.hub") in found
    assert architecture.forbidden(found, architecture.allowed(document)) == [
        # a room that the table does not know may import nothing
        Arrow("dps_simulator.attic.old", "dps_simulator.common.ports"),
        Arrow("dps_simulator.hub.hub", "dps_simulator.provisioning.service"),
        Arrow("dps_simulator.provisioning.service", "dps_simulator.hub.hub"),
    ]


def test_an_arrow_that_follows_from_others_is_not_drawn():
    pairs = [("hub.hub", "common.ports"), ("common.ports", "errors.table"), ("hub.hub", "errors.table")]
    drawn = architecture.picture([Arrow(f"dps_simulator.{a}", f"dps_simulator.{b}") for a, b in pairs])
    assert re.findall(r"(\w+) --> (\w+)", drawn) == [("common", "errors"), ("hub", "common")]


def test_the_command_renews_the_picture_and_tells_of_wrong_imports(tmp_path, capsys, document, monkeypatch):
    file = tmp_path / "architecture.md"
    file.write_text(re.sub(r"    \w+ --> \w+\n", "", document), encoding="utf-8")
    assert architecture.main([str(file)]) == 0
    assert file.read_text(encoding="utf-8") == document
    file.write_text(document.replace("| `common` | `errors` |\n", ""), encoding="utf-8")
    assert architecture.main([str(file)]) == 1
    assert "dps_simulator.common.paging imports dps_simulator.errors.table" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "<!-- picture -->\n<!-- end of the picture -->\n"])
def test_a_document_without_table_or_picture_is_refused_in_words(tmp_path, capsys, text):
    file = tmp_path / "architecture.md"
    file.write_text(text)
    assert architecture.main([str(file)]) == 1
    assert "docs/architecture.md has no" in capsys.readouterr().err
    assert architecture.main([str(tmp_path / "missing.md")]) == 1
    with pytest.raises(ArchitectureError):
        architecture.allowed("")
