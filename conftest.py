"""Settings for ``pytest --nbval notebooks/``, which compares what the notebooks print with what stands in them.

It is green from here and from ``notebooks/``, whatever stands in a workspace, and with ``-n 2``. The tests have
settings of their own, in ``tests/``.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

#: What need not be equal: keys, certificates and what else is new in every workspace.
SANITIZE = Path(__file__).parent / "tests" / "notebooks" / "sanitize.cfg"
#: Settings in pyproject.toml that belong to plugins, by the names of these. Who only learns has not installed them, and
#: pytest refuses settings that it does not know.
SETTINGS_OF_PLUGINS = {
    "asyncio": ("asyncio_mode", "asyncio_default_fixture_loop_scope"),
    "timeout": ("timeout",),
}
WORKSPACE = "DPS_WORKSPACE"


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Know the settings of plugins that are not there."""
    for plugin, names in SETTINGS_OF_PLUGINS.items():
        if not pluginmanager.hasplugin(plugin):
            for name in names:
                parser.addini(name, f"of the plugin {plugin}, which is not used in this run")


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the comparison of notebooks, if there is one; without nbval there are no such options."""
    if not (getattr(config.option, "nbval", False) or getattr(config.option, "nbval_lax", False)):
        return
    if config.option.nbval_sanitize_with is None:
        config.option.nbval_sanitize_with = str(SANITIZE)
    # where nbval sends what a kernel writes; it never closes it
    config.addinivalue_line("filterwarnings", f"ignore:unclosed file .*{re.escape(os.devnull)}:ResourceWarning")
    config.pluginmanager.register(Comparison(), "comparison of notebooks")


def track_of(name: str) -> str:
    """The track of a notebook: the first digit of its file's name."""
    return name.rpartition("/")[2][:1]


class Comparison:
    """Gives each track a workspace and a simulator of its own, and keeps its cells in order.

    A notebook lists what is enrolled, so it prints what is committed only where no other track enrolled anything, and
    where it is not run by two workers at once. Nothing of this touches the workspace in which somebody learns. Whoever
    sets ``DPS_WORKSPACE`` gets that one for all notebooks, unless workers would share it.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._given = os.environ.get(WORKSPACE)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Leave a track to one worker."""
        # the hook is not called where xdist is not installed
        from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415

        class ByTrack(LoadScopeScheduling):  # type: ignore[misc, unused-ignore]
            def _split_scope(self, nodeid: str) -> str:
                file = nodeid.partition("::")[0]
                return f"track {track_of(file)}" if file.endswith(".ipynb") else file

        return ByTrack(config, log)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
        """Choose the workspace before a kernel starts, and stop the simulator after the last cell of a track."""
        if item.path.suffix != ".ipynb" or (self._given and not hasattr(item.config, "workerinput")):
            return (yield)
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="dps-nbval-"))
            _over_ipc(self._folder)
        track = track_of(item.path.name)
        os.environ[WORKSPACE] = str(self._folder / track)
        try:
            return (yield)
        finally:
            if nextitem is None or track_of(nextitem.path.name) != track or nextitem.path.suffix != ".ipynb":
                self._end(self._folder / track)

    def pytest_unconfigure(self) -> None:
        """Leave nothing behind."""
        if self._folder is not None:
            for workspace in self._folder.iterdir():
                self._end(workspace)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, workspace: Path) -> None:
        # only who compares notebooks needs it
        from dps_simulator.process import launcher  # noqa: PLC0415

        launcher.stop(workspace / "simulator")
        shutil.rmtree(workspace, ignore_errors=True)
        if self._given is None:
            os.environ.pop(WORKSPACE, None)
        else:
            os.environ[WORKSPACE] = self._given


def _over_ipc(folder: Path) -> None:
    """Let kernels listen on Unix domain sockets.

    Of the TCP ports that Jupyter chooses for a kernel, another worker or program may take one before the kernel does.
    """
    from jupyter_client.manager import KernelManager  # noqa: PLC0415

    if sys.platform == "win32" or hasattr(KernelManager.__init__, "over_ipc"):
        return
    started_by, numbers = KernelManager.__init__, itertools.count()

    def start(manager: Any, *arguments: Any, **keywords: Any) -> None:
        keywords.setdefault("transport", "ipc")
        keywords.setdefault("connection_file", str(folder / f"k{next(numbers)}.json"))
        started_by(manager, *arguments, **keywords)

    start.over_ipc = True  # type: ignore[attr-defined]
    KernelManager.__init__ = start
