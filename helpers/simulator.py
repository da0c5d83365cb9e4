"""The simulator under the name that it had before it became a package of its own, :mod:`dps_simulator`.

Notebooks and tests that import from here, and commands with ``python -m helpers.simulator``, go on working.
"""

import sys

from dps_simulator import *  # noqa: F403
from dps_simulator import __all__ as __all__  # noqa: PLC0414 - what the star means
from dps_simulator.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
