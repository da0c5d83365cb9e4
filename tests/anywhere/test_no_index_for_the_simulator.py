"""Nobody has the simulator's name on the registries of packages, so no registry is ever asked for it."""

import http.server
import re
import threading

import pytest
from fresh_environments import Fresh, copy_of_simulator

NAMES = ("dps-simulator", "azure-dps-notebooks")
#: Where the two projects are installed, and where from.
PLACES = ("README.md", "binder/postBuild", "helpers/installation.py")


class _Index(http.server.BaseHTTPRequestHandler):
    """A registry that has nothing, and remembers what it was asked for."""

    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_error(404)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def index():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Index) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_both_are_installed_by_path_in_one_call_everywhere(repository):
    for name in PLACES:
        text = (repository / name).read_text(encoding="utf-8").replace('"', "").replace(",", "")
        calls = re.findall(r"(?:-e|--editable) \. (?:-e|--editable) (\S+)", text)
        assert [re.sub(r"[\]`]+$", "", call) for call in calls] in (["./simulator"], ["SIMULATOR"]), name


def test_nothing_names_the_simulator_as_something_to_be_fetched(repository):
    for name in ("requirements.txt", "requirements-dev.txt", "binder/requirements.txt"):
        text = (repository / name).read_text(encoding="utf-8")
        assert not re.search(r"^(dps[-_.]simulator|azure[-_.]dps)", text, re.MULTILINE | re.IGNORECASE), name
    for name in ("pyproject.toml", "simulator/pyproject.toml"):
        text = (repository / name).read_text(encoding="utf-8")
        assert not re.search(r"^\s*\"dps[-_.]simulator", text, re.MULTILINE | re.IGNORECASE), name


@pytest.mark.anywhere
def test_installing_both_asks_no_index_for_either(repository, tmp_path, index):
    """What they need is made up here, so that the index is asked for everything that is not given by path."""
    fresh = Fresh(tmp_path / "environment")
    fresh.install("setuptools>=77")
    copy_of_simulator(repository, tmp_path)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (tmp_path / name).write_bytes((repository / name).read_bytes())
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers" / "__init__.py").touch()
    (tmp_path / "requirements.txt").write_text("aiohttp>=3.14.1\n")
    url = f"http://127.0.0.1:{index.server_port}/simple"
    options = [
        "--isolated",
        "--retries",
        "0",
        "--no-build-isolation",
        "--disable-pip-version-check",
        "--index-url",
        url,
    ]
    done = fresh.run("-m", "pip", "install", *options, "-e", ".", "-e", "./simulator", cwd=tmp_path)
    # the index has nothing, so it ends at the first package that is not given by path
    assert done.returncode == 1
    assert "/simple/aiohttp/" in index.asked, done.stderr
    assert not [path for path in index.asked if any(name in path for name in NAMES)]

    # and with what they need left out, no index is needed at all
    done = fresh.run("-m", "pip", "install", *options, "--no-deps", "-e", ".", "-e", "./simulator", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not [path for path in index.asked if any(name in path for name in NAMES)]
