"""Tables that refresh by themselves, and the timer behind them."""

import threading

import pytest
from patience import PATIENCE, wait_until

from helpers.views.explorer import Entry, Explorer
from helpers.views.live import LiveRefresh


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "live view"]


@pytest.fixture(autouse=True)
def nothing_stays():
    yield
    assert threads() == []


class Shelf:
    """Entries that can change or refuse to be read, and count how often they are read."""

    def __init__(self):
        self.entries = [Entry("one", ("one", "1"))]
        self.problem = None
        self.read_times = 0

    def read(self):
        self.read_times += 1
        if self.problem:
            raise self.problem
        return list(self.entries)


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def explorer(shelf):
    made = Explorer("Shelf", ("name", "number"), shelf.read)
    yield made
    made.close()


def switch(explorer):
    return explorer.widget.children[1].children[2]


def message(explorer):
    return explorer.widget.children[3].value


def test_it_calls_until_it_is_stopped():
    called = threading.Event()
    live = LiveRefresh(called.set, paused=lambda: None)
    assert not live.running
    live.start(0.05)
    assert live.running
    assert called.wait(PATIENCE)
    live.stop()
    assert not live.running
    assert threads() == []
    live.stop()


def test_starting_twice_leaves_one_thread():
    live = LiveRefresh(lambda: None, paused=lambda: None)
    live.start(5)
    live.start(6)
    assert len(threads()) == 1
    assert threads()[0].daemon
    live.stop()


def test_stopping_waits_for_a_refresh_under_way():
    began, go_on, done = threading.Event(), threading.Event(), []

    def refresh():
        began.set()
        go_on.wait(PATIENCE)
        done.append(True)

    live = LiveRefresh(refresh, paused=lambda: None)
    live.start(0.05)
    assert began.wait(PATIENCE)
    stopping = threading.Thread(target=live.stop)
    stopping.start()
    wait_until(lambda: not live.running)
    go_on.set()
    stopping.join(PATIENCE)
    assert done == [True]


def test_it_pauses_when_nobody_has_touched_it_for_long():
    now, paused, called = [0.0], threading.Event(), threading.Event()
    live = LiveRefresh(called.set, paused=paused.set, idle_seconds=900, clock=lambda: now[0])
    live.start(0.05)
    now[0] = 899
    assert called.wait(PATIENCE)
    live.touch()
    now[0] = 1000
    called.clear()
    assert called.wait(PATIENCE)
    assert not paused.is_set()
    now[0] = 899 + 900
    assert paused.wait(PATIENCE)
    assert not live.running
    live.stop()


def test_it_may_be_stopped_from_its_own_thread():
    ended = threading.Event()

    def refresh():
        live.stop()
        ended.set()

    live = LiveRefresh(refresh, paused=lambda: None)
    live.start(0.05)
    assert ended.wait(PATIENCE)
    live.stop()


@pytest.mark.parametrize("seconds", [0, -1, 0.01, float("nan"), "2", None, True])
def test_a_pause_that_cannot_be_is_refused(seconds):
    with pytest.raises(ValueError, match=r"at least 0\.05"):
        LiveRefresh(lambda: None, paused=lambda: None).start(seconds)


def test_a_live_table_shows_what_is_new_and_when(explorer, shelf):
    explorer.live(seconds=0.05)
    assert explorer.is_live
    assert switch(explorer).value is True
    assert "Refreshes every 0.05 seconds" in message(explorer)
    before = shelf.read_times
    wait_until(lambda: shelf.read_times > before + 1)
    assert "Last change" not in message(explorer)
    explorer.widget.children[1].children[0].value = "one"
    shelf.entries = [*shelf.entries, Entry("two", ("two", "2"))]
    wait_until(lambda: "Last change at " in message(explorer))
    assert "2 lines" in message(explorer)
    assert "two" in explorer.widget.children[0].value
    assert explorer.widget.children[1].children[0].value == "one"
    explorer.close()
    assert not explorer.is_live
    assert switch(explorer).value is False
    assert "not refresh by itself any more" in message(explorer)
    explorer.close()


def test_closing_reads_a_last_time(explorer, shelf):
    """Or the table would go on showing what the end of a notebook has removed."""
    explorer.live(seconds=60)
    shelf.entries = []
    explorer.close()
    assert explorer.rows == []
    assert "(nothing)" in explorer.widget.children[0].value
    assert "Read for the last time: 0 lines." in message(explorer)
    read_times = shelf.read_times
    explorer.close()
    assert shelf.read_times == read_times


def test_closing_when_the_service_is_gone(explorer, shelf):
    explorer.live(seconds=60)
    shelf.problem = ConnectionError("nobody there")
    explorer.close()
    assert not explorer.is_live
    assert "The last reading failed: ConnectionError: nobody there" in message(explorer)
    assert "not refresh by itself any more" in message(explorer)
    assert len(explorer.rows) == 1


def test_the_switch_does_the_same_and_works_again_after_close(explorer, shelf):
    explorer._pause = 0.05
    for times in (2, 4):
        switch(explorer).value = True
        assert explorer.is_live
        wait_until(lambda least=times: shelf.read_times > least)
        explorer.close()
        assert not explorer.is_live
    switch(explorer).value = True
    switch(explorer).value = False
    assert not explorer.is_live
    assert 'role="status"' in message(explorer)


def test_a_table_that_cannot_be_read_says_so_and_stops(explorer, shelf):
    shelf.problem = OSError("<no way>")
    explorer.live(seconds=0.05)
    wait_until(lambda: "Reading failed" in message(explorer))
    assert "OSError: &lt;no way&gt;" in message(explorer)
    wait_until(lambda: not explorer.is_live)
    assert switch(explorer).value is False
    assert explorer.rows == [("one", "1")]


@pytest.mark.parametrize("fails", [False, True])
def test_what_was_read_after_the_end_is_not_shown(explorer, shelf, fails):
    shelf.problem = OSError("late") if fails else None
    shelf.entries = []
    explorer._refresh_by_itself()
    assert explorer.rows == [("one", "1")]
    assert "late" not in message(explorer)


def test_a_table_that_nobody_touches_pauses_and_says_so(explorer):
    explorer.live(seconds=60)
    explorer._timer._ended.set()
    explorer._paused()
    assert switch(explorer).value is False
    assert "quarter of an hour" in message(explorer)


def test_looking_into_a_line_counts_as_a_touch(explorer):
    explorer._timer._touched = 0.0
    explorer.widget.children[1].children[0].value = "one"
    assert explorer._timer._touched > 0
