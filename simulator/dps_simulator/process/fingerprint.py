"""A fingerprint of the simulator's code, which tells a process that runs other code from one that runs this.

It is made of what the files hold. Their times would differ between two copies of the same code, and change whenever git
touches a file; the version stays the same for weeks in a checkout. Reading all files takes about two milliseconds.
"""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

from .program import PACKAGE_FOLDER

#: Where the code lies from which a simulator would be started now.
FOLDER = PACKAGE_FOLDER


def on_disk(folder: Path = FOLDER) -> str:
    """The fingerprint of the code as it is now: of every Python file below the folder, with its name.

    Files that cannot be read, and those that editors hide, do not count.
    """
    digest = hashlib.sha256()
    for place, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            if name.startswith(".") or not name.endswith(".py"):
                continue
            file = Path(place, name)
            try:
                content = file.read_bytes()
            except OSError:
                continue
            digest.update(f"{file.relative_to(folder).as_posix()} {len(content)}\n".encode("utf-8", "surrogateescape"))
            digest.update(content)
    return digest.hexdigest()[:32]


@functools.cache
def loaded() -> str:
    """The fingerprint of the code at the first call in this process, which should come soon after the imports."""
    return on_disk()
