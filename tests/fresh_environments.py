"""Environments of Python with just what is put into them, as somebody else's project has them."""

import getpass
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement

#: What uv and pip say when there is no way to a registry of packages.
UNREACHABLE = ("error sending request", "Failed to fetch", "Could not connect", "NewConnectionError", "Retrying (")


def project(repository):
    """The project of the simulator: the table of its pyproject.toml."""
    return tomllib.loads((repository / "simulator" / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def lowest(repository):
    """Every direct dependency of the simulator and of its clients, in the lowest version that is allowed."""
    texts = [*project(repository)["dependencies"], *project(repository)["optional-dependencies"]["clients"]]
    found = [each for each in map(Requirement, texts) if each.marker is None or each.marker.evaluate()]
    return [f"{each.name}=={next(s.version for s in each.specifier if s.operator == '>=')}" for each in found]


def pinned(repository, *names):
    """Packages in the versions that the tests use."""
    text = "".join(
        (repository / name).read_text(encoding="utf-8") for name in ("requirements.txt", "requirements-dev.txt")
    )
    return [re.search(rf"^{name}==[\w.]+", text, re.MULTILINE)[0] for name in names]


def copy_of_simulator(repository, folder):
    """The project of the simulator elsewhere, where what building leaves behind is in nobody's way."""
    leave_out = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    return shutil.copytree(repository / "simulator", folder / "simulator", ignore=leave_out)


def settings_of_uv():
    """Variables with which uv finds what it fetched before, and what this machine trusts, from a home of the tests."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path(f"~{getpass.getuser()}").expanduser() / ".cache") / "uv"
    return {"UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR") or str(cache), "UV_SYSTEM_CERTS": "1"}


def environment(folder, **more):
    """Variables without those that lead to this checkout, its coverage and its state."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "COV_", "DPS_"))
    }
    return {**kept, "HOME": str(folder), "XDG_DATA_HOME": str(folder / "data"), "VIRTUAL_ENV": "", **more}


class Fresh:
    """An empty environment.

    Arguments:
        folder: where it is made.
        base: the Python to make it from; the one that runs this, unless another is named.
    """

    def __init__(self, folder, base=None):
        if base is None:
            venv.create(folder, with_pip=True, symlinks=os.name != "nt")
        else:
            subprocess.run([base, "-m", "venv", "--without-pip", folder], check=True)
        self.folder = folder
        self.programs = folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = self.programs / "python"

    def install(self, *what, cwd=None):
        """Install with pip; without a way to the registries, the test is skipped, except in CI."""
        self._check(self.run("-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what, cwd=cwd))

    def fill(self, *what):
        """Install pip and packages, with uv where it is. The files are copies, which somebody else may be given."""
        uv = shutil.which("uv")
        if uv is None:
            self._check(self.run("-m", "ensurepip"))
            self.install(*what)
            return
        command = [uv, "pip", "install", "--quiet", "--link-mode=copy", "--python", self.python, "pip", *what]
        variables = os.environ | settings_of_uv()
        self._check(subprocess.run(command, env=variables, capture_output=True, text=True, check=False))

    @staticmethod
    def _check(done):
        if done.returncode and any(word in done.stderr for word in UNREACHABLE) and not os.environ.get("CI"):
            pytest.skip("needs the registry of packages, which cannot be reached")
        assert done.returncode == 0, done.stderr[-4_000:]

    def run(self, *arguments, cwd=None, **variables):
        """Run its Python."""
        return subprocess.run(
            [self.python, *map(str, arguments)],
            cwd=cwd or self.folder,
            env=environment(self.folder, **variables),
            capture_output=True,
            text=True,
            check=False,
        )

    def megabytes(self):
        """What lies in it beside pip, as it was installed, before Python compiled anything."""
        (packages,) = self.folder.glob("lib/python3*/site-packages" if os.name != "nt" else "Lib/site-packages")
        files = [
            path
            for path in packages.rglob("*")
            if path.is_file()
            and not path.is_symlink()
            and path.suffix != ".pyc"
            and not path.relative_to(packages).parts[0].startswith(("pip", "setuptools", "_distutils"))
        ]
        return sum(path.stat().st_size for path in files) / 1e6


def base_for_everybody():
    """A Python that all users can start: the system's, as that of root may lie in root's home; else this one."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return shutil.which(name, path="/usr/bin:/usr/local/bin") or sys.executable


def code_blocks(repository, language="python"):
    """The code in the README of the simulator."""
    text = (repository / "simulator" / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run_readme(python, repository, folder, variables):
    """Run the code in the README as the tests of another project, which has a package ``helpers`` of its own.

    Returns:
        What pytest said, and the exit codes of pytest and of the program that uses no pytest.
    """
    (folder / "helpers").mkdir(parents=True)
    (folder / "helpers" / "__init__.py").write_text("OURS = True\n")
    (folder / "test_helpers.py").write_text("import helpers\n\ndef test_ours():\n    assert helpers.OURS\n")
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    codes, said = [], []
    for number, code in enumerate(code_blocks(repository)):
        name = f"test_block_{number}.py" if "def test_" in code else f"block_{number}.py"
        (folder / name).write_text(code, encoding="utf-8")
    alone = [[path] for path in sorted(folder.glob("block_*.py"))]
    for arguments in [["-m", "pytest", "-q", "-p", "no:cacheprovider"], *alone]:
        done = subprocess.run(
            [python, *arguments], cwd=folder, env=variables, capture_output=True, text=True, check=False
        )
        codes.append(done.returncode)
        said.append(done.stdout + done.stderr)
    return codes, "".join(said)
