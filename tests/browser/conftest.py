"""JupyterLab in a browser: the server, the browser, and what a person does with both."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import ClassVar

import pytest
import requests
from own_ports import own_port
from patience import PATIENCE

from dps_simulator.process import launcher

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: A folder for pictures of what the journeys see; without it, none are taken.
SCREENSHOTS = os.environ.get("DPS_SCREENSHOTS")
WIDTHS = (1280, 800)
#: Where our own content stands; the rest is JupyterLab's.
OURS = (".jp-MarkdownOutput", ".jp-OutputArea-output")

#: Scroll the notebook that shows; others may be open in tabs behind it.
SCROLL = """top => {
    const panels = [...document.querySelectorAll('.jp-WindowedPanel-outer')];
    panels.find(panel => panel.offsetParent !== null).scrollTop = top
}"""
#: What the cells in view have printed, by their numbers.
OUTPUTS = """Object.fromEntries([...document.querySelectorAll('.jp-CodeCell')].map(cell =>
    [cell.querySelector('.jp-InputPrompt').innerText, cell.querySelector('.jp-OutputArea')?.innerText]))"""


class Lab(str):
    """The address of a JupyterLab, which knows its folder."""

    folder: Path

    def __new__(cls, address, folder):
        made = super().__new__(cls, address)
        made.folder = folder
        return made


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "browser":
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(900))
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason="Chromium is not installed"))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab on a copy of the notebooks, and of what they link to, so that its autosave changes nothing here."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".*"))
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / "README.md", folder)
    # kernels over Unix domain sockets, whose paths must be short: of the TCP ports that Jupyter would choose for them,
    # another test may take one before the kernel does
    runtime = Path(tempfile.mkdtemp(prefix="lab-"))
    port = own_port()
    environment = {
        **os.environ,
        "DPS_WORKSPACE": str(folder / "workspace"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(runtime),
    }
    settings = folder / "config" / "labconfig" / "default_setting_overrides.json"
    settings.parent.mkdir(parents=True)
    # no question about news in a corner, above what is to be clicked
    settings.write_text(json.dumps({"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}))
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--IdentityProvider.token=test", f"--ServerApp.root_dir={folder}", "--LabApp.news_url="]
    # the application is reachable from scripts of the page: that is how the theme is changed
    command += ["--KernelManager.transport=ipc", "--LabApp.expose_app_in_browser=True"]
    log = (folder / "lab.log").open("wb")
    server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token=test", timeout=PATIENCE).close()
                break
            except OSError:
                assert time.monotonic() < deadline, (folder / "lab.log").read_text()
                assert server.poll() is None, (folder / "lab.log").read_text()
                time.sleep(0.2)
        yield Lab(f"http://127.0.0.1:{port}", folder)
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE)
        log.close()
        launcher.stop(folder / "workspace" / "simulator")
        shutil.rmtree(runtime, ignore_errors=True)


# not longer than a module: while it is open, nothing else in this process can have an event loop
@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


@pytest.fixture
def learner(lab, browser):
    """A person in front of JupyterLab."""
    page = browser.new_page(viewport={"width": WIDTHS[0], "height": 1400})
    page.set_default_timeout(1_000 * PATIENCE)
    try:
        yield Learner(page, lab)
    finally:
        page.close()


class NeverShowedError(AssertionError):
    """A text did not come up."""


class Learner:
    """What a person does in JupyterLab, and what they see.

    Arguments:
        page: of Playwright.
        address: of JupyterLab.
    """

    THEMES: ClassVar = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}

    def __init__(self, page, address):
        self.page = page
        self._address = address

    def open(self, notebook):
        """Open a notebook in a JupyterLab that shows nothing else."""
        self.page.goto(f"{self._address}/lab/tree/notebooks/{notebook}?token=test&reset")
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=1_000 * PATIENCE)
        # before that, JupyterLab shows the notebook and does not yet do what one asks for
        idle = self.page.locator("#jp-main-statusbar").get_by_text("Python 3 (ipykernel) | Idle")
        idle.wait_for(timeout=1_000 * PATIENCE)

    def run_all(self, notebook):
        """Open a notebook and run all its cells, as a person would."""
        self._end_kernels()
        self.open(notebook)
        # outputs in the file would look like outputs of this run
        self.menu("Edit", "Clear Outputs of All Cells")
        self.menu("Run", "Run All Cells")

    def run_until(self, notebook, text):
        """Run a notebook until a text shows."""
        self.run_all(notebook)
        return self.see(text)

    def menu(self, name, entry):
        """Choose from the menu."""
        self.page.get_by_role("menuitem", name=name, exact=True).click()
        self.page.get_by_text(entry, exact=True).click()

    def see(self, text, seconds=2 * PATIENCE):
        """Scroll through the notebook, which draws only what is in view, until the text shows."""
        return self.find(self.page.locator(".jp-Notebook").get_by_text(text), seconds)

    def find(self, wanted, seconds=2 * PATIENCE):
        """Scroll through the notebook until something is visible; gives the first of its kind."""
        deadline = time.monotonic() + seconds
        found = wanted.filter(visible=True).first
        outputs = {}
        while time.monotonic() < deadline:
            for position in range(0, 16_000, 600):
                if found.count():
                    found.scroll_into_view_if_needed()
                    return found
                self.page.evaluate(SCROLL, position)
                self.page.wait_for_timeout(60)
                outputs.update(self.page.evaluate(OUTPUTS))
        dialog = self.page.locator(".jp-Dialog").all_inner_texts()
        raise NeverShowedError(f"{wanted} never showed; dialogs {dialog}, outputs {outputs}")

    def tab(self, name):
        """The tab of a document."""
        return self.page.locator("#jp-main-dock-panel .lm-TabBar-tab").filter(has_text=name)

    def cell(self, code):
        """The cell that holds a piece of code."""
        return self.page.locator(".jp-CodeCell").filter(has=self.page.locator(".jp-Editor", has_text=code))

    def run_cell(self, cell):
        """Run a cell as it is, with the keyboard."""
        self.find(cell.locator(".cm-content")).click()
        self.page.keyboard.press("Shift+Enter")

    def answer(self, cell, code):
        """Put other code into a cell and run it, with the keyboard."""
        self.find(cell.locator(".cm-content")).click()
        self.page.keyboard.press("ControlOrMeta+a")
        # as from the clipboard: typing would also close every bracket by itself
        self.page.keyboard.insert_text(code)
        self.page.keyboard.press("Shift+Enter")

    def failures(self):
        """How many cells in view show a traceback."""
        return self.page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.error']").count()

    def accessibility_faults(self):
        """What axe-core finds serious in our own content, as far as it is drawn: rule, reason and HTML."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
        drawn = [[kind] for kind in OURS if self.page.locator(kind).count()]
        answer = axe.Axe().run(self.page, context={"include": drawn}).response
        return [
            f"{finding['id']}: {node.get('failureSummary', finding['help'])} in {node['html'][:300]}"
            for finding in answer["violations"]
            if finding["impact"] in ("serious", "critical")
            for node in finding["nodes"]
        ]

    def picture(self, name, shown):
        """Keep pictures of something in the notebook, light and dark, wide and narrow, if somebody wants them."""
        if SCREENSHOTS is None:
            return
        folder = Path(SCREENSHOTS)
        folder.mkdir(parents=True, exist_ok=True)
        for theme, label in self.THEMES.items():
            self.theme(label)
            for width in WIDTHS:
                self.page.set_viewport_size({"width": width, "height": 1400})
                self.page.wait_for_timeout(500)
                self.find(shown)
                self.page.screenshot(path=folder / f"{name}-{theme}-{width}.png")
        self.theme(self.THEMES["light"])
        self.page.set_viewport_size({"width": WIDTHS[0], "height": 1400})
        self.find(shown)

    def theme(self, label):
        """Change the colours of JupyterLab."""
        self.page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", label)
        self.page.wait_for_timeout(200)

    def _end_kernels(self):
        headers = {"Authorization": "token test"}
        for session in requests.get(f"{self._address}/api/sessions", headers=headers, timeout=PATIENCE).json():
            answer = requests.delete(f"{self._address}/api/sessions/{session['id']}", headers=headers, timeout=PATIENCE)
            answer.raise_for_status()
