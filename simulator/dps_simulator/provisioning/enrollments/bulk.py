"""Bulk operations: one request creates, updates or deletes up to ten enrollments.

Every item is a transaction of its own: what one item got stands whatever becomes of the others. Items are worked on in
the order in which they are given, as if they came one by one (inferred), so the second of two that create the same
enrollment finds the first one's.

Source: recorded answers of the service (2023-05-19) for the shape of the result, for conflicts, for ``update`` without
an etag and for ``delete`` without one; the published API description 2021-10-01 for modes and the maximum. What the
other failures of an item say is what a single PUT or DELETE would (inferred).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from dps_simulator.common.field_checks import checked_choice, checked_object, checked_text, wrong_body
from dps_simulator.common.identifiers import MAX_ID_LENGTH
from dps_simulator.common.ports import Document
from dps_simulator.errors.table import ServiceError, described

from .book import EnrollmentBook
from .kinds import EnrollmentKind

#: Source: the published API description, summary of both operations.
MAX_ITEMS = 10


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of the items.

    Attributes:
        kind: individual enrollments or groups.
        refusals: identifier and error of every item that failed, in the order of the request.
    """

    kind: EnrollmentKind
    refusals: tuple[tuple[str, ServiceError], ...]

    def to_json(self) -> Document:
        """The result as the service answers it, always with status 200."""
        errors = [
            {self.kind.id_field: identifier, "errorCode": error.kind.code, "errorStatus": error.message}
            for identifier, error in self.refusals
        ]
        return {"errors": errors, "isSuccessful": not errors}

    def reasons(self) -> dict[str, str]:
        """What the simulator knows and the answer does not tell, by identifier."""
        return {identifier: error.reason for identifier, error in self.refusals if error.reason}


def run_bulk(book: EnrollmentBook, body: object, *, unseen: Collection[str] = ()) -> BulkResult:
    """Run a bulk operation.

    Arguments:
        book: the enrollments.
        body: parsed JSON, ``{"mode": …, "enrollments": […]}`` or, of groups, ``enrollmentGroups``.
        unseen: see :meth:`EnrollmentBook.put`.

    Raises:
        ServiceError: the request as a whole is wrong, and nothing was done.
    """
    kind = book.kind
    if not isinstance(body, Mapping):
        raise wrong_body(f"The body must be a JSON object with mode and {kind.plural}.")
    work = _MODES[checked_choice("mode", body.get("mode"), tuple(_MODES))]
    items = _checked_items(kind, body.get(kind.plural))
    refusals: list[tuple[str, ServiceError]] = []
    for identifier, item in items:
        try:
            work(book, identifier, item, unseen)
        except ServiceError as error:
            refusals.append((identifier, error))
    return BulkResult(kind, tuple(refusals))


def _checked_items(kind: EnrollmentKind, items: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """The items with their identifiers. Without a text for one, no error could say which item it is about."""
    if not isinstance(items, list):
        raise wrong_body(f"{kind.plural} is {described(items)}; it must be an array.")
    if not 1 <= len(items) <= MAX_ITEMS:
        raise wrong_body(
            f"{kind.plural} has {len(items)} items; it must have 1 to {MAX_ITEMS}. Split it into several requests."
        )
    checked: list[tuple[str, Mapping[str, Any]]] = []
    for index, given in enumerate(items):
        item = checked_object(f"{kind.plural}[{index}]", given)
        identifier = item.get(kind.id_field)
        if not isinstance(identifier, str):
            field = f"{kind.plural}[{index}].{kind.id_field}"
            raise wrong_body(f"{field} is {described(identifier)}; it must be a text.")
        # longer ones fit nothing, and need not come back as long as they were
        checked.append((identifier[: MAX_ID_LENGTH + 1], item))
    return checked


# --- what an item means in each mode ----------------------------------------------------------------------------------


def _create(book: EnrollmentBook, identifier: str, item: Mapping[str, Any], unseen: Collection[str]) -> None:
    # an etag in it is that of another time: what was read is often written again
    book.put(identifier, item, unseen=unseen)


def _update(book: EnrollmentBook, identifier: str, item: Mapping[str, Any], unseen: Collection[str]) -> None:
    """With an etag (``*`` for any) the enrollment is replaced; without one it counts as existing already (recorded)."""
    etag = _etag(item)
    if etag is None:
        # an update never creates (inferred)
        book.get(identifier)
    book.put(identifier, item, etag, unseen=unseen)


def _update_if_match(book: EnrollmentBook, identifier: str, item: Mapping[str, Any], unseen: Collection[str]) -> None:
    if _etag(item) is None:
        raise wrong_body("etag is missing; updateIfMatchETag compares it.")
    _update(book, identifier, item, unseen)


def _delete(book: EnrollmentBook, identifier: str, item: Mapping[str, Any], _: Collection[str]) -> None:
    book.delete(identifier, _etag(item))


def _etag(item: Mapping[str, Any]) -> str | None:
    """The tag that the item was read with, ``None`` without one."""
    return checked_text("etag", item["etag"]) if item.get("etag") else None


_MODES: Mapping[str, Callable[[EnrollmentBook, str, Mapping[str, Any], Collection[str]], None]] = {
    "create": _create,
    "update": _update,
    "updateIfMatchETag": _update_if_match,
    "delete": _delete,
}
