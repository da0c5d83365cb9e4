"""Where things are kept unless somebody names another place: one rule for the command line and for notebooks.

The workspace is ``$DPS_WORKSPACE``; else ``.workspace`` in the checkout; else, where there is no checkout because the
simulator was installed as a package, ``dps-workspace`` where this system keeps a user's data, or ``.dps-workspace`` in
the home folder if an earlier version made it. The state of the simulator is the folder that is named (``--state``, the
settings file, ``$DPS_SIMULATOR_STATE``), else ``simulator`` in the workspace. None of these depends on the working
directory, and none lies among the installed packages.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from dps_simulator.settings.values import SettingsError
from dps_simulator.settings.values import path as checked_path

WORKSPACE_VARIABLE = "DPS_WORKSPACE"
STATE_VARIABLE = "DPS_SIMULATOR_STATE"

#: In a checkout its root, which holds the projects ``helpers`` and ``simulator``.
_ROOT = Path(__file__).resolve().parents[3]
_NAME = "dps-workspace"


def workspace(environment: Mapping[str, str]) -> Path:
    """The workspace folder, in full; it need not exist.

    Raises:
        SettingsError: the variable names no possible path.
    """
    named = _named(environment, WORKSPACE_VARIABLE)
    if named is not None:
        return named
    if (_ROOT / "simulator" / "pyproject.toml").is_file() and (_ROOT / "helpers").is_dir():
        return _ROOT / ".workspace"
    return _of_the_user()


def _of_the_user() -> Path:
    # without a home there is no earlier one
    with contextlib.suppress(RuntimeError):
        earlier = Path.home() / f".{_NAME}"
        if earlier.is_dir():
            return earlier
    # notebooks, which start more often than anything else, never come here
    import platformdirs  # noqa: PLC0415

    folder = platformdirs.user_data_path(_NAME, appauthor=False)
    if not folder.is_absolute():
        raise SettingsError(f"there is no home folder; name a folder in {WORKSPACE_VARIABLE}.")
    return folder


def state(environment: Mapping[str, str]) -> Path:
    """The state folder, in full; it need not exist.

    Raises:
        SettingsError: a variable names no possible path.
    """
    return _named(environment, STATE_VARIABLE) or workspace(environment) / "simulator"


def _named(environment: Mapping[str, str], variable: str) -> Path | None:
    text = environment.get(variable, "").strip()
    if not text:
        return None
    try:
        return checked_path(text).absolute()
    except SettingsError as error:
        raise SettingsError(f"the environment variable {variable}: {error}") from None
