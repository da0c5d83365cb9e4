"""Which limit of a hub a request to its service API counts for, or a message from a device.

Source: Microsoft documentation, iot-hub-devguide-quotas-throttling. Inferred: that a bulk request counts as one, and
that statistics and purging count for nothing.
"""

from __future__ import annotations

import math
import re

from dps_simulator.common.http import Request
from dps_simulator.common.throttling import Throttle
from dps_simulator.wire.http import Route

#: KB that are counted at once, however small a message or a method is (documented).
_STEP = 4

#: Methods, path and limit; the first row that fits counts.
_TABLE: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("POST", re.compile(r"/twins/.+/methods"), "method_kilobytes_per_second"),
    ("GET", re.compile(r"/twins/.+"), "twin_reads_per_second"),
    ("PATCH PUT", re.compile(r"/twins/.+"), "twin_updates_per_second"),
    ("POST", re.compile(r"/devices/query"), "queries_per_minute"),
    ("GET PUT DELETE", re.compile(r"/devices(/\{\w+\}(/modules(/\{\w+\})?)?)?"), "registry_operations_per_minute"),
    ("POST", re.compile(r"/devices(/keys/regenerate)?"), "registry_operations_per_minute"),
)


#: Messages of one connection that may go without an acknowledgement. Source: paho-mqtt, max_inflight_messages.
MAX_UNKEPT = 20
#: The limits of what devices do with their twins, by the name of the operation in traces.
TWIN_LIMITS = {"twin get": "twin_reads_per_second", "twin reported": "twin_updates_per_second"}


def admit_telemetry(throttle: Throttle, host: str, *sizes: int) -> None:
    """Count messages that a device sends at once, or refuse them all.

    Arguments:
        throttle: the limits.
        host: host name of the hub, e.g. ``contoso-hub-1.azure-devices.test``.
        sizes: bytes of each body; on the daily quota, every 4 KB that one begins count as a message (documented). That
            each message of a batch counts as if it came alone is inferred.

    Raises:
        ServiceError: there are too many in this second, or on this day.
    """
    if throttle.active:
        throttle.take("telemetry_per_second", host, len(sizes))
        throttle.take("telemetry_per_day", host, sum(map(_steps, sizes)))


def limit_of(method: str, template: str) -> str:
    """The limit that a route counts for, empty for none."""
    for methods, pattern, limit in _TABLE:
        if method in methods.split() and pattern.fullmatch(template):
            return limit
    return ""


def admit_request(throttle: Throttle, host: str, request: Request, route: Route) -> None:
    """Count a request to the service API of a hub, or refuse it.

    Arguments:
        throttle: the limits.
        host: the hub's host name; every hub has its own numbers.
        request: the request.
        route: what it asks for.

    Raises:
        ServiceError: there are too many.
    """
    if not throttle.active:
        return
    throttle.check_faults(host)  # also for what has no limit
    limit = limit_of(route.method, route.template)
    if limit == "method_kilobytes_per_second":
        throttle.take(limit, host, _steps(len(request.body)) * _STEP)
    elif limit:
        throttle.take(limit, host)


def _steps(size: int) -> int:
    """How many steps so many bytes are; nothing is one."""
    return max(math.ceil(size / 1024 / _STEP), 1)
