"""How many files and sockets this process may have open at a time.

Every connection is one of them. The usual limit, 1,024, is a soft one: a process may raise it by itself up to a hard
one.
"""

from __future__ import annotations

import contextlib
import sys

if sys.platform != "win32":
    import resource

#: More is not asked for: so many idle devices take some gigabytes.
MOST = 65_536
#: macOS has a limit below the hard one; this much it always grants.
_MODEST = 10_240


def limit() -> int:
    """What holds now, at most :data:`MOST`; Windows has no such limit."""
    if sys.platform == "win32":
        return MOST
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else min(soft, MOST)


def raise_limit() -> None:
    """Raise the soft limit as far as this process may; one that is higher stays."""
    if sys.platform == "win32":
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wished in (MOST, _MODEST):
        possible = wished if hard == resource.RLIM_INFINITY else min(wished, hard)
        if possible > limit():
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
