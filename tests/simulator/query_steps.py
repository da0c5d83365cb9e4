"""Does the work of a query to its end, as whoever has nobody else to serve would."""


def finished(steps):
    """The page that the steps come to."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def paused(steps):
    """The page, and how often the work paused."""
    pauses = 0
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value, pauses
        pauses += 1
