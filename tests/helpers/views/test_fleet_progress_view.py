"""The progress of a fleet: counting, the rate, the bar, and what is read aloud."""

import threading

import pytest

from helpers.views import fleet_progress
from helpers.views.fleet_progress import FleetProgress


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def progress(clock):
    return FleetProgress(10, "Booting <meters>", clock)


def test_before_anything_is_counted(progress):
    assert str(progress) == repr(progress)
    assert str(progress) == "Booting <meters>\n0 of 10 assigned, 0 failed, 0 throttled, 10 remaining"
    assert progress.rate is None


def test_counting_and_the_rate(progress, clock):
    progress.begin()
    clock.now += 2
    progress.advance(assigned=3)
    progress.begin()
    clock.now += 2
    progress.advance(failed=1, throttled=5)
    assert progress.status == "3 of 10 assigned, 1 failed, 5 throttled, 6 remaining, 1.0 devices per second"
    clock.now += 1
    progress.advance(assigned=6)
    assert progress.rate == 2
    # when all are through, the time does not go on
    clock.now += 100
    assert progress.rate == 2
    progress.advance(throttled=1)
    assert progress.rate == 2


def test_the_clock_starts_by_itself(progress, clock):
    progress.advance(assigned=1)
    assert progress.rate is None
    clock.now += 1
    assert progress.rate == 1


def test_the_bar_follows_but_not_every_device(progress, clock):
    bar, status = progress.widget.children
    assert progress.widget is progress.widget
    progress.advance(assigned=1)
    assert bar.value == 0
    clock.now += 0.2
    progress.advance(assigned=1)
    assert bar.value == 2
    assert "2 of 10 assigned" in status.value
    progress.advance(assigned=1)
    assert bar.value == 2
    progress.refresh()
    assert bar.value == 3
    progress.advance(assigned=7)
    assert (bar.value, bar.bar_style) == (10, "success")


def test_failures_are_told_in_words_and_not_by_colour_alone(progress):
    bar, status = progress.widget.children
    progress.advance(assigned=8, failed=2)
    assert bar.bar_style == "warning"
    assert "8 of 10 assigned, 2 failed" in status.value


def test_more_than_all_do_not_overflow_the_bar(progress):
    progress.advance(assigned=12)
    bar, _ = progress.widget.children
    assert (bar.value, progress.remaining) == (10, 0)


def test_labels_and_forms(progress):
    bar, status = progress.widget.children
    assert bar.description == "Booting <meters>"
    assert "of 10" in bar.tooltip
    assert 'role="status"' in status.value
    data, _ = progress._repr_mimebundle_()
    assert "Booting &lt;meters&gt;" in data["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in data


def test_what_is_kept_of_a_notebook_cannot_be_stale(progress):
    """A notebook keeps what was displayed first; only the widget changes after that."""
    early, _ = progress._repr_mimebundle_()
    progress.advance(assigned=3)
    midway, _ = progress._repr_mimebundle_()
    for kind in ("text/plain", "text/html"):
        assert early[kind] == midway[kind]
        assert "10 devices" in early[kind]
        assert " of 10" not in early[kind]
    progress.advance(assigned=7)
    data, _ = progress._repr_mimebundle_()
    assert data["text/plain"] == str(progress)
    assert "10 of 10 assigned" in data["text/html"]


def test_after_closing_the_bar_stays(progress, clock):
    progress.advance(assigned=1)
    bar, status = progress.widget.children
    progress.close()
    clock.now += 5
    progress.advance(assigned=9)
    progress.refresh()
    assert bar.value == 1
    assert "1 of 10" in status.value
    assert progress.assigned == 10


def test_any_thread_may_count():
    progress = fleet_progress(800, "Booting")
    bar, _ = progress.widget.children

    def count():
        for _ in range(100):
            progress.advance(assigned=1)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (progress.assigned, progress.remaining, bar.value) == (800, 0, 800)


def test_no_devices_and_fewer():
    nothing = fleet_progress(0)
    bar, _ = nothing.widget.children
    assert (bar.max, nothing.remaining) == (1, 0)
    with pytest.raises(ValueError, match="total is -1"):
        fleet_progress(-1)
