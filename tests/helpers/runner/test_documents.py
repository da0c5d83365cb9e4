import pytest
from notebook_samples import code, good, notebook, parameters_cell, saved

from helpers.runner.documents import (
    NotebookError,
    convert,
    find,
    given_parameters,
    parameters,
    read,
    selected,
    tracks,
    write,
)


def test_notebooks_are_found_in_the_order_of_their_names(tmp_path):
    for name in ("21_b.ipynb", "11_a.ipynb", ".hidden.ipynb", "notes.txt"):
        (tmp_path / name).write_text("x")
    assert [path.name for path in find(tmp_path)] == ["11_a.ipynb", "21_b.ipynb"]


def test_an_empty_folder_is_an_error_and_not_a_success(tmp_path):
    with pytest.raises(NotebookError, match="no notebook in"):
        find(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no json", b"[1, 2]", b'{"cells": 3}', b"\xff\xfe", b'{"nbformat": 4}'])
def test_what_is_no_notebook_gets_a_clear_error(tmp_path, content):
    path = tmp_path / "broken.ipynb"
    path.write_bytes(content)
    with pytest.raises(NotebookError, match=r"broken\.ipynb is not a valid notebook"):
        read(path)


def test_a_missing_notebook_gets_a_clear_error(tmp_path):
    with pytest.raises(NotebookError, match="cannot be read: No such file"):
        read(tmp_path / "none.ipynb")


def test_writing_is_canonical(tmp_path):
    path = tmp_path / "a.ipynb"
    write(good(), path)
    first = path.read_bytes()
    write(read(path), path)
    assert path.read_bytes() == first
    assert first.endswith(b"}\n")
    assert b"\r" not in first


def test_tracks_share_their_first_digit(tmp_path):
    paths = [tmp_path / f"{name}.ipynb" for name in ("90_z", "13_c", "00_s", "11_a", "21_x", "12_b")]
    assert [(track.name, [path.stem for path in track.notebooks]) for track in tracks(paths)] == [
        ("0", ["00_s"]),
        ("1", ["11_a", "12_b", "13_c"]),
        ("2", ["21_x"]),
        ("9", ["90_z"]),
    ]


def test_parameters_come_with_their_types():
    document = notebook(parameters_cell("count: int = -3  # how many", "share: float = 0.5", "fast: bool = True"))
    assert parameters(document) == {"target": "simulator", "count": -3, "share": 0.5, "fast": True}
    assert parameters(notebook(code("x = 1"))) == {}


@pytest.mark.parametrize(
    "line",
    ["x = 1", "x: int", "x: int = f()", "x: int = -y", "x: list[int] = 1", "print()", "x: int = 'a'", "x: int ="],
)
def test_parameters_that_are_not_plain_are_refused(line):
    with pytest.raises(NotebookError):
        parameters(notebook(parameters_cell(line)))


def test_values_take_the_type_of_the_default():
    assert convert("id", "007", "") == "007"
    assert convert("count", "12", 1) == 12
    assert convert("share", "0.25", 1.0) == 0.25
    assert convert("fast", "True", False) is True
    for text, default in (("x", 1), ("1.5", 1), ("yes", False), ("", 1.0)):
        with pytest.raises(NotebookError, match="Parameter p must be of type"):
            convert("p", text, default)


def test_each_notebook_gets_the_parameters_it_knows(tmp_path):
    one, two = tmp_path / "one.ipynb", tmp_path / "two.ipynb"
    declared = {one: {"target": "simulator", "count": 1}, two: {"target": "simulator"}}
    assert given_parameters({"target": "azure", "count": "5"}, declared) == {
        one: {"target": "azure", "count": 5},
        two: {"target": "azure"},
    }
    with pytest.raises(NotebookError, match=r"No notebook has a parameter 'cuont'\. The parameters are: count, target"):
        given_parameters({"cuont": "5"}, declared)


def test_notebooks_are_selected_by_path_or_by_the_start_of_their_names(tmp_path):
    for name in ("11_a", "12_b", "21_c"):
        saved(good(), tmp_path / f"{name}.ipynb")
    assert [path.stem for path in selected([], tmp_path)] == ["11_a", "12_b", "21_c"]
    assert [path.stem for path in selected(["1"], tmp_path)] == ["11_a", "12_b"]
    assert [path.stem for path in selected([str(tmp_path / "21_c.ipynb"), "21"], tmp_path)] == ["21_c"]
    for name in ("3", str(tmp_path / "31_d.ipynb")):
        with pytest.raises(NotebookError, match="There is no notebook"):
            selected([name], tmp_path)
