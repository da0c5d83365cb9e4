"""The soft limit of open files is raised as far as the hard one and reason allow."""

import sys

import pytest

from dps_simulator.server import open_files

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
INFINITE = -1


class Limits:
    RLIMIT_NOFILE = 7
    RLIM_INFINITY = INFINITE

    def __init__(self, soft, hard, system=None):
        self.soft, self.hard, self.system = soft, hard, system

    def getrlimit(self, _):
        return self.soft, self.hard

    def setrlimit(self, _, limits):
        if self.system is not None and limits[0] > self.system:
            raise ValueError("the system has a limit of its own")
        self.soft, self.hard = limits


@pytest.mark.parametrize(
    ("before", "system", "after"),
    [
        ((1_024, 524_288), None, 65_536),
        ((1_024, 4_096), None, 4_096),
        ((1_024, 1_024), None, 1_024),
        ((256, INFINITE), 12_000, 10_240),  # macOS
        ((256, INFINITE), None, 65_536),
        ((100_000, 524_288), None, 100_000),
        ((INFINITE, INFINITE), None, INFINITE),
    ],
)
def test_limit_is_raised(monkeypatch, before, system, after):
    limits = Limits(*before, system=system)
    monkeypatch.setattr(open_files, "resource", limits)
    open_files.raise_limit()
    assert (limits.soft, limits.hard) == (after, before[1])
    assert open_files.limit() == (open_files.MOST if after == INFINITE else min(after, open_files.MOST))
