"""The site: made in an environment of its own, complete, and pleasant to look at without a network."""

import functools
import html.parser
import http.server
import json
import os
import re
import shutil
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from fresh_environments import Fresh
from patience import PATIENCE

from helpers.course.addresses import Repository
from tools import site

# the pages are made once, by one worker
pytestmark = [pytest.mark.anywhere, pytest.mark.timeout(2_400)]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
SCREENSHOTS = os.environ.get("DPS_SCREENSHOTS")
#: What is looked at: the first page, a lesson with pictures, the glossary at a word, a page with wide tables.
SEEN = (
    "index.html",
    "notebooks/12_symmetric_key_start.html",
    "notebooks/01_glossary.html#glossary-thumbprint",
    "docs/architecture.html",
    "docs/errors.html",
)
WIDGET = "application/vnd.jupyter.widget-view+json"
A_WIDGET = {
    "cells": [
        {"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# A widget"},
        {
            "cell_type": "code",
            "id": "shown",
            "metadata": {},
            "execution_count": 1,
            "source": "form",
            "outputs": [
                {
                    "output_type": "execute_result",
                    "execution_count": 1,
                    "metadata": {},
                    "data": {
                        WIDGET: {"model_id": "7", "version_major": 2, "version_minor": 0},
                        "text/plain": "The form in words",
                    },
                }
            ],
        },
    ],
    "metadata": {
        "orphan": True,
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "widgets": {"application/vnd.jupyter.widget-state+json": {"state": {}, "version_major": 2, "version_minor": 0}},
    },
    "nbformat": 4,
    "nbformat_minor": 5,
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The folder of the pages, as for a repository on GitHub; a warning of Sphinx is an error."""
    folder = tmp_path_factory.mktemp("site")
    site.prepare(folder / "sources", Repository("github.com", "contoso/course"), "main")
    (folder / "sources" / "notebooks" / "widget.ipynb").write_text(json.dumps(A_WIDGET), encoding="utf-8")
    fresh = Fresh(folder / "environment")
    fresh.install("-r", site.REPOSITORY / "requirements-docs.txt")
    options = ["-q", "-E", "-W", "--keep-going", "-n"]
    done = fresh.run("-m", "sphinx", *options, folder / "sources", folder / "pages")
    assert done.returncode == 0, done.stderr[-4_000:]
    return folder / "pages"


class Page(html.parser.HTMLParser):
    """What a page names, links to and loads."""

    def __init__(self, path):
        super().__init__()
        self.names, self.links, self.loaded, self.words = set(), [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = {name: value or "" for name, value in attributes}
        self.names |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "link" and found.get("rel") not in ("canonical",):
            self.loaded.append(found["href"])
        elif "src" in found:
            self.loaded.append(found["src"])

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def read(pages):
    """Every page, by its path."""
    return {path: Page(path) for path in pages.rglob("*.html")}


def test_every_link_leads_somewhere(pages, read):
    lost, inside = [], 0
    for path, page in read.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                assert parts.scheme in ("https", "mailto"), (path, link)
                continue
            inside += 1
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = read[target].names if target in read else None
            if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in (known or ())):
                lost.append(f"{path.relative_to(pages)}: {link}")
    assert not lost
    assert inside > 2_500


def test_nothing_comes_from_another_server(pages, read):
    for path, page in read.items():
        for loaded in page.loaded:
            parts = urlsplit(loaded)
            assert not parts.netloc, (path, loaded)
            # a link to nothing stands for the page itself
            if parts.path and parts.scheme != "data":
                assert (path.parent / unquote(parts.path)).resolve().is_file(), (path, loaded)
    for path in pages.rglob("*.css"):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", text), path


def test_links_between_notebooks_lead_to_the_cell(read, pages):
    lesson = read[pages / "notebooks" / "12_symmetric_key_start.html"]
    assert "01_glossary.html#glossary-registration" in lesson.links
    assert "../docs/simulator.html" in lesson.links
    assert "symmetric-key-start-when-to-register" in lesson.names
    assert "../README.html" in read[pages / "docs" / "handout.html"].links


def test_every_notebook_can_be_opened_on_binder(read, pages, repository):
    for notebook in sorted((repository / "notebooks").glob("*.ipynb")):
        links = read[pages / "notebooks" / f"{notebook.stem}.html"].links
        begin = "https://mybinder.org/v2/gh/contoso/course/main?urlpath=lab/tree/notebooks/"
        assert [link for link in links if link.startswith(begin)] == [f"{begin}{notebook.name}"]


def test_a_widget_is_shown_as_text(pages, read):
    page = read[pages / "notebooks" / "widget.html"]
    assert "The form in words" in "".join(page.words)
    assert WIDGET not in (pages / "notebooks" / "widget.html").read_text(encoding="utf-8")
    assert not [name for name in page.loaded if "require" in name or "html-manager" in name]


def words_of_the_glossary(repository):
    cells = json.loads((repository / "notebooks" / "01_glossary.ipynb").read_text(encoding="utf-8"))["cells"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells)
    return re.findall(r"^### (.+)$", text, re.MULTILINE)


def test_the_search_knows_every_word_of_the_glossary(pages, repository):
    text = (pages / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    glossary = index["docnames"].index("notebooks/01_glossary")
    words = words_of_the_glossary(repository)
    assert len(words) > 50
    for word in words:
        assert glossary in [page for page, _ in index["alltitles"][word.replace("`", "")]], word


@pytest.fixture(scope="module")
def address(pages):
    """The pages on a server of this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            """Say nothing."""

    handler = functools.partial(Quiet, directory=pages)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


class Reader:
    """Somebody who looks at the pages, and notes what goes wrong.

    Arguments:
        chromium: the browser.
        address: of the pages.
        theme: light or dark, as the system is set.
        width: of the window, in pixels.
    """

    def __init__(self, chromium, address, theme="light", width=1400):
        window = {"width": width, "height": 1000}
        self.page = chromium.new_page(viewport=window, color_scheme=theme, reduced_motion="reduce")
        self.page.set_default_timeout(1_000 * PATIENCE)
        self.wrong, self.address = [], address
        self.page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", self._check)
        self.page.on("response", lambda answer: self.wrong.append(answer.url) if answer.status >= 400 else None)

    def _check(self, request):
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.wrong.append(request.url)

    def open(self, path):
        self.page.goto(self.address + path, wait_until="load")


#: How light the page behind the text is, from 0 to 255.
LIGHT = """() => {
    const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)
    return 0.3 * r + 0.6 * g + 0.1 * b
}"""
#: What is wider than the window and does not scroll by itself.
TOO_WIDE = "() => document.documentElement.scrollWidth - window.innerWidth"


@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_look_well(chromium, address, theme, width):
    reader = Reader(chromium, address, theme, width)
    for path in SEEN:
        reader.open(path)
        assert (reader.page.evaluate(LIGHT) > 200) == (theme == "light"), path
        assert reader.page.evaluate(TOO_WIDE) <= 0, path
        assert reader.page.locator("article h1").is_visible()
        if SCREENSHOTS:
            Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
            name = re.sub(r"\W+", "-", path.replace(".html", ""))
            reader.page.screenshot(path=Path(SCREENSHOTS) / f"site-{name}-{theme}-{width}.png")
    reader.page.close()
    assert not reader.wrong


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_are_accessible(chromium, address, theme):
    """What axe-core finds serious, in our own parts and in those of the theme."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    reader = Reader(chromium, address, theme)
    for path in (*SEEN, "docs/classes.html"):
        reader.open(path)
        found = [
            f"{finding['id']}: {node['html'][:200]}"
            for finding in axe.Axe().run(reader.page).response["violations"]
            if finding["impact"] in ("serious", "critical")
            for node in finding["nodes"]
        ]
        assert not found, path
    reader.page.close()


def test_a_word_is_found_and_opened(chromium, address):
    reader = Reader(chromium, address)
    reader.open("search.html?q=thumbprint")
    found = reader.page.locator("#search-results a[href*='01_glossary.html']").first
    found.click()
    reader.page.wait_for_url("**/01_glossary.html*")
    assert reader.page.locator("#glossary-thumbprint, section:has(#glossary-thumbprint)").first.count()
    reader.page.close()
    assert not reader.wrong


def test_code_can_be_copied_and_the_theme_changed(chromium, address):
    reader = Reader(chromium, address)
    reader.open("notebooks/00_start_here.html")
    assert reader.page.locator("button.copybtn").count() > 5
    lights = set()
    # as the system is, then both themes, whatever the system says
    for _ in range(3):
        lights.add(reader.page.evaluate(LIGHT))
        reader.page.locator(".theme-toggle").locator("visible=true").first.click()
    assert min(lights) < 60
    assert max(lights) > 200
    reader.page.close()
    assert not reader.wrong
