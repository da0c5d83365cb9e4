"""`make lab` opens a JupyterLab in which every link of every notebook leads somewhere."""

import contextlib
import json
import os
import posixpath
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote

import pytest
import requests
from patience import PATIENCE, wait_until

from helpers.runner.documents import NOTEBOOKS, REPOSITORY, find, read

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed"),
]

FIRST = "/lab/tree/notebooks/00_start_here.ipynb"
TOKEN = {"Authorization": "token test"}
_LINK = re.compile(r"""\]\(<?([^)\s>]+)>?[^)]*\)|\bhref=\\?["']([^"'\\]+)""")


def links(text):
    """Where relative links lead, without the place inside that file."""
    found = (unquote(match[1] or match[2]).partition("#")[0] for match in _LINK.finditer(text))
    return {each for each in found if each and not re.match(r"[a-z][a-z0-9+.-]*:", each)}


def files_with_links():
    """Files of the repository that a learner opens in JupyterLab, with what they link to, seen from the root."""
    texts = {
        path: "\n".join([cell.source for cell in read(path).cells] + [json.dumps(read(path).cells)]) for path in find()
    }
    texts |= {
        path: path.read_text(encoding="utf-8") for path in [REPOSITORY / "README.md", *REPOSITORY.glob("docs/*.md")]
    }
    for path, text in texts.items():
        folder = path.parent.relative_to(REPOSITORY).as_posix()
        yield path, {posixpath.normpath(posixpath.join(folder, link)) for link in links(text)}


FILES = dict(files_with_links())


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab as `make lab` starts it, told by ARGUMENTS to open no browser and to take any free port."""
    folder = tmp_path_factory.mktemp("lab")
    runtime = Path(tempfile.mkdtemp(prefix="lab-"))
    environment = {
        **os.environ,
        "DPS_WORKSPACE": str(folder / "workspace"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(runtime),
    }
    options = "--no-browser --port=0 --IdentityProvider.token=test --LabApp.news_url="
    # what is set up here is what the tests run in
    command = ["make", "--silent", "--old-file=.venv/ready", "lab", f"RUN={sys.executable}", f"ARGUMENTS={options}"]
    with (folder / "lab.log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield wait_until(lambda: running(server, runtime), what=(folder / "lab.log").read_text)
        finally:
            # make, its shell and JupyterLab
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=PATIENCE)
            shutil.rmtree(runtime, ignore_errors=True)


def running(server, runtime):
    """The address of JupyterLab when it answers; it names it before it does."""
    assert server.poll() is None, "JupyterLab ended"
    for file in runtime.glob("jpserver-*.json"):
        with contextlib.suppress(ValueError, requests.ConnectionError):
            address = json.loads(file.read_text())["url"].rstrip("/")
            requests.get(f"{address}/api", headers=TOKEN, timeout=PATIENCE).raise_for_status()
            return address
    return None


def status(lab, path):
    answer = requests.get(f"{lab}/api/contents/{path}", params={"content": 0}, headers=TOKEN, timeout=PATIENCE)
    return answer.status_code


def test_every_link_leads_to_a_file_that_the_server_has(lab):
    wrong = [(path.name, link) for path, linked in FILES.items() for link in sorted(linked) if status(lab, link) != 200]
    assert wrong == []


def test_links_leave_the_folder_of_the_notebooks_and_a_wrong_one_would_be_found(lab):
    assert {"README.md", "docs/handout.md", "docs/fidelity.md"} <= FILES[NOTEBOOKS / "02_run_a_workshop.ipynb"]
    assert status(lab, "docs/handouts.md") == 404


def test_the_first_notebook_is_what_opens(lab):
    answer = requests.get(f"{lab}/", headers=TOKEN, timeout=PATIENCE)
    assert answer.status_code == 200
    assert answer.url.partition("?")[0] == lab + FIRST


def test_without_make_it_is_the_same_command(repository):
    recipe = (repository / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    readme = (repository / "README.md").read_text(encoding="utf-8")
    in_make = re.search(r"\$\(RUN\) -m jupyter lab \$\$root (.*) \$\(ARGUMENTS\)", recipe)
    alone = re.search(r"\\python -m jupyter lab (.*)", readme)
    assert in_make[1].split() == alone[1].replace('"', "").split()
