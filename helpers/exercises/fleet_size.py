"""Exercises of the notebook on a large fleet: how long, how many services, how far to spread the start."""

from __future__ import annotations

import math
from typing import Any

from helpers import checks

#: What a provisioning service registers in a minute, unless Microsoft allows more.
#: Source: Microsoft documentation, iot-dps limits.
PER_MINUTE = 1_000
#: The devices of the exercises.
SCALES, SCOOTERS, PUMPS = 300_000, 400_000, 20_000

_SAMPLES = 400


def hours(answer: object) -> None:
    """How many hours it takes at least until all scales have registered at one service.

    Arguments:
        answer: the hours.
    """
    given, right = _number(answer), SCALES / PER_MINUTE / 60
    checks.exercise(
        "the hours that 300,000 scales need at one service",
        _close(given, right),
        hint="One service registers 1,000 devices a minute. Divide twice: first by devices, then by minutes.",
        mistakes=[
            given is None and "The answer is a number.",
            given == 0 and "It is still 0. How many minutes do 300,000 devices need, and how many hours is that?",
            _close(given, right * 60) and "These are the minutes. An hour has 60 of them.",
            _close(given, right * 3600) and "These are the seconds. Divide by 60 twice.",
            _close(given, right / 60) and "That is 1,000 registrations a second. The limit counts them by the minute.",
            _close(given, right / 24) and "These are days. Hours were asked for.",
        ],
    )


def services(answer: object) -> None:
    """How many services it takes until all scooters have registered within an hour.

    Arguments:
        answer: the number of services.
    """
    given, share = _number(answer), SCOOTERS / PER_MINUTE / 60
    checks.exercise(
        "the services that 400,000 scooters need for one hour",
        given == math.ceil(share),
        hint="What does one service register in an hour? How often do the scooters contain that?",
        mistakes=[
            given is None and "The answer is a whole number.",
            given == 0 and "It is still 0. One service registers 60,000 devices in an hour.",
            _close(given, share) and "Nearly. A part of a service cannot be had: which whole number is enough?",
            given == math.floor(share) and "Rounded down, the last scooters miss the hour. Round up.",
            _close(given, share * 60) and "That is for one minute. They have an hour.",
            given is not None and given > math.ceil(share) and "That is enough, and more than is needed.",
            given is not None and given < share and "That is too few: each service registers 60,000 in the hour.",
        ],
    )


def pause(answer: object) -> None:
    """How long a pump waits before it registers, when all get power at once.

    Arguments:
        answer: a function that returns seconds, different ones every time.
    """
    needed = PUMPS / PER_MINUTE * 60
    drawn = _drawn(answer)
    complete = len(drawn) == _SAMPLES
    longest, middle = max(drawn, default=0.0), sum(drawn) / max(len(drawn), 1)
    # of so many draws, the greatest is close to the end of the range
    enough = longest >= 0.97 * needed
    even = complete and abs(middle - longest / 2) < 0.1 * longest
    checks.exercise(
        "a pause that spreads 20,000 pumps widely enough",
        complete and len(set(drawn)) > _SAMPLES // 4 and min(drawn) >= 0 and enough and longest <= 2 * needed and even,
        hint="random.uniform(0, seconds) spreads evenly. How many seconds does one service need for 20,000 devices?",
        mistakes=[
            not callable(answer) and "Keep the function your_pause(), and change what it returns.",
            not complete and "your_pause() has to return seconds, and it does not.",
            complete and not any(drawn) and "It does not wait yet, so all pumps register in the same second.",
            drawn and min(drawn) < 0 and "Nobody can wait for less than nothing: some pauses are negative.",
            complete
            and len(set(drawn)) == 1
            and "Every pump waits equally long, so they still come all at once, only later. Let chance decide.",
            0.9 * needed / 60 <= longest <= 1.1 * needed / 60
            and "20 is right, in minutes. The function returns seconds.",
            not enough and "Spread like this, more than 1,000 pumps register in a minute. Take a longer time.",
            longest > 2 * needed and "That works, and the last pumps wait much longer than they must.",
            complete and not even and "The pauses are not even: in some minute, too many pumps register. Start at 0.",
        ],
    )


def _number(value: object) -> float | None:
    """The answer as a number; nothing for what is none."""
    # bool is a number to Python, and no answer
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        # Python's whole numbers have no end
        return None
    return number if math.isfinite(number) else None


def _close(given: float | None, right: float) -> bool:
    # people round; they do not give seven digits
    return given is not None and math.isclose(given, right, rel_tol=0.005)


def _drawn(function: Any) -> list[float]:
    """What a learner's function returns, many times; nothing when it fails or returns no number."""
    try:
        drawn = [_number(function()) for _ in range(_SAMPLES)]
    except Exception:
        # whatever a learner wrote, the cell goes on
        return []
    numbers = [each for each in drawn if each is not None]
    return numbers if len(numbers) == len(drawn) else []
