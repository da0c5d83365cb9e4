"""What an exception says of itself: what it was raised from, and the HTTP status that a service answered with."""

from __future__ import annotations


def status_of(problem: BaseException) -> int | None:
    """The HTTP status of an error of any of the service clients, if it has one."""
    status = getattr(problem, "status_code", None) or getattr(problem, "status", None)
    if status is None:
        status = getattr(getattr(problem, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def causes(error: BaseException) -> list[BaseException]:
    """The error and everything that it was raised from, outermost first."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    return chain
