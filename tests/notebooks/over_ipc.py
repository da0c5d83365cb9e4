"""Runs a module whose Jupyter kernels must not depend on free ports: ``python over_ipc.py papermill ...``.

Jupyter picks five free TCP ports, lets go of them, and tells the kernel to take them. While other tests open many
connections, one of these ports is sometimes given to somebody else in between, and the kernel never answers. Over
Unix domain sockets nothing of the kind can happen. Everything else about the module is as it comes.
"""

import itertools
import os
import runpy
import shutil
import sys
import tempfile
from pathlib import Path

from jupyter_client.manager import KernelManager

_started_by = KernelManager.__init__
_numbers = itertools.count()


def _over_ipc(manager, *arguments, **keywords):
    keywords.setdefault("transport", "ipc")
    keywords.setdefault("connection_file", str(scratch / f"{next(_numbers)}.json"))
    _started_by(manager, *arguments, **keywords)


if __name__ == "__main__":
    # socket paths are short, so this does not go where pytest puts its folders
    scratch = Path(tempfile.mkdtemp(prefix="ipc-"))
    if sys.platform != "win32":
        KernelManager.__init__ = _over_ipc
    # as for `python -m`, and not the folder of this file
    sys.path[0] = os.getcwd()  # noqa: PTH109 - the import system wants text
    sys.argv[:] = sys.argv[1:]
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
