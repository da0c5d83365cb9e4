"""Small notebooks for the tests of the tools."""

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
SECTIONS = """\
# Run a sample

**You will** see a sample.

**You need** one minute.
"""
CLOSING = """\
## Check yourself

Look.

## In practice

The same.

## Clean up

Nothing.

## Next

Nothing.
"""


def code(source, *outputs, count=None, tags=(), **metadata):
    cell = new_code_cell(source, outputs=list(outputs), execution_count=count)
    if tags:
        cell.metadata["tags"] = list(tags)
    cell.metadata.update(metadata)
    return cell


def printed(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def shown(**data):
    return new_output("display_data", data={kind.replace("__", "/"): value for kind, value in data.items()})


def notebook(*cells):
    document = new_notebook(cells=list(cells))
    document.metadata["kernelspec"] = dict(KERNELSPEC)
    for number, cell in enumerate(document.cells):
        cell["id"] = f"cell-{number}"
    return document


def parameters_cell(*more, count=1):
    lines = ['target: str = "simulator"  # simulator or azure', *more]
    return code("\n".join(lines), count=count, tags=["parameters"])


def good(*cells):
    """A notebook that passes every rule, with the given cells in the middle."""
    middle = list(cells)
    for number, cell in enumerate((cell for cell in middle if cell.cell_type == "code"), start=3):
        cell.execution_count = number
    return notebook(
        new_markdown_cell(SECTIONS.rstrip()),
        parameters_cell(),
        code("check_parameters(globals())", count=2),
        *middle,
        new_markdown_cell(CLOSING.rstrip()),
    )


def saved(document, path: Path) -> Path:
    nbformat.write(document, path)
    return path
