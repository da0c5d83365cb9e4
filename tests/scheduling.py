"""Which tests go to one worker, for `--dist loadgroup` of pytest-xdist.

A plugin of its own and not the marks that pytest-xdist knows for this: with pytest 9.2 it takes no notice of them.
"""

import pytest
from xdist.scheduler import LoadScopeScheduling

#: Whose tests share what takes long to make: the journeys one JupyterLab and one browser, each of the others an
#: environment of its own with what it installs there.
TOGETHER = (
    "tests/browser/",
    "tests/anywhere/test_azure_commands.py",
    "tests/anywhere/test_binder_session.py",
    "tests/anywhere/test_site_pages.py",
    "tests/anywhere/test_two_learners.py",
)


class ByFolder(LoadScopeScheduling):
    """Gives every worker one test after the other, and those that belong together all to the same."""

    def _split_scope(self, nodeid: str) -> str:
        return next((place for place in TOGETHER if nodeid.startswith(place)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Take the place of the scheduler that goes by marks."""
    return ByFolder(config, log) if config.getvalue("dist") == "loadgroup" else None
