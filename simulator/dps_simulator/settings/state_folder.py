"""Where things are kept unless somebody names another place: one rule for the command line and for notebooks.

The workspace is ``$DPS_WORKSPACE``; else ``.workspace`` in the checkout; else, where there is no checkout because the
project was installed as a package, ``.dps-workspace`` in the home folder. The state of the simulator is the folder that
is named (``--state``, the settings file, ``$DPS_SIMULATOR_STATE``), else ``simulator`` in the workspace. None of these
depends on the working directory.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dps_simulator.settings.values import SettingsError
from dps_simulator.settings.values import path as checked_path

WORKSPACE_VARIABLE = "DPS_WORKSPACE"
STATE_VARIABLE = "DPS_SIMULATOR_STATE"

#: The folder that holds the project of the simulator, in a checkout its root.
_ROOT = Path(__file__).resolve().parents[3]


def workspace(environment: Mapping[str, str]) -> Path:
    """The workspace folder, in full; it need not exist.

    Raises:
        SettingsError: the variable names no possible path.
    """
    named = _named(environment, WORKSPACE_VARIABLE)
    if named is not None:
        return named
    beside = _ROOT / ".workspace"
    if (_ROOT / "pyproject.toml").is_file() or beside.is_dir():
        return beside
    try:
        return Path.home() / ".dps-workspace"
    except RuntimeError:
        raise SettingsError(f"there is no home folder; name a folder in {WORKSPACE_VARIABLE}.") from None


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
