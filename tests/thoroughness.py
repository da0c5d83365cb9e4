"""How many examples a property test tries: all of them in CI, some on a contributor's machine.

They are the same ones in every run, so what CI finds is found again with ``CI=true``.
"""

import os

#: One in so many examples is tried where ``CI`` is not set.
SHARE = 1 if os.environ.get("CI") else 4


def examples(number: int = 100) -> int:
    """How many examples to try where CI tries this many."""
    return max(number // SHARE, 5)
