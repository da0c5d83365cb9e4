"""Registrations: what a device that registers goes through, from ``unassigned`` to ``assigned`` in a hub.

Registering starts an operation; the client polls it until it is done. Nothing happens in the background: whoever
looks at a registration first brings it up to date, so a restart loses nothing and tests need no waiting.
"""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from typing import Any

from ..clock import Clock, azure_timestamp
from ..errors import Dps, ServiceError
from . import etags
from .allocation import allocate
from .attestation import device_credentials
from .enrollment_kinds import INDIVIDUAL, KINDS
from .enrollments import Enrollment, Enrollments
from .identifiers import lookup_key
from .paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Page, read_page
from .ports import Document, LinkedHub, Storage, StoredDocument
from .tpm_keys import SecretForTpm, TpmPublicKey

#: Recorded: an assignment took 0.29 s.
ASSIGNMENT_SECONDS = 0.3
#: Recorded (``&retry-after=3``). Always a whole number: one SDK never returns from a fraction.
RETRY_AFTER = 3
#: Operations are remembered this long, and at most so many of them (simulator-only limits).
OPERATION_SECONDS = 24 * 3600
MAX_OPERATIONS = 10_000
_PRUNED_AT_ONCE = 500
MAX_POLLS = 1_000


class Status(str, Enum):
    """The states of a registration, in the words of the API."""

    UNASSIGNED = "unassigned"
    ASSIGNING = "assigning"
    ASSIGNED = "assigned"
    FAILED = "failed"
    DISABLED = "disabled"


class Event(Enum):
    """What moves a registration from one state to the next."""

    REGISTER = "register"
    """The device registers, for the first time or again."""
    ASSIGN = "assign"
    """The device is in a hub."""
    FAIL = "fail"
    """No hub could be found, or it did not take the device."""
    REFUSE = "refuse"
    """The enrollment is disabled."""


#: The whole machine. Deleting a registration leads back to ``unassigned`` from everywhere.
TRANSITIONS: Mapping[tuple[Status, Event], Status] = {
    **{(status, Event.REGISTER): Status.ASSIGNING for status in Status},
    (Status.ASSIGNING, Event.ASSIGN): Status.ASSIGNED,
    (Status.ASSIGNING, Event.FAIL): Status.FAILED,
    (Status.ASSIGNING, Event.REFUSE): Status.DISABLED,
}


class TwinAction(Enum):
    """What becomes of the twin of a device that registers again."""

    KEEP = "keep"
    MOVE = "move"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Reprovisioning:
    """One row of the table of reprovisioning rules."""

    twin: TwinAction
    substatus: str


INITIAL_ASSIGNMENT = "initialAssignment"
DATA_MIGRATED = "deviceDataMigrated"
DATA_RESET = "deviceDataReset"

#: (the policy lets the hub change, the policy migrates data, the hub does change) → what happens.
#: Source: Microsoft documentation, iot-dps concepts-device-reprovision ("factory reset without changing IoT hubs" for
#: the third row). The substatus of a device that stays where it is, is inferred.
REPROVISIONING: Mapping[tuple[bool, bool, bool], Reprovisioning] = {
    (True, True, False): Reprovisioning(TwinAction.KEEP, INITIAL_ASSIGNMENT),
    (True, True, True): Reprovisioning(TwinAction.MOVE, DATA_MIGRATED),
    (True, False, False): Reprovisioning(TwinAction.RESET, DATA_RESET),
    (True, False, True): Reprovisioning(TwinAction.RESET, DATA_RESET),
    (False, True, False): Reprovisioning(TwinAction.KEEP, INITIAL_ASSIGNMENT),
    (False, False, False): Reprovisioning(TwinAction.KEEP, INITIAL_ASSIGNMENT),
}

_STATE_FIELDS = (
    "registrationId",
    "createdDateTimeUtc",
    "assignedHub",
    "deviceId",
    "status",
    "substatus",
    "errorCode",
    "errorMessage",
    "lastUpdatedDateTimeUtc",
    "etag",
)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a registration takes.

    Attributes:
        name: ``azure`` (answers "assigning" first, done after 0.3 s), ``instant`` (done in the first answer) or
            ``polls`` (done after a number of polls).
        polls: how many polls are answered with "assigning", for ``polls``.
    """

    name: str = "azure"
    polls: int = 0

    @classmethod
    def parse(cls, text: str) -> Pace:
        """Read ``azure``, ``instant`` or ``polls=3``.

        Raises:
            ValueError: it is none of these.
        """
        if text in ("azure", "instant"):
            return cls(text)
        match = re.fullmatch(r"polls=([0-9]{1,4})", text)
        if match is None or int(match[1]) > MAX_POLLS:
            raise ValueError(
                f"The pace is {text!r:.60}; it must be azure, instant or polls=n with n up to {MAX_POLLS}."
            )
        return cls("polls", int(match[1]))

    def __str__(self) -> str:
        return f"polls={self.polls}" if self.name == "polls" else self.name


@dataclass(frozen=True, slots=True)
class OperationStatus:
    """The answer to a register or poll request.

    Attributes:
        operation_id: what to poll.
        status: where the registration is.
        state: the registration, absent in the first answer while it is being assigned.
        retry_after: whole seconds until the next poll, while it is being assigned.
        secret: the key for the hub, for a device with a TPM; to be sent so that only this TPM can read it.
    """

    operation_id: str
    status: Status
    state: Mapping[str, Any] | None = None
    retry_after: int | None = None
    secret: SecretForTpm | None = field(default=None, repr=False)

    @property
    def http_status(self) -> int:
        """202 while the device is being assigned, else 200 - also when assigning failed."""
        return 202 if self.status is Status.ASSIGNING else 200

    def to_json(self) -> Document:
        """The body of the answer."""
        body: Document = {"operationId": self.operation_id, "status": self.status.value}
        if self.state is not None:
            body["registrationState"] = dict(self.state)
        return body


class Registrations:
    """All registrations and their operations.

    Arguments:
        storage: where they are kept.
        clock: the time.
        enrollments: whose devices register; deleting an enrollment deletes its registrations.
        hubs: tells the hubs that are linked now.
        pace: how long registering takes; may be changed at any time.
        id_scope: gives operation IDs the part that all of one service have in common.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        enrollments: Enrollments,
        hubs: Callable[[], Sequence[LinkedHub]],
        pace: Pace,
        id_scope: str = "",
    ) -> None:
        self.pace = pace
        self._storage = storage
        self._clock = clock
        self._enrollments = enrollments
        self._hubs = hubs
        self._tenant = hashlib.sha256(id_scope.encode()).hexdigest()[:16]
        self._registrations = storage.collection("registration")
        self._operations = storage.collection("operation")
        self._due = storage.collection("dueRegistration")
        self._operation_count = self._operations.count()
        enrollments.individuals.when_deleted(self._enrollment_deleted)
        enrollments.groups.when_deleted(self._enrollment_deleted)

    # --- for devices ------------------------------------------------------------------------------------------

    def register(
        self,
        registration_id: str,
        enrollment: Enrollment,
        leaf_thumbprint: str = "",
        tpm_keys: tuple[str, str] | None = None,
    ) -> OperationStatus:
        """Start a registration of a device whose attestation succeeded.

        Arguments:
            registration_id: in the spelling for which its key was derived.
            enrollment: where it belongs.
            leaf_thumbprint: SHA-256 of the certificate that it showed, empty without one.
            tpm_keys: endorsement key and storage root key of its TPM, base64; ``None`` without one.
        """
        now = self._clock.now()
        key = lookup_key(registration_id)
        operation_id = f"5.{self._tenant}.{uuid.uuid4()}"
        with self._storage.transaction():
            self._settle_due()
            earlier = self._registrations.get(key)
            created = earlier["state"]["createdDateTimeUtc"] if earlier else azure_timestamp(now)
            before = Status(earlier["state"]["status"]) if earlier else Status.UNASSIGNED
            record: Document = {
                "enrollmentKind": enrollment.kind.name,
                "enrollmentKey": enrollment.key,
                # the key that the device holds belongs to this spelling
                "keySpelling": registration_id,
                "leafThumbprint": leaf_thumbprint,
                "tpm": None if tpm_keys is None else _tpm_record(*tpm_keys, earlier),
                "assignment": earlier["assignment"] if earlier else None,
                "polls": self.pace.polls,
                "due": now.timestamp() + ASSIGNMENT_SECONDS if self.pace.name == "azure" else None,
                "state": {
                    "registrationId": earlier["state"]["registrationId"] if earlier else registration_id,
                    "createdDateTimeUtc": created,
                    "status": TRANSITIONS[before, Event.REGISTER].value,
                    "lastUpdatedDateTimeUtc": azure_timestamp(now),
                    "etag": etags.new_etag(now),
                },
            }
            operation: Document = {"registration": key, "created": now.timestamp(), "state": None}
            if self.pace.name == "instant":
                self._settle(record, now)
                operation["state"] = record["state"]
            self._keep(key, record)
            self._operations.put(operation_id, operation, parent=key)
            self._prune(now)
        return self._status(operation_id, record, operation, first=True)

    def poll(self, registration_id: str, operation_id: str) -> OperationStatus:
        """Ask how far an operation is.

        An operation that a newer one of the same registration overtook ends as that one does.

        Raises:
            ServiceError: the registration has no such operation.
        """
        key = lookup_key(registration_id)
        with self._storage.transaction():
            self._settle_due()
            operation = self._operations.get(operation_id)
            record = self._registrations.get(key)
            if operation is None or operation["registration"] != key or record is None:
                raise ServiceError(
                    Dps.OPERATION_NOT_FOUND,
                    reason=f"registration {registration_id!r} has no operation {operation_id!r:.120}",
                )
            if operation["state"] is None:
                self._count_poll(key, record)
                if record["state"]["status"] != Status.ASSIGNING.value:
                    operation["state"] = record["state"]
                    self._operations.put(operation_id, operation, parent=key)
        return self._status(operation_id, record, operation, first=False)

    # --- for the service API ------------------------------------------------------------------------------------

    def find(self, registration_id: str) -> Document | None:
        """The state of a registration as answers show it, or ``None``."""
        with self._storage.transaction():
            self._settle_due()
            record = self._registrations.get(lookup_key(registration_id))
        return None if record is None else record["state"]

    def get(self, registration_id: str) -> Document:
        """The state of a registration as answers show it.

        Raises:
            ServiceError: the device never registered.
        """
        state = self.find(registration_id)
        if state is None:
            raise ServiceError(Dps.REGISTRATION_NOT_FOUND, reason=f"{registration_id!r:.160} never registered")
        return state

    def look_up(self, registration_id: str) -> Document:
        """What a device is told that asks for its registration without registering.

        Raises:
            ServiceError: it never registered.
        """
        with self._storage.transaction():
            state = self.get(registration_id)
            record = self._registrations.get(lookup_key(registration_id))
        return {**({} if record is None else self._proof(record)), **state}

    def delete(self, registration_id: str, if_match: str | None = None) -> None:
        """Forget a registration; the device stays in its hub.

        Raises:
            ServiceError: the device never registered, or the tag is stale.
        """
        with self._storage.transaction():
            state = self.get(registration_id)
            etags.check(if_match, state["etag"])
            self._forget(lookup_key(registration_id))

    def query(self, group_id: str, *, size: int = DEFAULT_PAGE_SIZE, continuation: str | None = None) -> Page:
        """A page of the registrations of an enrollment group.

        Raises:
            ServiceError: there is no such group, or the token is wrong.
        """
        group = self._enrollments.groups.get(group_id)
        with self._storage.transaction():
            self._settle_due()
            return read_page(
                self._registrations,
                scope=f"registration {group.key}",
                size=size,
                continuation=continuation,
                parent=group.key,
            )

    def shown(self, document: StoredDocument) -> Document:
        """A document of a query's page as answers show it."""
        state: Document = document.body["state"]
        return state

    def state_of(self, enrollment: Enrollment) -> Document:
        """The registration of an individual enrollment; ``unassigned`` before its device registered (recorded)."""
        with self._storage.transaction():
            self._settle_due()
            record = self._registrations.get(enrollment.key)
        if record is None or not _belongs(record, enrollment):
            return {"registrationId": enrollment.identifier, "status": Status.UNASSIGNED.value}
        state: Document = record["state"]
        return state

    def settle(self) -> None:
        """Bring every registration up to date whose time has come. Reading one does the same."""
        with self._storage.transaction():
            self._settle_due()

    def clear(self) -> None:
        """Forget everything."""
        for documents in (self._registrations, self._operations, self._due):
            documents.clear()
        self._operation_count = 0

    # --- the machine ------------------------------------------------------------------------------------------

    def _settle_due(self) -> None:
        now = self._clock.now().timestamp()
        for waiting in self._due.page(limit=MAX_PAGE_SIZE):
            if waiting.body["due"] <= now:
                record = self._registrations.get(waiting.key)
                if record is not None:
                    self._settle(record, datetime.fromtimestamp(waiting.body["due"], timezone.utc))
                    self._keep(waiting.key, record)

    def _count_poll(self, key: str, record: Document) -> None:
        if record["state"]["status"] != Status.ASSIGNING.value or record["due"] is not None:
            return
        if record["polls"] > 0:
            record["polls"] -= 1
        else:
            self._settle(record, self._clock.now())
        self._keep(key, record)

    def _keep(self, key: str, record: Document) -> None:
        parent = "" if record["enrollmentKind"] == INDIVIDUAL.name else record["enrollmentKey"]
        self._registrations.put(key, record, parent=parent)
        if record["state"]["status"] == Status.ASSIGNING.value and record["due"] is not None:
            self._due.put(key, {"due": record["due"]})
        else:
            self._due.delete(key)

    def _settle(self, record: Document, moment: datetime) -> None:
        """Decide a registration that is being assigned."""
        facts: dict[str, Any] = {}
        try:
            enrollment = self._enrollments.of(KINDS[record["enrollmentKind"]]).get(record["enrollmentKey"])
            event = Event.REFUSE if enrollment.is_disabled else Event.ASSIGN
            if event is Event.ASSIGN:
                # a transaction of its own: an assignment that fails half way must leave the hubs as they were
                with self._storage.transaction():
                    facts = self._assign(record, enrollment)
        except ServiceError as error:
            event = Event.FAIL
            facts = {"errorCode": error.kind.code, "errorMessage": error.message}
        state = {
            **{name: record["state"][name] for name in ("registrationId", "createdDateTimeUtc")},
            **facts,
            "status": TRANSITIONS[Status(record["state"]["status"]), event].value,
            "lastUpdatedDateTimeUtc": azure_timestamp(moment),
            "etag": etags.new_etag(moment),
        }
        record["state"] = {name: state[name] for name in _STATE_FIELDS if name in state}
        record["due"], record["polls"] = None, 0

    def _assign(self, record: Document, enrollment: Enrollment) -> dict[str, str]:
        """Put the device into its hub; what the registration then says of it."""
        hubs = {lookup_key(hub.host): hub for hub in self._hubs()}
        policy = enrollment.reprovision_policy
        earlier: dict[str, str] | None = record["assignment"]
        if earlier is not None and not policy.update_hub_assignment:
            target = earlier
            if lookup_key(target["host"]) not in hubs:
                raise ServiceError(Dps.HUB_NOT_FOUND)
        else:
            host = allocate(
                enrollment.allocation_policy,
                record["state"]["registrationId"],
                enrollment.hub_hosts,
                [hub.host for hub in hubs.values()],
            )
            target = {"host": host, "deviceId": enrollment.device_id or record["state"]["registrationId"]}
        hub, device = hubs[lookup_key(target["host"])], target["deviceId"]
        initial = _initial_twin(enrollment)
        substatus = INITIAL_ASSIGNMENT
        # a device that is already there, made by hand or by an earlier registration, keeps its twin
        twin: Mapping[str, Any] | None = None if hub.has_device(device) else initial
        moves = earlier is not None and earlier != target
        old_hub = hubs.get(lookup_key(earlier["host"])) if earlier is not None and moves else None
        if earlier is not None:
            rule = REPROVISIONING[policy.update_hub_assignment, policy.migrate_device_data, moves]
            substatus = rule.substatus
            if rule.twin is TwinAction.RESET:
                twin = initial
            elif rule.twin is TwinAction.MOVE:
                twin = None if old_hub is None else old_hub.remove_device(earlier["deviceId"])
                if twin is None:
                    # what cannot be moved, because the hub or the device is gone, begins anew
                    twin, substatus = initial, DATA_RESET
        tpm = record.get("tpm") or {}
        credentials = device_credentials(
            enrollment, record["keySpelling"], record.get("leafThumbprint", ""), tpm.get("endorsementKey", "")
        )
        hub.provision_device(
            device,
            credentials,
            iot_edge=enrollment.is_iot_edge,
            initial_twin=twin,
        )
        if earlier is not None and old_hub is not None:
            # only now: a new hub that refuses the device must not cost it its old one
            old_hub.remove_device(earlier["deviceId"])
        record["assignment"] = target
        if tpm:
            # not before the hub has it, so that a device never gets a key with which the hub would refuse it
            tpm["hubKey"] = credentials.primary_key if enrollment.is_for_tpm else ""
        return {"assignedHub": hub.host, "deviceId": device, "substatus": substatus}

    # --- forgetting -----------------------------------------------------------------------------------------------

    def _forget(self, key: str) -> None:
        self._registrations.delete(key)
        self._due.delete(key)
        while operations := self._operations.page(limit=MAX_PAGE_SIZE, parent=key):
            for operation in operations:
                self._operations.delete(operation.key)

    def _enrollment_deleted(self, enrollment: Enrollment) -> None:
        if enrollment.kind is INDIVIDUAL:
            record = self._registrations.get(enrollment.key)
            if record is not None and _belongs(record, enrollment):
                self._forget(enrollment.key)
            return
        while members := self._registrations.page(limit=MAX_PAGE_SIZE, parent=enrollment.key):
            for member in members:
                self._forget(member.key)

    def _prune(self, now: datetime) -> None:
        """Forget operations that are too old, a few at a time, and the oldest when there are too many."""
        self._operation_count += 1
        for operation in self._operations.page(limit=2):
            if operation.body["created"] < now.timestamp() - OPERATION_SECONDS:
                self._operations.delete(operation.key)
        if self._operation_count > MAX_OPERATIONS:
            self._operation_count = self._operations.count()
            if self._operation_count > MAX_OPERATIONS:
                for operation in self._operations.page(limit=_PRUNED_AT_ONCE):
                    self._operations.delete(operation.key)
                    self._operation_count -= 1

    def _status(self, operation_id: str, record: Document, operation: Document, *, first: bool) -> OperationStatus:
        if operation["state"] is not None:
            decided = {**self._proof(record), **operation["state"]}
            status = Status(operation["state"]["status"])
            secret = _hub_secret(record, decided) if status is Status.ASSIGNED else None
            return OperationStatus(operation_id, status, decided, secret=secret)
        state = {"registrationId": record["state"]["registrationId"], "status": Status.ASSIGNING.value}
        # whoever counts polls does not want to wait for them
        retry_after = RETRY_AFTER if record["due"] is not None else 0
        return OperationStatus(operation_id, Status.ASSIGNING, None if first else state, retry_after)

    def _proof(self, record: Document) -> Document:
        """What an answer to a device tells about its attestation: nothing for a symmetric key.

        For a TPM it tells the hub key, which is no text to be shown: see :attr:`OperationStatus.secret`.

        Source: the documented answers of iot-dps-https-x509-support (an empty object) and of
        iot-dps-https-sym-key-support (none); the group's name is a field of the published API description.
        """
        if not record.get("leafThumbprint"):
            return {}
        if record["enrollmentKind"] == INDIVIDUAL.name:
            return {"x509": {}}
        group = self._enrollments.groups.find(record["enrollmentKey"])
        return {"x509": {} if group is None else {"enrollmentGroupId": group.identifier}}


def _tpm_record(endorsement_key: str, storage_root_key: str, earlier: Document | None) -> Document:
    """What a registration keeps of a TPM: its keys and, until the hub gets a new one, the hub key that it has."""
    kept = (earlier or {}).get("tpm") or {}
    same = (kept.get("endorsementKey"), kept.get("storageRootKey")) == (endorsement_key, storage_root_key)
    hub_key = kept["hubKey"] if same else ""
    return {"endorsementKey": endorsement_key, "storageRootKey": storage_root_key, "hubKey": hub_key}


def _hub_secret(record: Mapping[str, Any], state: Mapping[str, Any]) -> SecretForTpm | None:
    """The hub key of a device with a TPM; ``None`` for other devices."""
    tpm = record.get("tpm") or {}
    if not tpm.get("hubKey"):
        return None
    endorsement, storage_root = (
        TpmPublicKey.parse(base64.b64decode(tpm[name])) for name in ("endorsementKey", "storageRootKey")
    )
    address = f"{state['assignedHub']}/devices/{state['deviceId']}"
    return SecretForTpm(endorsement, storage_root, base64.b64decode(tpm["hubKey"]), address)


def _belongs(record: Mapping[str, Any], enrollment: Enrollment) -> bool:
    return (record["enrollmentKind"], record["enrollmentKey"]) == (enrollment.kind.name, enrollment.key)


def _initial_twin(enrollment: Enrollment) -> Document:
    """The initial twin with all its parts, so that hubs need not know how it was written."""
    twin = enrollment.initial_twin or {}
    desired = (twin.get("properties") or {}).get("desired")
    return {"tags": twin.get("tags") or {}, "properties": {"desired": desired or {}}}
