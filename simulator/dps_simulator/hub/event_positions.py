"""Where in a partition a reader begins: what a filter of Event Hubs says.

Source: what the SDKs for Python, JavaScript and C# send as the filter ``apache.org:selector-filter:string``, e.g.
``amqp.annotation.x-opt-offset > '-1'``; Microsoft documentation, event-hubs-features ("Event retention") for positions
that have made room.
"""

from __future__ import annotations

import re

from dps_simulator.errors.table import EventHubs, ServiceError

from .telemetry import Partition

#: What is before the first message, and behind the last one that is there now.
BEGINNING, LATEST = "-1", "@latest"
#: Characters of a filter.
MAX_LENGTH = 1_000
_SELECTOR = re.compile(
    r"\s*amqp\.annotation\.x-opt-(?P<what>offset|sequence-number|enqueued-time|enqueuedtimeutc)\s*"
    r"(?P<operator>>=?)\s*(?P<quote>'?)(?P<value>[^']*?)(?P=quote)\s*"
)
_NUMBER = re.compile(r"-?[0-9]{1,19}")


def start_of(selector: str | None, partition: Partition) -> int:
    """The sequence number of the first message that a reader wants.

    Arguments:
        selector: the filter; ``None`` for everything that is there (inferred).
        partition: what is read.

    Raises:
        ServiceError: the filter is none of the three that there are, or names a position behind the last message.
    """
    if selector is None:
        return partition.first_sequence
    match = _SELECTOR.fullmatch(selector) if len(selector) <= MAX_LENGTH else None
    if match is None:
        raise _unreadable(selector)
    what, value, inclusive = match["what"], match["value"], match["operator"] == ">="
    if what == "offset" and value == LATEST:
        return partition.last_sequence + (0 if inclusive and len(partition) else 1)
    if _NUMBER.fullmatch(value) is None:
        raise _unreadable(selector)
    number = int(value)
    if what == "offset":
        _check("offset", number, partition.last_offset)
        return partition.first_where(lambda each: each.offset >= number + (not inclusive))
    if what == "sequence-number":
        _check("sequence number", number, partition.last_sequence)
        return max(number + (not inclusive), partition.first_sequence)
    # a moment that is still to come means the same as now (inferred)
    return partition.first_where(lambda each: each.enqueued.timestamp() * 1000 >= number + (not inclusive))


def _check(what: str, number: int, last: int) -> None:
    if number > last:
        raise ServiceError(
            EventHubs.POSITION_INVALID,
            f"The supplied {what} '{number}' is invalid. The last {what} in the system is '{last}'",
        )


def _unreadable(selector: str) -> ServiceError:
    return ServiceError(
        EventHubs.FILTER_INVALID,
        f"The filter {selector!r:.200} cannot be read; expected one such as amqp.annotation.x-opt-offset > "
        f"'{BEGINNING}', or with '{LATEST}', x-opt-sequence-number or x-opt-enqueued-time.",
    )
