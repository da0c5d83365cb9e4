"""How tests wait: for an event, never for a time.

A machine may be ten times slower than the one where a test was written. What has to come gets so much time that only
something broken exceeds it, and is noticed as soon as it is there; what must not happen is shown by an event that comes
after it, or by a clock that the test moves itself.
"""

import time

import psutil

#: Seconds that a test waits for what has to come. They pass only where something is broken.
PATIENCE = 90
#: The same for a run of hundreds of tests, which takes a minute on a quiet machine.
RUN_PATIENCE = 1_500


def wait_until(condition, what="it", pause=0.005):
    """Wait until a condition holds, and return what it said; how long that takes says nothing.

    Arguments:
        condition: called again and again.
        what: what is waited for, for the message; a function is called for it.
        pause: seconds between two looks.
    """
    end = time.monotonic() + PATIENCE
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{what() if callable(what) else what} did not come true in {PATIENCE} seconds")
        time.sleep(pause)
    return result


def is_running(process_id):
    """Whether a process runs. One that has ended, and whose parent has not asked how, does not."""
    try:
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
