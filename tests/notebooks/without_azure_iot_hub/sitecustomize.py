"""On PYTHONPATH, this makes a Python and all its children a machine for which there is no ``azure-iot-hub``.

Python imports it at every start, before anything else can have imported the package. Who tried to import what is
written into the file that ``DPS_REFUSED_IMPORTS`` names, one line each, so that a test can see that it worked.
"""

import importlib.abc
import os
import sys
from pathlib import Path

ABSENT = ("azure.iot.hub", "uamqp")


class Absent(importlib.abc.MetaPathFinder):
    """Answers for what is not there, as Python itself would, before those are asked who would find it."""

    def find_spec(self, name, path=None, target=None):
        if not any(name == each or name.startswith(f"{each}.") for each in ABSENT):
            return None
        if file := os.environ.get("DPS_REFUSED_IMPORTS"):
            with Path(file).open("a", encoding="utf-8") as refused:
                refused.write(f"{Path(sys.argv[0]).name} {name}\n")
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Absent())
