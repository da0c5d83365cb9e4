"""Which tests go to one worker, for `--dist loadgroup` of pytest-xdist.

A plugin of its own and not the marks that pytest-xdist knows for this: with pytest 9.2 it takes no notice of them.
"""

import pytest
from xdist.scheduler import LoadScopeScheduling

#: The journeys share one JupyterLab and one browser.
TOGETHER = "tests/browser/"


class ByFolder(LoadScopeScheduling):
    """Gives every worker one test after the other, and those of one folder all to the same."""

    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER if nodeid.startswith(TOGETHER) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Take the place of the scheduler that goes by marks."""
    return ByFolder(config, log) if config.getvalue("dist") == "loadgroup" else None
