"""Exercises of the notebook on failures: a device with three wrong names, which remedy fits, how long to wait."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import mean
from typing import Any

from helpers import checks

from . import answers

REPAIR, WAIT, REGISTER = "repair", "wait", "register"
#: What happens to a device → what helps. The keys stand in the notebook.
REMEDIES: Mapping[str, str] = {
    "DPS refuses it with 401": REPAIR,
    "DPS refuses it with 429": WAIT,
    "its connection was dropped": WAIT,
    "its hub does not know it": REGISTER,
}
#: Seconds that no pause shall exceed.
LONGEST_PAUSE = 60.0

_SAMPLES = 200
_EARLY, _LATE, _VERY_LATE = 0, 4, 40


def address(answer: object, dps: Any, registration_id: str) -> None:
    """A device with a wrong host, a wrong ID scope and a wrong registration ID.

    Arguments:
        answer: ``provisioning_host``, ``id_scope`` and ``registration_id``, as the learner left them.
        dps: the target.
        registration_id: what the device is called.
    """
    given = answers.mapping(answer)
    host, scope, name = (answers.text(given.get(each)) for each in ("provisioning_host", "id_scope", "registration_id"))
    right = (host.lower(), scope, name.lower()) == (dps.provisioning_host, dps.id_scope, registration_id.lower())
    checks.exercise(
        "three names put right",
        right,
        hint="Compare host, ID scope and registration ID with the box of step 1 and with the name on the device.",
        mistakes=[
            not isinstance(answer, Mapping) and "Keep the dictionary with its three entries, and change the values.",
            "://" in host and "A host name has no https:// in front: the SDK chooses the protocol.",
            host.endswith("/") and "A host name has no slash at its end.",
            host.lower() == dps.service_host
            and "This is where you manage enrollments. Devices use the global host; the box of step 1 has both.",
            host.lower() in dps.hubs and "This is a hub. A new device does not know its hub yet; DPS tells it.",
            host.lower() != dps.provisioning_host and "The host is not the one at which devices register; see step 1.",
            scope.lower() in (dps.service_name.lower(), dps.service_host)
            and "This is the name of the service. The ID scope is another name of it, and begins with 0ne.",
            scope != dps.id_scope
            and scope.strip().lower() == dps.id_scope.lower()
            and "Nearly: copy the ID scope as it stands in the box of step 1, every letter and nothing around it.",
            scope != dps.id_scope and "The ID scope is not the one in the box of step 1.",
            name != name.strip() and "There is a space before or behind the registration ID.",
            name.lower() != registration_id.lower()
            and f"The device is called {registration_id}. A device registers under its own name, never its group's.",
        ],
    )


def remedies(answer: object) -> None:
    """What helps against each of four failures: put it right, wait and try again, or register again.

    Arguments:
        answer: ``repair``, ``wait`` or ``register`` for every failure.
    """
    given = answers.mapping(answer)
    told = {failure: answers.word(given.get(failure)) for failure in REMEDIES}
    refused, throttled, dropped, unknown = told.values()
    words = f"{REPAIR}, {WAIT} or {REGISTER}"
    checks.exercise(
        "a remedy for each failure",
        told == dict(REMEDIES),
        hint=f"Write one word behind each failure: {words}.",
        mistakes=[
            not isinstance(answer, Mapping) and "Keep the dictionary with its four entries, and fill in the words.",
            any(word not in ("", REPAIR, WAIT, REGISTER) for word in told.values())
            and f"There are three words to choose from: {words}.",
            not all(told.values()) and f"Some are still empty. Each needs one word: {words}.",
            refused == WAIT
            and "Who is refused with 401 today is refused tomorrow: waiting does not change a key. See step 2.",
            refused == REGISTER
            and "It was DPS that refused it, so registering again ends in the same way. See step 2.",
            throttled != WAIT and "429 says that the service is fine and has too much to do. See step 10.",
            dropped == REPAIR and "The device did nothing wrong. Networks fail. See step 11.",
            dropped == REGISTER and "The hub still knows the device: it only has to connect again. See step 11.",
            unknown == WAIT
            and "The hub will not learn to know the device by itself. Somebody has to ask DPS. See step 7.",
            unknown == REPAIR and "The device has what it needs to help itself: it can ask DPS again. See step 7.",
        ],
    )


def pauses(answer: object) -> None:
    """How long to wait before another attempt: longer each time, never too long, and never as long as all others.

    Arguments:
        answer: a function from the number of attempts that failed, from 0 on, to seconds.
    """
    early, late, very_late = (_called(answer, attempt) for attempt in (_EARLY, _LATE, _VERY_LATE))
    everything = [*early, *late, *very_late]
    complete = len(everything) == 3 * _SAMPLES
    never = complete and not any(everything)
    grows = complete and mean(late) > 2 * mean(early)
    differs = complete and len(set(late)) > 1 and len(set(very_late)) > 1
    bounded = complete and max(everything) <= LONGEST_PAUSE
    negative = bool(everything) and min(everything) < 0
    checks.exercise(
        "pauses that grow, stay below a minute and differ from device to device",
        complete and grows and differs and bounded and not negative,
        hint="Step 12 has such a pause: a random number between nothing and a limit that doubles.",
        mistakes=[
            not callable(answer) and "Keep the function your_pause(attempt), and change what it returns.",
            not complete
            and f"your_pause({_EARLY}) and your_pause({_VERY_LATE}) have to return seconds, and one does not.",
            never and "It does not wait at all yet. Step 12 has a pause that does.",
            negative and "Nobody can wait for less than nothing: some of the pauses are negative.",
            not grows and "The pauses do not grow. Double the limit with each attempt: 2.0 ** attempt.",
            not bounded
            and f"After {_VERY_LATE} attempts it waits for {_minutes(everything)}. Let min(...) end it at 60 seconds.",
            not differs
            and "All devices wait equally long, and come back in the same moment. random.uniform(0, limit) helps.",
        ],
    )


def _called(function: Any, attempt: int) -> list[float]:
    """What the function returns, many times; nothing when it fails or returns no number."""
    try:
        pauses = [float(function(attempt)) + 0.0 for _ in range(_SAMPLES)]
    except Exception:
        # whatever a learner wrote, the cell goes on
        return []
    return [] if any(map(math.isnan, pauses)) else pauses


def _minutes(pauses: list[float]) -> str:
    longest = max(pauses, default=0.0) / 60
    return f"{longest:.0f} minutes" if longest < 10_000 else "years"
