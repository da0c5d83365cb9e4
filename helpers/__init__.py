"""What the notebooks import, and the simulator they run against."""

import sys

from .python_versions import FIRST, problem

# grammar and standard library of an older Python do not do; a newer one may, and `make setup` and notebook 00 have
# their say about it
if sys.version_info < FIRST:
    raise ImportError(problem())

del sys, FIRST, problem
