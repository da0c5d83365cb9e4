"""The versions of the service API: which fields each of them knows.

The versions differ in nothing else here. A field that is younger than the version of a request is not shown to it, and
a write leaves it as it is: a client cannot mean to delete what it never saw (inferred; no recording of an old version
exists).

Source: Microsoft documentation, iot-dps concepts-device-reprovision, for reprovisioning after 2018-04-01; the C SDK,
which speaks 2018-04-01 and knows none of the fields of allocation; azure-iothub-provisioningserviceclient 1.2.0, which
speaks 2018-09-01-preview and knows them, but neither ``optionalDeviceInformation`` nor the payload of a registration;
the SDK for Java, which speaks 2019-03-31 and knows all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dps_simulator.common.ports import Document

#: Oldest first.
API_VERSIONS = ("2018-04-01", "2018-09-01-preview", "2019-03-31", "2021-10-01")

#: Since when an enrollment has the field; fields that are not here have always been.
ENROLLMENT_FIELDS: Mapping[str, str] = {
    "reprovisionPolicy": "2018-09-01-preview",
    "allocationPolicy": "2018-09-01-preview",
    "iotHubs": "2018-09-01-preview",
    "customAllocationDefinition": "2018-09-01-preview",
    "optionalDeviceInformation": "2019-03-31",
}
#: The same for a registration.
REGISTRATION_FIELDS: Mapping[str, str] = {
    "substatus": "2018-09-01-preview",
    "payload": "2019-03-31",
}


def _younger(fields: Mapping[str, str]) -> dict[str, frozenset[str]]:
    return {
        version: frozenset(name for name, since in fields.items() if since in API_VERSIONS[index + 1 :])
        for index, version in enumerate(API_VERSIONS)
    }


#: By version: the fields that are younger.
UNSEEN_IN_ENROLLMENTS = _younger(ENROLLMENT_FIELDS)
UNSEEN_IN_REGISTRATIONS = _younger(REGISTRATION_FIELDS)


def enrollment_for(version: str, shown: Document) -> Document:
    """An enrollment as a version shows it.

    Arguments:
        version: one of :data:`API_VERSIONS`.
        shown: as the newest version shows it.
    """
    shown = _without(shown, UNSEEN_IN_ENROLLMENTS[version])
    if "registrationState" in shown:
        return {**shown, "registrationState": registration_for(version, shown["registrationState"])}
    return shown


def registration_for(version: str, shown: Document) -> Document:
    """A registration as a version shows it.

    Arguments:
        version: one of :data:`API_VERSIONS`.
        shown: as the newest version shows it.
    """
    return _without(shown, UNSEEN_IN_REGISTRATIONS[version])


def _without(document: Document, names: Collection[str]) -> Document:
    kept: dict[str, Any] = {name: value for name, value in document.items() if name not in names}
    return kept
