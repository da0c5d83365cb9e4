"""Which runs of notebooks belong to `make test`, and which to the tier of other surroundings.

`make test` compares every notebook with its committed outputs, the notebooks of a track after each other. What is tried
beyond that, with one notebook alone or spoilt, it tries with one track; what is run again and again, it leaves out.
"""

import pytest

#: The track whose steps those with certificates and TPMs follow. The devices of the others are many, or wait on purpose.
QUICK = "1"


def of_track(value, track, **options):
    """A case of a parametrized test about a track: slower ones get the mark of the other tier.

    Arguments:
        value: what the test gets.
        track: first digit of the names of the notebooks.
        options: further ones of :func:`pytest.param`.
    """
    marks = [] if track == QUICK else [pytest.mark.anywhere]
    return pytest.param(*value if isinstance(value, tuple) else (value,), marks=marks, **options)
