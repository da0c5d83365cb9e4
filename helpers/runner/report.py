"""The report of a run: one page that needs no network, beside the executed notebooks as pages and as files."""

from __future__ import annotations

import functools
import html
import platform
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .documents import without_widget_views, write
from .execution import Outcome, mask_outputs

if TYPE_CHECKING:
    from nbformat import NotebookNode

# The page of a notebook as JupyterLab draws it, without the scripts that the usual template loads from the Internet.
_OFFLINE = """{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""
_STYLE = """
:root { color-scheme: light dark; }
body { font-family: system-ui, sans-serif; line-height: 1.5; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #8888; padding: .4rem .8rem .4rem 0; text-align: left; vertical-align: top; }
td.number, th.number { font-variant-numeric: tabular-nums; text-align: right; }
.failed { font-weight: bold; }
pre { background: #8882; overflow-x: auto; padding: .8rem; }
"""
PACKAGES = ("azure-iot-device", "azure-iot-hub", "azure-iot-deviceprovisioning", "nbclient", "papermill")


def summary(outcomes: Sequence[Outcome]) -> str:
    """One sentence: how many notebooks passed, how many did not."""
    counts = Counter(outcome.status for outcome in outcomes)
    order = ("passed", "failed", "interrupted", "not run")
    parts = ", ".join(f"{counts[status]} {status}" for status in order if status in counts)
    return f"{len(outcomes)} notebook{'s' if len(outcomes) != 1 else ''}: {parts}."


def place(outcome: Outcome) -> str:
    """Where and why a notebook failed, in one line; empty when it passed."""
    return f"In [{outcome.cell}]: {outcome.error}" if outcome.cell else outcome.error


def versions() -> dict[str, str]:
    """Versions by name, of Python and of the packages that matter for a run; ``not installed`` for one that is not."""
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def notebook_page(document: NotebookNode, title: str) -> str:
    """An executed notebook as one page of HTML, without references to other files or hosts.

    Arguments:
        document: the notebook, its secrets masked.
        title: of the page.
    """
    body, _ = _exporter().from_notebook_node(document, resources={"metadata": {"name": title}})
    return str(body)


@functools.cache
def _exporter() -> Any:
    """What makes pages; one for all, as it keeps its template."""
    # they take a second to import, which passes unnoticed while kernels start
    from jinja2 import DictLoader  # noqa: PLC0415
    from nbconvert import HTMLExporter  # noqa: PLC0415

    exporter = HTMLExporter(extra_loaders=[DictLoader({"offline.html.j2": _OFFLINE})], template_file="offline.html.j2")
    exporter.embed_images = True
    return exporter


def page(outcomes: Sequence[Outcome], facts: Mapping[str, str], now: datetime) -> str:
    """The page that shows all notebooks of a run.

    Arguments:
        outcomes: the notebooks, in the order of the table.
        facts: what else to tell, e.g. target and pace.
        now: when the run ended.
    """
    rows = "\n".join(_row(outcome) for outcome in outcomes)
    listed = {**facts, **versions(), "finished": now.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")}
    terms = "\n".join(
        f"<tr><th scope='row'>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>"
        for name, text in listed.items()
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Notebook report</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>Notebook report</h1>
<p>{html.escape(summary(outcomes))}</p>
<table>
<thead><tr><th scope="col">Notebook</th><th scope="col">Outcome</th><th scope="col" class="number">Seconds</th>
<th scope="col">What failed</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
<h2>The run</h2>
<table><tbody>
{terms}
</tbody></table>
</main>
</body>
</html>
"""


def _row(outcome: Outcome) -> str:
    name = html.escape(outcome.name)
    link = f'<a href="notebooks/{name}.html">{name}</a>' if outcome.document is not None else name
    return (
        f"<tr><td>{link}</td><td class='{outcome.status.replace(' ', '-')}'>{html.escape(outcome.status)}</td>"
        f"<td class='number'>{outcome.seconds:.1f}</td><td>{html.escape(place(outcome))}</td></tr>"
    )


def keep(outcome: Outcome, output: Path) -> None:
    """Write an executed notebook and its page into a folder, without secrets.

    Arguments:
        outcome: the notebook; without a document, only what an earlier run left of it goes.
        output: the folder of the report.
    """
    folder = output / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    for old in (folder / f"{outcome.name}.ipynb", folder / f"{outcome.name}.html"):
        old.unlink(missing_ok=True)
    if outcome.document is None:
        return
    mask_outputs(outcome.document)
    without_widget_views(outcome.document)
    write(outcome.document, folder / f"{outcome.name}.ipynb")
    (folder / f"{outcome.name}.html").write_text(notebook_page(outcome.document, outcome.name), encoding="utf-8")


def save(
    outcomes: Sequence[Outcome],
    output: Path,
    facts: Mapping[str, str],
    now: datetime,
    kept: Collection[Path] = (),
) -> Path:
    """Write the report, and the notebooks beside it that were not kept before.

    Arguments:
        outcomes: the notebooks, in the order of the table.
        output: the folder of the report.
        facts: what else to tell, e.g. target and pace.
        now: when the run ended.
        kept: notebooks that :func:`keep` wrote already.

    Returns:
        The report's path.
    """
    output.mkdir(parents=True, exist_ok=True)
    for outcome in outcomes:
        if outcome.notebook not in kept:
            keep(outcome, output)
    report = output / "report.html"
    report.write_text(page(outcomes, facts, now), encoding="utf-8")
    return report
