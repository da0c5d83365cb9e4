"""A registration as it is kept: whose it is, how far it has come, and the state that answers show.

Documents of the store become these types where they are read, and documents again where they are written. Fields that
registrations of earlier versions lack have their defaults here.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from dps_simulator.common import etags
from dps_simulator.common.ports import Document
from dps_simulator.credentials.tpm_keys import SecretForTpm, TpmPublicKey
from dps_simulator.errors.table import ServiceError
from dps_simulator.errors.timestamps import azure_timestamp
from dps_simulator.provisioning.enrollments.book import Enrollment
from dps_simulator.provisioning.enrollments.kinds import INDIVIDUAL

from .states import TRANSITIONS, Event, Status


class Place(NamedTuple):
    """Where a device was put.

    Attributes:
        host: host name of the hub.
        device_id: the device's ID in that hub, which may differ from its registration ID.
    """

    host: str
    device_id: str

    def to_document(self) -> Document:
        """The JSON object under which the store keeps it."""
        return {"host": self.host, "deviceId": self.device_id}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a device was not assigned.

    Attributes:
        code: six digits of the error table.
        message: the sentence that the device is told, which names no secret.
    """

    code: int
    message: str

    @classmethod
    def of(cls, error: ServiceError) -> Failure:
        """What a device is told of an error."""
        return cls(error.kind.code, error.message)

    def to_document(self) -> Document:
        """How it is kept until the device asks."""
        return {"errorCode": self.code, "errorMessage": self.message}


@dataclass(frozen=True, slots=True)
class AllocationAnswer:
    """What a webhook decided.

    Attributes:
        host: host name of the hub that it chose; it is among those that it was offered.
        initial_twin: replaces that of the enrollment and whatever migration would bring; ``None`` when it says nothing.
        payload: for the device, ``None`` when there is none.
    """

    host: str
    initial_twin: Document | None = field(default=None, repr=False)
    payload: Document | None = field(default=None, repr=False)

    def to_document(self) -> Document:
        """How it is kept until the device is assigned."""
        return {"host": self.host, "initialTwin": self.initial_twin, "payload": self.payload}


def _allocation(document: Mapping[str, Any] | None) -> AllocationAnswer | Failure | None:
    if document is None:
        return None
    if "errorCode" in document:
        return Failure(document["errorCode"], document["errorMessage"])
    return AllocationAnswer(document["host"], document["initialTwin"], document["payload"])


@dataclass(frozen=True, slots=True)
class RegisteredTpm:
    """The TPM with which a device registered.

    Attributes:
        endorsement_key, storage_root_key: its public keys, base64.
        hub_key: the key that the device has in its hub, base64; empty before it is in one. Another than before only
            once the hub has it, so that a device never gets a key with which the hub would refuse it.
    """

    endorsement_key: str
    storage_root_key: str
    hub_key: str = field(default="", repr=False)

    def to_document(self) -> Document:
        """The JSON object under which the store keeps it, the hub key included."""
        return {
            "endorsementKey": self.endorsement_key,
            "storageRootKey": self.storage_root_key,
            "hubKey": self.hub_key,
        }

    def has_keys_of(self, other: RegisteredTpm | None) -> bool:
        """Whether the other one is the same TPM, not cleared in between."""
        return other is not None and replace(other, hub_key=self.hub_key) == self


class RegistrationState(NamedTuple):
    """What answers show of a registration; ``None`` stands for what they leave out.

    Attributes:
        registration_id: in the spelling of the first registration.
        created: when that was, as answers write times.
        status: how far the registration has come.
        updated: when that last changed, as answers write times.
        etag: changes with every change of the state, for ``If-Match``.
        place, substatus: where the device is and how it came there, of one that is assigned.
        failure: why the device is not assigned, of one that failed.
        payload: what a webhook sends the device.
    """

    registration_id: str
    created: str
    status: Status
    updated: str
    etag: str
    place: Place | None = None
    substatus: str | None = None
    failure: Failure | None = None
    payload: Document | None = None

    def __repr__(self) -> str:
        # what a webhook sends the device is nobody else's
        shown = (f"{name}={value!r}" for name, value in self._asdict().items() if name != "payload")
        return f"RegistrationState({', '.join(shown)})"

    @classmethod
    def new(cls, registration_id: str, earlier: RegistrationState | None, now: datetime) -> RegistrationState:
        """That of a device that registers.

        Arguments:
            registration_id: the ID in the spelling of the device; a later registration keeps that of the first.
            earlier: how its last registration ended, ``None`` for the first one.
            now: the present time (aware, in UTC).
        """
        time = azure_timestamp(now)
        if earlier is not None:
            registration_id, created, before = earlier.registration_id, earlier.created, earlier.status
        else:
            created, before = time, Status.UNASSIGNED
        return cls(registration_id, created, TRANSITIONS[before, Event.REGISTER], time, etags.new_etag(now))

    def after(self, event: Event, moment: datetime, **facts: Any) -> RegistrationState:
        """The next state, with nothing of this one but whose it is.

        Arguments:
            event: what happened, see :data:`~dps_simulator.provisioning.registration.states.TRANSITIONS`.
            moment: when it happened (aware, in UTC).
            facts: ``place``, ``substatus``, ``failure`` and ``payload``, as far as there are any.
        """
        status = TRANSITIONS[self.status, event]
        time, etag = azure_timestamp(moment), etags.new_etag(moment)
        return RegistrationState(self.registration_id, self.created, status, time, etag, **facts)

    @property
    def is_final(self) -> bool:
        """Whether the registration has ended up here, and is not under way any more."""
        return self.status is not Status.ASSIGNING

    def to_json(self) -> Document:
        """As answers show it, and as it is kept.

        Source: recorded answers of the service for the order, and for the payload, which stands there only when a
        webhook gave one, the published API description.
        """
        place, failure = self.place, self.failure
        shown = {
            "registrationId": self.registration_id,
            "createdDateTimeUtc": self.created,
            "assignedHub": None if place is None else place.host,
            "deviceId": None if place is None else place.device_id,
            "status": self.status.value,
            "substatus": self.substatus,
            "errorCode": None if failure is None else failure.code,
            "errorMessage": None if failure is None else failure.message,
            "lastUpdatedDateTimeUtc": self.updated,
            "etag": self.etag,
            "payload": self.payload,
        }
        return {name: value for name, value in shown.items() if value is not None}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> RegistrationState:
        """What :meth:`to_json` made."""
        hub, code = document.get("assignedHub"), document.get("errorCode")
        return cls(
            registration_id=document["registrationId"],
            created=document["createdDateTimeUtc"],
            status=Status(document["status"]),
            updated=document["lastUpdatedDateTimeUtc"],
            etag=document["etag"],
            place=None if hub is None else Place(hub, document["deviceId"]),
            substatus=document.get("substatus"),
            failure=None if code is None else Failure(code, document["errorMessage"]),
            payload=document.get("payload"),
        )


@dataclass(slots=True, kw_only=True)
class Registration:
    """One registration and its newest operation.

    Attributes:
        enrollment_kind, enrollment_key: the enrollment that it belongs to.
        key_spelling: the registration ID in the spelling that the device's key belongs to.
        leaf_thumbprint: SHA-256 of the certificate that the device showed, empty without one.
        tpm: the TPM that it showed, ``None`` without one.
        place: where the device was put last, ``None`` before the first time.
        api_version: the version with which it registered, empty when unknown.
        payload: what it sent along for the webhook, as long as that was not asked.
        operation: ID of the newest operation, with which the device polls.
        registered: Unix time in seconds at which that began, ``None`` when unknown.
        allocation: what a webhook decided, as long as the device is not assigned.
        waiting: whether a webhook is being asked.
        polls: how many polls are still told that it is being assigned.
        due: Unix time in seconds at which it is assigned, ``None`` where that does not depend on time.
        reason: why it failed, where the service would not tell.
        state: what answers show of it.
    """

    enrollment_kind: str
    enrollment_key: str
    key_spelling: str
    leaf_thumbprint: str = ""
    tpm: RegisteredTpm | None = None
    place: Place | None = None
    api_version: str = ""
    payload: object = field(default=None, repr=False)
    operation: str
    registered: float | None = None
    allocation: AllocationAnswer | Failure | None = None
    waiting: bool = False
    polls: int = 0
    due: float | None = None
    reason: str = ""
    state: RegistrationState

    @property
    def is_due(self) -> bool:
        """Whether it is assigned as soon as its time has come."""
        return self.due is not None and not self.state.is_final

    @property
    def parent(self) -> str:
        """The group whose registrations are listed with this one, empty for that of an individual enrollment."""
        return "" if self.enrollment_kind == INDIVIDUAL.name else self.enrollment_key

    @property
    def evidence(self) -> str:
        """With what the device proved itself, as a webhook is told."""
        if self.tpm is not None:
            return "tpm"
        return "x509" if self.leaf_thumbprint else "symmetricKey"

    def belongs_to(self, enrollment: Enrollment) -> bool:
        """Whether it is the enrollment through which the device registered."""
        return (self.enrollment_kind, self.enrollment_key) == (enrollment.kind.name, enrollment.key)

    def hub_secret(self, place: Place) -> SecretForTpm | None:
        """The hub key of a device with a TPM, for that TPM alone; ``None`` for other devices."""
        if self.tpm is None or not self.tpm.hub_key:
            return None
        endorsement, storage_root = (
            TpmPublicKey.parse(base64.b64decode(key)) for key in (self.tpm.endorsement_key, self.tpm.storage_root_key)
        )
        address = f"{place.host}/devices/{place.device_id}"
        return SecretForTpm(endorsement, storage_root, base64.b64decode(self.tpm.hub_key), address)

    def to_document(self) -> Document:
        """How it is kept."""
        return {
            "enrollmentKind": self.enrollment_kind,
            "enrollmentKey": self.enrollment_key,
            "keySpelling": self.key_spelling,
            "leafThumbprint": self.leaf_thumbprint,
            "tpm": None if self.tpm is None else self.tpm.to_document(),
            "assignment": None if self.place is None else self.place.to_document(),
            "apiVersion": self.api_version,
            "payload": self.payload,
            "operation": self.operation,
            "registered": self.registered,
            "allocation": None if self.allocation is None else self.allocation.to_document(),
            "waiting": self.waiting,
            "polls": self.polls,
            "due": self.due,
            "reason": self.reason,
            "state": self.state.to_json(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Registration:
        """What :meth:`to_document` made, of this version or an earlier one."""
        tpm, place = document.get("tpm"), document["assignment"]
        return cls(
            enrollment_kind=document["enrollmentKind"],
            enrollment_key=document["enrollmentKey"],
            key_spelling=document["keySpelling"],
            leaf_thumbprint=document.get("leafThumbprint", ""),
            tpm=RegisteredTpm(tpm["endorsementKey"], tpm["storageRootKey"], tpm["hubKey"]) if tpm else None,
            place=None if place is None else Place(place["host"], place["deviceId"]),
            api_version=document.get("apiVersion", ""),
            payload=document.get("payload"),
            operation=document.get("operation", ""),
            registered=document.get("registered"),
            allocation=_allocation(document.get("allocation")),
            waiting=document.get("waiting", False),
            polls=document["polls"],
            due=document["due"],
            reason=document.get("reason", ""),
            state=RegistrationState.from_document(document["state"]),
        )
