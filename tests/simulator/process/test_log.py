"""The log stays short, whatever happens and however often."""

import io
import logging

import pytest

from dps_simulator.process import log


@pytest.fixture
def clock():
    return [1000.0]


@pytest.fixture
def logged(tmp_path, clock):
    """A logger whose entries stand in a file."""
    file = tmp_path / "simulator.log"
    with file.open("a", encoding="utf-8") as stream:
        handler = log.BoundedHandler(stream, monotonic=lambda: clock[0])
        logger = logging.Logger("test")
        logger.addHandler(handler)
        yield logger, handler, file


def test_one_place_says_one_thing_a_minute(logged, clock):
    logger, _, file = logged
    for _ in range(3):
        for number in range(1_000):
            try:
                raise OSError(f"failure {number}")
            except OSError:
                logger.exception("it failed: %s", number)
        logger.warning("another place")
        clock[0] += log.PAUSE
    lines = file.read_text().splitlines()
    assert [line.split(": ", 1)[1] for line in lines if " test: " in line] == [
        "it failed: 0",
        "another place",
        "it failed: 0 (and 999 more of these before)",
        "another place",
        "it failed: 0 (and 999 more of these before)",
        "another place",
    ]
    assert sum("Traceback" in line for line in lines) == 3


def test_one_entry_is_bounded(logged):
    logger, _, file = logged
    logger.warning("%s", "x" * 1_000_000)
    assert file.stat().st_size < 25_000


def test_a_traceback_shows_no_secret(logged):
    logger, _, file = logged
    try:
        raise ValueError("SharedAccessKey=c2VjcmV0LXNlY3JldC1zZWNyZXQ=")
    except ValueError:
        logger.exception("%s failed", "HostName=h;SharedAccessKey=c2VjcmV0LXNlY3JldC1zZWNyZXQ=")
    assert "ValueError" in file.read_text()
    assert "c2VjcmV0" not in file.read_text()


def test_a_long_file_loses_its_older_part(logged, clock, monkeypatch):
    logger, handler, file = logged
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.NullHandler(), handler])
    log.keep_short(file.with_name("missing"))
    other = file.with_name("other")
    other.touch()
    log.keep_short(other)
    assert handler.file is None
    log.keep_short(file)
    assert handler.file == file
    for number in range(300):
        clock[0] += log.PAUSE
        logger.warning("%s %s", number, "x" * 10_000)
        assert file.stat().st_size <= log.LIMIT + 25_000
    lines = file.read_text().splitlines()
    assert lines[0] == "(older entries were dropped)"
    numbers = [int(line.split(": ", 1)[1].split()[0]) for line in lines[1:]]
    assert numbers == list(range(numbers[0], 300))
    assert len(numbers) > 20


def test_a_stream_without_a_file_is_left_alone(clock, tmp_path, monkeypatch):
    stream = io.StringIO()
    handler = log.BoundedHandler(stream, monotonic=lambda: clock[0])
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    log.keep_short(tmp_path)
    assert handler.file is None
    handler.file = tmp_path
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.warning("heard")
    assert stream.getvalue().endswith("heard\n")
