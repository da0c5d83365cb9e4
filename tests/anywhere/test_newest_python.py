"""The notebooks and a part of the tests with a newer Python than that of this machine: that of Debian unstable."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.python_versions import LAST

HERE = Path(__file__).resolve().parent
#: Where asyncio, ssl, JSON, processes and packages have their say. All notebooks run besides.
PART = (
    "tests/simulator/server",
    "tests/simulator/wire",
    "tests/sdk/test_x509_end_to_end.py",
    "tests/sdk/test_tpm_end_to_end.py",
    "tests/helpers/diagnosis/test_attempts.py",
    "tests/helpers/views/test_view_messages.py",
    "tests/repository/test_python_versions.py",
    "tests/repository/test_start_up.py",
)
SKIPPED = 77


@pytest.mark.anywhere
@pytest.mark.skipif(sys.platform != "linux", reason="needs Debian, or a Linux with debootstrap")
@pytest.mark.timeout(2400)
def test_with_the_python_of_debian_unstable(repository):
    command = [HERE / "python_versions.sh", repository / "build" / "chroots" / "unstable", *PART]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == SKIPPED:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-20_000:]
    ran = re.search(r"^Python (3)\.(\d+)\.", said, re.MULTILINE)
    assert ran, said[-2_000:]
    # a newer one than the project knows is for somebody to look at; until then it must do all the same
    assert (int(ran[1]), int(ran[2])) >= LAST
    assert re.search(r"(\d+) notebooks: \1 passed", said)
