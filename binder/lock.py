"""Writes ``binder/requirements.txt``: everything that ``requirements.txt`` leads to, pinned, for Python 3.11 on Linux.

A flat file without ``-r`` lets Binder keep the installed layer when only notebooks change. ``make binder`` runs this.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
RUNTIME = (HERE / "runtime.txt").read_text(encoding="utf-8").strip().removeprefix("python-")
HEADER = f"""\
# Made by `make binder` from requirements.txt: all packages with their versions, for Python {RUNTIME} on Linux.
"""


def main() -> int:
    """Install ``requirements.txt`` into a fresh environment and write down what is in it."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" != RUNTIME or sys.platform != "linux":
        print(f"Binder runs Python {RUNTIME} on Linux: make PYTHON=python{RUNTIME} binder", file=sys.stderr)  # noqa: T201
        return 1
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "venv" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "-r", str(HERE.parent / "requirements.txt")], check=True)
        frozen = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout
    (HERE / "requirements.txt").write_text(HEADER + frozen, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
