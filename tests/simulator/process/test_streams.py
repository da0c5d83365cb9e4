"""What is said never fails because of where it goes."""

import subprocess
import sys

import pytest

from dps_simulator.process import streams

SAY = """
import sys
from dps_simulator.process import streams
streams.make_usable()
print('grüße')
print('✓', file=sys.stderr)
"""


@pytest.mark.parametrize(("encoding", "said"), [("utf-8", "grüße".encode()), ("ascii", rb"gr\xfc\xdfe")])
def test_letters_that_cannot_be_shown_are_numbers(repository, encoding, said):
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", SAY],
        cwd=repository,
        env={"PYTHONIOENCODING": f"{encoding}:strict"},
        capture_output=True,
        check=True,
    )
    assert done.stdout.strip() == said
    assert done.stderr.strip() == ("✓".encode() if encoding == "utf-8" else rb"\u2713")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell of POSIX")
def test_closed_streams_swallow_everything(repository):
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", SAY], cwd=repository, check=False
    )
    assert done.returncode == 0


def test_what_is_no_stream_of_text_is_left_alone(monkeypatch):
    class Other:
        pass

    other = Other()
    monkeypatch.setattr(sys, "stdout", other)
    streams.make_usable()
    assert sys.stdout is other


def test_a_closed_stream_gets_a_substitute(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    streams.make_usable()
    with sys.stderr as substitute:
        print("nobody hears this", file=substitute)
