"""What the management API says when it refuses a request, and the checks that its parts share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dps_simulator.errors.table import ErrorKind, Provenance, ServiceError
from dps_simulator.wire.http import Call


def _kind(name: str, code: int, text: str) -> ErrorKind:
    return ErrorKind(f"Management{name}", code, text, Provenance.SIMULATOR_ONLY)


UNAUTHORIZED = _kind(
    "Unauthorized",
    401900,
    "The management token is missing or wrong. Every start of a simulator makes a new one: in a notebook run the cell "
    "with connect(...) again, elsewhere read endpoint.json again.",
)
INVALID = _kind("Invalid", 400901, "The request is invalid.")
HUB_UNKNOWN = _kind("HubUnknown", 404901, "There is no such hub.")
ROUTE = _kind("Route", 404900, "There is no such route.")
METHOD = _kind("Method", 405900, "The method is not allowed here.")
MEDIA_TYPE = _kind("MediaType", 415900, "The content type must be JSON.")
INTERNAL = _kind("Internal", 500900, "The simulator failed; see its log.")


def invalid(text: str) -> ServiceError:
    """The error for a request that is wrong."""
    return ServiceError(INVALID, text)


def no_hub(host: str) -> ServiceError:
    """The error for a hub that there is not."""
    return ServiceError(HUB_UNKNOWN, f"There is no hub {host!r:.260}.")


@contextmanager
def told_as_invalid() -> Iterator[None]:
    """Tell of a ``ValueError``, which says what was expected, as of a wrong request."""
    try:
        yield
    except ValueError as error:
        raise invalid(str(error)) from error


def whole_number(call: Call, name: str, default: int) -> int:
    """A parameter of the query."""
    text = call.request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise invalid(f"{name} is {text!r:.80}; expected a whole number.")
    return int(text)
