"""What Binder does, without its containers: its packages, the files of binder/, a user without rights, notebooks.

The two things that are not tried: the packages of conda below (binder/base_image.json stands for them), and Docker.
"""

import json
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

import pytest
from fresh_environments import Fresh, base_for_everybody
from other_surroundings import Surroundings, copy_of_the_project
from own_ports import own_port
from patience import PATIENCE
from test_surroundings import NOBODY, needs_git

AS_ROOT = os.name == "posix" and os.geteuid() == 0
pytestmark = [
    pytest.mark.anywhere,
    pytest.mark.timeout(1200),
    needs_git,
    pytest.mark.skipif(sys.platform != "linux", reason="Binder is a Linux"),
    pytest.mark.skipif(AS_ROOT and shutil.which("setpriv") is None, reason="needs setpriv of util-linux"),
]
TRACK = ("00", "11", "12", "13")


def own(folder, user):
    """Give a folder and all in it to somebody; only root can, and whoever else runs this owns it anyway."""
    if AS_ROOT:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, user, user, follow_symlinks=False)


def writable(folder, *, yes):
    """Let everything in a folder be written, or nothing."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode | 0o200 if yes else mode & ~0o222)


def listing(folder):
    """Every file in a folder with its size and the time when it was written."""
    return {
        path.relative_to(folder).as_posix(): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if not path.is_dir()
    }


class Image:
    """The image after its build, and sessions in it.

    Attributes:
        checkout: the copy of the repository.
        home: of the user.
        somebody: how to run something as the user.
    """

    def __init__(self, folder):
        self.checkout, self.home, environment = folder / "checkout", folder / "home", folder / "environment"
        for path in (self.home, folder / "t"):
            path.mkdir()
        copy_of_the_project(self.checkout)
        fresh = Fresh(environment, base_for_everybody())
        fresh.fill("-r", str(self.checkout / "binder" / "requirements.txt"))
        self.prefix = environment
        own(folder, NOBODY)
        variables = dict.fromkeys(
            [name for name in os.environ if name.startswith(("DPS_", "JUPYTER", "XDG_", "PYTHON"))]
        )
        variables |= {
            "HOME": str(self.home),
            "TMPDIR": str(folder / "t"),
            "PATH": f"{fresh.programs}:/usr/local/bin:/usr/bin:/bin",
            "VIRTUAL_ENV": str(environment),
            "PIP_NO_CACHE_DIR": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.somebody = Surroundings(user=NOBODY if AS_ROOT else None, **variables)

    def run(self, *command):
        """Run a command in the checkout; returns what it said."""
        code, said = self.somebody.run(*command, cwd=self.checkout)
        assert code == 0, said[-8_000:]
        return said


@pytest.fixture(scope="module")
def image():
    # not below the folders of tests, which are root's
    with tempfile.TemporaryDirectory(prefix="dps-") as name:
        made = Image(Path(name))
        made.run("binder/postBuild")
        if AS_ROOT:
            own(made.checkout, 0)
        writable(made.checkout, yes=False)
        yield made
        writable(made.checkout, yes=True)


def test_the_first_track_runs_in_a_checkout_that_nobody_can_write(image):
    before = listing(image.checkout)
    output = image.home / "report"
    said = image.run("binder/start", "python", "-m", "helpers.runner", "tutorial", "--output", output, *TRACK)
    assert f"{len(TRACK)} notebooks: {len(TRACK)} passed" in said
    assert (output / "report.html").is_file()
    assert listing(image.checkout) == before
    with pytest.raises(AssertionError, match=r"Permission denied|Read-only"):
        image.run("touch", "notebooks/mine")


#: Starts JupyterLab, as a session does, and prints what it tells a browser about one of its parts.
ASK = """
import subprocess, sys, time, urllib.error, urllib.request

port, part, seconds = sys.argv[1:]
address = f"http://127.0.0.1:{port}/lab/api/settings/{part}?token=test"
command = ["jupyter", "lab", "--no-browser", f"--port={port}", "--IdentityProvider.token=test", "--LabApp.news_url="]
lab = subprocess.Popen(command, stdout=sys.stderr)
# what leads to other machines does not lead here
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
deadline = time.monotonic() + float(seconds)
try:
    while True:
        assert lab.poll() is None and time.monotonic() < deadline, "JupyterLab does not answer"
        try:
            with opener.open(address, timeout=float(seconds)) as answer:
                print(answer.read().decode())
            break
        except urllib.error.HTTPError:
            raise
        except OSError:
            time.sleep(0.2)
finally:
    lab.terminate()
    lab.wait(timeout=float(seconds))
"""


def test_nobody_is_asked_about_news(image):
    """No question covers the notebook; it would come with each session, as none has settings of an earlier one."""
    part = "@jupyterlab/apputils-extension:notification"
    said = image.run("binder/start", "python", "-c", ASK, own_port(), part, 2 * PATIENCE)
    answer = json.loads(next(line for line in said.splitlines() if line.startswith('{"id"')))
    assert (answer["id"], answer["settings"]) == (part, {})
    assert answer["schema"]["properties"]["fetchNews"]["default"] == "false"


def test_the_workspace_of_a_session_lies_in_the_home(image):
    said = image.run("binder/start", "python", "-c", "import helpers.workspace as w; print(w.root())")
    assert Path(said.splitlines()[-1]) == image.home / ".dps-workspace"


def test_the_simulator_and_helpers_are_those_of_the_checkout(image):
    said = image.run("binder/start", "python", "-c", "import dps_simulator, helpers; print(helpers, dps_simulator)")
    assert said.count(str(image.checkout)) == 2


DETECT = """
import json, os, sys
from repo2docker.app import Repo2Docker

app = Repo2Docker()
os.chdir(sys.argv[1])
pack = next(each for each in (kind(base_image=app.base_image) for kind in app.buildpacks) if each.detect())
print(json.dumps({
    "pack": type(pack).__name__,
    "python": pack.python_version,
    "files": sorted(pack.get_preassemble_script_files()),
    "cached": pack.get_preassemble_scripts(),
    "uncached": pack.get_assemble_scripts(),
    "after": pack.get_post_build_scripts(),
    "start": pack.get_start_script(),
}))
"""


@pytest.fixture(scope="module")
def repo2docker(tmp_path_factory):
    """The program that Binder builds images with, and a copy of the repository for it."""
    folder = tmp_path_factory.mktemp("repo2docker")
    fresh = Fresh(folder / "environment", sys.executable)
    fresh.fill("jupyter-repo2docker")
    return fresh, copy_of_the_project(folder / "checkout")


def test_repo2docker_writes_its_recipe(repo2docker):
    fresh, checkout = repo2docker
    arguments = ["--no-build", "--debug", "--user-id", "1000", "--user-name", "jovyan", checkout]
    done = fresh.run("-m", "repo2docker", *arguments)
    assert done.returncode == 0, done.stderr
    recipe = done.stdout + done.stderr
    # what is installed before anything else of the repository comes is kept when only notebooks change
    packages = recipe.index('pip install --no-cache-dir -r "binder/requirements.txt"')
    assert packages < recipe.index("src/ ${REPO_DIR}/") < recipe.index("RUN ./binder/postBuild")


def test_repo2docker_finds_every_file_of_binder(repo2docker):
    fresh, checkout = repo2docker
    done = fresh.run("-c", DETECT, checkout)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    runtime = (checkout / "binder" / "runtime.txt").read_text(encoding="utf-8").strip()
    assert f"{found['pack']} python-{found['python']}" == f"PythonBuildPack {runtime}"
    assert (found["files"], found["uncached"]) == (["binder/requirements.txt"], [])
    cached = " ".join(script for _, script in found["cached"])
    assert 'pip install --no-cache-dir -r "binder/requirements.txt"' in cached
    for package in (checkout / "binder" / "apt.txt").read_text(encoding="utf-8").split():
        assert f" {package} " in cached
    assert (found["after"], found["start"]) == (["binder/postBuild"], "${REPO_DIR}/binder/start")
