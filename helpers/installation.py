"""Makes the environment that the Makefile uses: ``python -m helpers.installation FOLDER learner|contributor``.

With uv where it is installed, because it takes a tenth of the time; with pip otherwise, or when uv gives up. What is
there already is used as it is, if it can be; an environment of a Python that is gone, or does not do, is made anew.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import HelperError
from .python_versions import problem

#: The list of packages for each kind of people.
LISTS = {"learner": "requirements.txt", "contributor": "requirements-dev.txt"}
#: The project of the simulator, in the repository.
SIMULATOR = "./simulator"
#: What says, by its time, that the packages for these people are there. Contributors have those of learners, too.
READY = {"learner": ("ready",), "contributor": ("ready", "ready-dev")}
#: Of the settings of uv in the environment, those that say how to get packages. The others might lead them elsewhere.
_OF_UV = (
    "UV_INDEX",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX",
    "UV_NO_INDEX",
    "UV_FIND_LINKS",
    "UV_CACHE_DIR",
    "UV_NO_CACHE",
    "UV_OFFLINE",
    "UV_HTTP",
    "UV_REQUEST",
    "UV_SYSTEM_CERTS",
    "UV_NATIVE_TLS",
    "UV_INSECURE_HOST",
    "UV_KEYRING_PROVIDER",
    "UV_CONCURRENT",
    "UV_LINK_MODE",
)
#: Settings of pip that install elsewhere.
_NOT_OF_PIP = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")


class InstallationError(HelperError, RuntimeError):
    """The environment cannot be made; the text says why, and what to do."""


def python_of(folder: Path) -> Path:
    """The Python of an environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def version_of(folder: Path) -> tuple[int, int] | None:
    """The version of the Python in an environment; ``None`` when it does not run or does not find its packages."""
    code = "import sys, sysconfig; print(*sys.version_info[:2], sysconfig.get_path('purelib'))"
    try:
        done = subprocess.run([python_of(folder), "-I", "-c", code], capture_output=True, text=True, check=True)
        major, minor, packages = done.stdout.rstrip("\n").split(" ", 2)
        found = (int(major), int(minor))
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None
    # where the system's Python was replaced by a newer one, the link leads to it, and to no packages
    return found if Path(packages).is_dir() else None


def make_environment(folder: Path, *, named: bool) -> None:
    """Make an environment of the Python that runs this, unless there is one that does.

    Arguments:
        folder: where.
        named: whether somebody asked for just this Python; an environment of another is then made anew.

    Raises:
        InstallationError: the folder holds something else, or nothing can be made there.
    """
    if folder.exists() and not folder.is_dir():
        raise InstallationError(f"{folder} is no folder. Move it away, or name another: make VENV=environment setup")
    if folder.is_dir() and any(folder.iterdir()):
        ours = (folder / "pyvenv.cfg").exists() or python_of(folder).is_symlink() or python_of(folder).exists()
        if not ours:
            raise InstallationError(
                f"{folder}/ is no environment of Python, and stays as it is. Name another: make VENV=environment setup"
            )
        there = version_of(folder)
        if there is not None and not problem(there) and (not named or there == sys.version_info[:2]):
            return
        why = "does not run" if there is None else f"is Python {there[0]}.{there[1]}"
        print(f"What is in {folder}/ {why}: it is made anew with Python {_version()}.", flush=True)  # noqa: T201
    try:
        # as `python -m venv` does it; in an environment, the Python that this one was made from
        venv.EnvBuilder(clear=True, symlinks=os.name != "nt", with_pip=_has_pip()).create(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        raise InstallationError(f"{folder}/ cannot be made: {error}") from error


def _version() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def _has_pip() -> bool:
    """Whether pip can be put into a new environment. Debian has a package of its own for it."""
    try:
        import ensurepip  # noqa: F401, PLC0415
    except ImportError:
        return False
    return True


def install(folder: Path, requirements: str) -> None:
    """Put packages into an environment, and the two projects of the repository.

    Arguments:
        folder: the environment.
        requirements: the list of packages, in the current folder.

    Raises:
        InstallationError: neither uv nor pip can do it.
    """
    # in one call: nobody has the simulator by its name, so no index may be asked for it
    what = ["-r", requirements, "-e", ".", "-e", SIMULATOR]
    uv = shutil.which("uv")
    if uv is not None:
        command = [uv, "pip", "install", "--quiet", "--python", str(python_of(folder)), *what]
        done = subprocess.run(command, env=uv_environment(os.environ), capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        said = (done.stderr.strip().splitlines() or ["it says nothing"])[-1].strip()
        print(f"uv gave up ({said}); pip tries it now.", flush=True)  # noqa: T201
    python = [str(python_of(folder)), "-m"]
    variables = {name: value for name, value in os.environ.items() if name not in _NOT_OF_PIP}
    # pip is not in an environment that uv made, nor in one whose making was interrupted
    for command in (["pip", "--version"], ["ensurepip"]):
        if not subprocess.run([*python, *command], env=variables, capture_output=True, check=False).returncode:
            break
    else:
        raise InstallationError(
            f"{folder}/ has no pip, and this Python brings none. Install uv, or on Debian and Ubuntu: "
            f"apt-get install python{_version()}-venv"
        )
    command = [*python, "pip", "install", "--quiet", "--disable-pip-version-check", "--use-pep517", *what]
    if subprocess.run(command, env=variables, check=False).returncode:
        raise InstallationError("The packages could not be installed; the reason stands above. Then run it again.")


def uv_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """What uv gets of the environment: everything but its own settings that could install elsewhere."""
    return {name: value for name, value in variables.items() if not name.startswith("UV_") or name.startswith(_OF_UV)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m helpers.installation", description="Make the environment.")
    parser.add_argument("folder", type=Path, help="where it is, or is to be")
    parser.add_argument("audience", choices=LISTS, help="whose packages")
    parser.add_argument("--named", action="store_true", help="use this very Python, and no other that is there")
    given = parser.parse_args(arguments)
    folder: Path = given.folder
    try:
        if wrong := problem():
            raise InstallationError(wrong)
        make_environment(folder, named=given.named)
        install(folder, LISTS[given.audience])
    except InstallationError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    # last of all, so that whatever was interrupted is done again
    for name in READY[given.audience]:
        (folder / name).touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
