"""Writes ``binder/requirements.txt`` and ``binder/base_image.json``: what Binder installs, and onto what.

``requirements.txt`` here is everything that the ``requirements.txt`` of the repository leads to, pinned. A flat file
without ``-r`` lets Binder keep the installed layer when only notebooks change. ``make binder`` runs this.

Binder builds on an image of repo2docker, which has a JupyterLab and parts that fit this JupyterLab only. So what is
there stays as it is unless the repository needs another version, and JupyterLab itself always does. Every version must
do for the first patch release of the Python that ``runtime.txt`` names.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
RUNTIME = (HERE / "runtime.txt").read_text(encoding="utf-8").strip().removeprefix("python-")
#: The course is written for newer ones too; which one people get on Binder is the image's business.
LEFT_TO_THE_IMAGE = ("jupyterlab",)
HEADER = f"""\
# Made by `make binder` from requirements.txt, for Python {RUNTIME}.0 and later on Linux: all packages with their
# versions, and what each needs of Python. JupyterLab, and whatever else can, is as base_image.json says.
"""
#: Packages whose names conda and PyPI spell differently.
PYPI_NAMES = {
    "brotli-python": "brotli",
    "jupyterhub-base": "jupyterhub",
    "nbconvert-core": "nbconvert",
    "python-fastjsonschema": "fastjsonschema",
}
#: Lists what is installed, as JSON. Runs in the environment, with the packaging library that pip brings.
INVENTORY = """
import importlib.metadata, json
from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name

found = {}
for each in importlib.metadata.distributions():
    wanted = [Requirement(text) for text in each.requires or ()]
    found[canonicalize_name(each.metadata["Name"])] = {
        "version": each.version,
        "python": each.metadata.get("Requires-Python", ""),
        "requires": sorted(
            str(need).partition(";")[0].strip()
            for need in wanted
            if need.marker is None or need.marker.evaluate({"extra": ""})
        ),
        "extras": {
            extra: sorted(canonicalize_name(n.name) for n in wanted if n.marker and n.marker.evaluate({"extra": extra}))
            for extra in each.metadata.get_all("Provides-Extra") or ()
        },
    }
print(json.dumps(found))
"""
#: Prints the packages whose Requires-Python leaves out the version given.
TOO_NEW = """
import importlib.metadata, sys
from pip._vendor.packaging.specifiers import SpecifierSet

for each in importlib.metadata.distributions():
    if not SpecifierSet(each.metadata.get("Requires-Python", "")).contains(sys.argv[1]):
        print(f"{each.metadata['Name']}<{each.version}")
"""


class LockError(RuntimeError):
    """The lock cannot be made; the text says why."""


class Environment:
    """A fresh environment of the Python that runs this.

    Arguments:
        folder: where to make it.
    """

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        self.folder = folder
        self.python = str(folder / "bin" / "python")

    def pip(self, *arguments: str) -> str:
        """Run pip, and return what it says."""
        return self.run("-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)

    def run(self, *arguments: str) -> str:
        """Run its Python.

        Raises:
            LockError: it failed.
        """
        # not in the folder of the repository: what lies there would count as installed
        done = subprocess.run([self.python, *arguments], cwd=self.folder, check=False, capture_output=True, text=True)
        if done.returncode:
            raise LockError(f"{' '.join(arguments[:6])} ...\n{done.stdout}{done.stderr}")
        return done.stdout


def conda_packages(text: str) -> dict[str, str]:
    """The Python packages in a lock file of conda, by their names on PyPI.

    Arguments:
        text: the file, a line for each package: its address.
    """
    found = {}
    for line in text.splitlines():
        match = re.match(r"https://\S+/(.+)-([^-/]+)-([^-/]*py[^-/]*)\.conda", line)
        if match and match[1] not in ("python", "pip", "wheel"):
            found[PYPI_NAMES.get(match[1], match[1])] = match[2]
    return found


def wanted(requirements: str) -> str:
    """The lines of ``requirements.txt`` without what is left to the image."""
    return "".join(
        f"{line}\n" for line in requirements.splitlines() if re.split(r"[=<>~! ]", line)[0] not in LEFT_TO_THE_IMAGE
    )


def closure(roots: list[str], installed: dict[str, dict[str, object]]) -> list[str]:
    """Names of all packages that some lead to, theirs included."""
    found: set[str] = set()
    left = [*roots]
    while left:
        text = left.pop()
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?", text)
        name = re.sub(r"[-_.]+", "-", match[1]).lower() if match else ""
        if name not in installed:
            continue
        extras = (match[2] or "").split(",") if match else []
        new = {name, *(f"{name}[{extra.strip()}]" for extra in extras if extra)} - found
        if not new:
            continue
        found |= new
        left += installed[name]["requires"]  # type: ignore[arg-type]
        for extra in extras:
            left += installed[name]["extras"].get(extra.strip(), ())  # type: ignore[attr-defined]
    return sorted(name for name in found if "[" not in name)


def main() -> int:
    """Make the environment that Binder would make, and write down what is in it."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" != RUNTIME or sys.platform != "linux":
        print(f"Binder runs Python {RUNTIME} on Linux: make PYTHON=python{RUNTIME} binder", file=sys.stderr)  # noqa: T201
        return 1
    try:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder))
    except LockError as problem:
        print(problem, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def make(folder: Path) -> None:
    """Do it in a folder that is empty, and write the two files.

    Raises:
        LockError: a package cannot be installed, or does not fit the others.
    """
    environment = Environment(folder / "venv")
    environment.pip("install", "--no-deps", "--target", str(folder / "repo2docker"), "jupyter-repo2docker")
    release = (
        next((folder / "repo2docker").glob("jupyter_repo2docker-*.dist-info")).name.split("-")[1].removesuffix(".dist")
    )
    conda = folder / "repo2docker" / "repo2docker" / "buildpacks" / "conda" / f"environment.py-{RUNTIME}-linux-64.lock"
    image = conda_packages(conda.read_text(encoding="utf-8"))
    environment.pip("install", "--no-deps", *(f"{name}=={version}" for name, version in image.items()))
    base = json.loads(environment.run("-c", INVENTORY))

    source = (HERE.parent / "requirements.txt").read_text(encoding="utf-8")
    requirements, constraints = folder / "requirements.txt", folder / "constraints.txt"
    requirements.write_text(wanted(source), encoding="utf-8")
    kept = [f"{name}=={base[name]['version']}" for name in LEFT_TO_THE_IMAGE]
    while True:
        constraints.write_text("\n".join(kept), encoding="utf-8")
        environment.pip("install", "-r", str(requirements), "-c", str(constraints), *LEFT_TO_THE_IMAGE)
        too_new = environment.run("-c", TOO_NEW, f"{RUNTIME}.0").split()
        if not too_new:
            break
        if set(too_new) <= set(kept):
            raise LockError(f"These need a later Python than {RUNTIME}.0: {' '.join(too_new)}")
        kept += too_new
    environment.pip("check")
    shown = subprocess.run(
        [str(environment.folder / "bin" / "jupyter"), "labextension", "list"],
        check=True,
        capture_output=True,
        text=True,
    )
    if "X" in (shown.stdout + shown.stderr).split():
        raise LockError(f"An extension does not fit JupyterLab:\n{shown.stdout}{shown.stderr}")

    installed = json.loads(environment.run("-c", INVENTORY))
    roots = [line.split()[0] for line in wanted(source).splitlines() if line and not line.startswith("#")]
    lines = [
        f"{name}=={installed[name]['version']}  # Python {installed[name]['python'] or 'any'}\n"
        for name in closure([*roots, *LEFT_TO_THE_IMAGE], installed)
    ]
    (HERE / "requirements.txt").write_text(HEADER + "".join(lines), encoding="utf-8")
    packages = {
        name: {"version": base[name]["version"], "requires": base[name]["requires"]}
        for name in sorted(base)
        if name != "pip"
    }
    document = {"image": f"repo2docker {release}, Python {RUNTIME}", "packages": packages}
    (HERE / "base_image.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
