"""The two kinds of enrollments: individual enrollments and enrollment groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dps_simulator.errors.table import Dps, ErrorKind


@dataclass(frozen=True, slots=True)
class EnrollmentKind:
    """What tells individual enrollments and enrollment groups apart.

    Attributes:
        name: ``individual`` or ``group``.
        label: how texts call it.
        id_field: the field with the identifier.
        item_type: value of the header ``x-ms-item-type``.
        collection: where the store keeps them.
        plural: what may stand after ``FROM`` in a query, and the field with the items of a bulk operation.
        not_found: error when there is none with the identifier.
        exists: error when there already is one.
    """

    name: str
    label: str
    id_field: str
    item_type: str
    collection: str
    plural: str
    not_found: ErrorKind
    exists: ErrorKind


INDIVIDUAL = EnrollmentKind(
    "individual",
    "individual enrollment",
    "registrationId",
    "Enrollment",
    "enrollment",
    "enrollments",
    Dps.ENROLLMENT_NOT_FOUND,
    Dps.ENROLLMENT_EXISTS,
)
GROUP = EnrollmentKind(
    "group",
    "enrollment group",
    "enrollmentGroupId",
    "EnrollmentGroup",
    "enrollmentGroup",
    "enrollmentGroups",
    Dps.GROUP_NOT_FOUND,
    Dps.GROUP_EXISTS,
)
KINDS = {kind.name: kind for kind in (INDIVIDUAL, GROUP)}


@dataclass(frozen=True, slots=True)
class Situation:
    """What a field's check may look at besides the value.

    Attributes:
        kind: individual enrollment or group.
        linked_hub_hosts: host names of the hubs that are linked to the service.
        stored: the enrollment that is replaced, ``None`` for a new one.
        authority_names: names of the uploaded CA certificates.
    """

    kind: EnrollmentKind
    linked_hub_hosts: Sequence[str]
    stored: Mapping[str, Any] | None = field(repr=False)
    authority_names: Sequence[str] = ()
