"""Registrations: what a device that registers goes through, from ``unassigned`` to ``assigned`` in a hub.

Registering starts an operation; the client polls it until it is done. Nothing happens in the background: whoever
looks at a registration first brings it up to date, so a restart loses nothing and tests need no waiting.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from dps_simulator.common import etags
from dps_simulator.common.clock import Clock
from dps_simulator.common.identifiers import lookup_key
from dps_simulator.common.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Page, read_page
from dps_simulator.common.ports import Document, LinkedHub, Storage, StoredDocument
from dps_simulator.common.webhooks import PendingAllocation
from dps_simulator.credentials.tpm_keys import SecretForTpm, TpmPublicKey
from dps_simulator.errors.table import Dps, ServiceError, ascii_json
from dps_simulator.errors.timestamps import azure_timestamp
from dps_simulator.provisioning.attestation.symmetric_key import device_credentials
from dps_simulator.provisioning.enrollments.book import Enrollment, Enrollments
from dps_simulator.provisioning.enrollments.kinds import INDIVIDUAL, KINDS

from .allocation import allowed
from .assignment import Assignments, asks_webhook
from .custom_allocation import AllocationAnswer, AllocationCall, read_answer, request_document, webhook_url
from .linked_hubs import LinkedHubs
from .states import STATE_FIELDS, TRANSITIONS, Event, OperationStatus, Pace, Status

#: Recorded: an assignment took 0.29 s.
ASSIGNMENT_SECONDS = 0.3
#: Recorded (``&retry-after=3``). Always a whole number: one SDK never returns from a fraction.
RETRY_AFTER = 3
#: While a webhook is asked and nobody wants to wait: not 0, or one SDK would poll without a pause.
_RETRY_SOON = 1
#: Operations that a newer one of their registration overtook are remembered this long, and at most so many of them in
#: so many bytes of JSON (simulator-only limits). The newest one is a part of its registration, and as lasting.
OPERATION_SECONDS = 24 * 3600
MAX_OPERATIONS = 10_000
MAX_OPERATION_BYTES = 16 * 1024 * 1024
_PRUNED_AT_ONCE = 500


class Registrations:
    """All registrations and their operations.

    Arguments:
        storage: where they are kept.
        clock: the time.
        enrollments: whose devices register; deleting an enrollment deletes its registrations.
        hubs: tells the hubs that are linked now.
        pace: how long registering takes; may be changed at any time.
        id_scope: gives operation IDs the part that all of one service have in common.
        links: how the hubs are linked; ``None`` for links about which nothing is said.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        enrollments: Enrollments,
        hubs: Callable[[], Sequence[LinkedHub]],
        pace: Pace,
        id_scope: str = "",
        links: LinkedHubs | None = None,
    ) -> None:
        self.pace = pace
        self._storage = storage
        self._clock = clock
        self._enrollments = enrollments
        self._assignments = Assignments(hubs, links or LinkedHubs(storage))
        self._tenant = hashlib.sha256(id_scope.encode()).hexdigest()[:16]
        self._registrations = storage.collection("registration")
        self._operations = storage.collection("operation")
        self._due = storage.collection("dueRegistration")
        self._pending = storage.collection("pendingAllocation")
        self._tell_of_pending: Callable[[], object] = lambda: None
        self._operation_count, self._operation_bytes = self._operations.count(), self._operations.size()
        enrollments.individuals.when_deleted(self._enrollment_deleted)
        enrollments.groups.when_deleted(self._enrollment_deleted)

    # --- for devices ------------------------------------------------------------------------------------------

    def register(
        self,
        registration_id: str,
        enrollment: Enrollment,
        leaf_thumbprint: str = "",
        tpm_keys: tuple[str, str] | None = None,
        *,
        api_version: str = "",
        payload: object = None,
    ) -> OperationStatus:
        """Start a registration of a device whose attestation succeeded.

        Arguments:
            registration_id: in the spelling for which its key was derived.
            enrollment: where it belongs.
            leaf_thumbprint: SHA-256 of the certificate that it showed, empty without one.
            tpm_keys: endorsement key and storage root key of its TPM, base64; ``None`` without one.
            api_version: the version with which it registers.
            payload: what it sends along for the webhook of a custom allocation, JSON.
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
                "apiVersion": api_version,
                "payload": payload,
                "operation": operation_id,
                "registered": now.timestamp(),
                # what a webhook decided, and whether it is being asked
                "allocation": None,
                "waiting": False,
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
            if earlier is not None and earlier.get("waiting"):
                self._pending.delete(key)
            if self.pace.name == "instant" or asks_webhook(enrollment):
                self._settle(key, record, now)
            self._keep(key, record)
            if earlier is not None:
                self._overtake(key, earlier, now)
            self._prune(now)
        return self._status(operation_id, record, _outcome(record), first=True)

    def poll(self, registration_id: str, operation_id: str) -> OperationStatus:
        """Ask how far an operation is.

        An operation that a newer one of the same registration overtook ends as that one does.

        Raises:
            ServiceError: the registration has no such operation.
        """
        key = lookup_key(registration_id)
        with self._storage.transaction():
            self._settle_due()
            record = self._registrations.get(key)
            is_newest = record is not None and record.get("operation") == operation_id
            overtaken = None if is_newest else self._operations.get(operation_id)
            if record is None or not (is_newest or (overtaken is not None and overtaken["registration"] == key)):
                raise ServiceError(
                    Dps.OPERATION_NOT_FOUND,
                    reason=f"registration {registration_id!r} has no operation {operation_id!r:.120}",
                )
            outcome = overtaken["state"] if overtaken is not None else None
            if outcome is None:
                self._count_poll(key, record)
                outcome = _outcome(record)
                if overtaken is not None and outcome is not None:
                    self._remember(operation_id, {**overtaken, "state": outcome}, key)
        return self._status(operation_id, record, outcome, first=False)

    # --- for the service API ------------------------------------------------------------------------------------

    def count(self) -> int:
        """How many there are."""
        return self._registrations.count()

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
        for documents in (self._registrations, self._operations, self._due, self._pending):
            documents.clear()
        self._operation_count = self._operation_bytes = 0
        self._storage.when_committed(self._tell_of_pending)

    # --- the machine ------------------------------------------------------------------------------------------

    def _settle_due(self) -> None:
        now = self._clock.now().timestamp()
        for waiting in self._due.page(limit=MAX_PAGE_SIZE):
            # a clock that was set back makes nobody wait longer than usual
            if waiting.body["due"] <= now or waiting.body["due"] > now + ASSIGNMENT_SECONDS:
                record = self._registrations.get(waiting.key)
                if record is not None:
                    self._settle(
                        waiting.key, record, datetime.fromtimestamp(min(waiting.body["due"], now), timezone.utc)
                    )
                    self._keep(waiting.key, record)

    def _count_poll(self, key: str, record: Document) -> None:
        if record["state"]["status"] != Status.ASSIGNING.value or record["due"] is not None:
            return
        if record["polls"] > 0:
            record["polls"] -= 1
        elif record.get("waiting"):
            return
        else:
            self._settle(key, record, self._clock.now())
        self._keep(key, record)

    def _keep(self, key: str, record: Document) -> None:
        parent = "" if record["enrollmentKind"] == INDIVIDUAL.name else record["enrollmentKey"]
        self._registrations.put(key, record, parent=parent)
        if record["state"]["status"] == Status.ASSIGNING.value and record["due"] is not None:
            self._due.put(key, {"due": record["due"]})
        else:
            self._due.delete(key)

    def _settle(self, key: str, record: Document, moment: datetime) -> None:
        """Decide a registration that is being assigned, or ask the webhook that has to."""
        facts: dict[str, Any] = {}
        record["reason"] = ""
        try:
            enrollment = self._enrollment_of(record)
            event = Event.REFUSE if enrollment.is_disabled else Event.ASSIGN
            if event is Event.ASSIGN and asks_webhook(enrollment) and record.get("allocation") is None:
                self._ask_webhook(key, record)
                return
            if event is Event.ASSIGN:
                # a transaction of its own: an assignment that fails half way must leave the hubs as they were
                with self._storage.transaction():
                    facts = self._assign(record, enrollment)
        except ServiceError as error:
            event = Event.FAIL
            facts = _failure(error)
            record["reason"] = error.reason
        if "errorCode" in facts:
            event = Event.FAIL
        state = {
            **{name: record["state"][name] for name in ("registrationId", "createdDateTimeUtc")},
            **facts,
            "status": TRANSITIONS[Status(record["state"]["status"]), event].value,
            "lastUpdatedDateTimeUtc": azure_timestamp(moment),
            "etag": etags.new_etag(moment),
        }
        record["state"] = {name: state[name] for name in STATE_FIELDS if name in state}
        record.update(due=None, polls=0, payload=None, allocation=None)

    def _assign(self, record: Document, enrollment: Enrollment) -> dict[str, Any]:
        """Put the device into its hub; what the registration then says of it."""
        answer: AllocationAnswer | None = None
        if asks_webhook(enrollment):
            if "errorCode" in record["allocation"]:
                failed: dict[str, Any] = record["allocation"]
                return failed
            answer = AllocationAnswer.from_json(record["allocation"])
        tpm = record.get("tpm") or {}
        credentials = device_credentials(
            enrollment, record["keySpelling"], record.get("leafThumbprint", ""), tpm.get("endorsementKey", "")
        )
        assigned = self._assignments.assign(
            enrollment,
            credentials,
            registration_id=record["state"]["registrationId"],
            api_version=record.get("apiVersion", ""),
            earlier=record["assignment"],
            answer=answer,
        )
        record["assignment"] = assigned.target
        if tpm:
            # not before the hub has it, so that a device never gets a key with which the hub would refuse it
            tpm["hubKey"] = credentials.primary_key if enrollment.is_for_tpm else ""
        facts = {
            "assignedHub": assigned.target["host"],
            "deviceId": assigned.target["deviceId"],
            "substatus": assigned.substatus,
        }
        return facts if answer is None or answer.payload is None else {**facts, "payload": answer.payload}

    def _enrollment_of(self, record: Mapping[str, Any]) -> Enrollment:
        return self._enrollments.of(KINDS[record["enrollmentKind"]]).get(record["enrollmentKey"])

    # --- webhooks of custom allocations -----------------------------------------------------------------------

    def when_allocation_pending(self, listener: Callable[[], object]) -> None:
        """Call the listener whenever a registration has begun to wait for a webhook, or waits no more.

        There is one listener; another one takes its place.
        """
        self._tell_of_pending = listener

    def pending_allocations(self, limit: int) -> list[PendingAllocation]:
        """The registrations that wait for a webhook, those that have waited longest first."""
        return [
            PendingAllocation(waiting.key, waiting.body["operation"]) for waiting in self._pending.page(limit=limit)
        ]

    def allocation_call(self, pending: PendingAllocation) -> AllocationCall | None:
        """What to ask a webhook; ``None`` when nothing is to be asked any more, which is then settled as well."""
        with self._storage.transaction():
            record = self._waiting(pending)
            if record is None:
                return None
            try:
                enrollment = self._enrollment_of(record)
                if not asks_webhook(enrollment):
                    self._decided(pending, record, None)
                    return None
                registration_id = record["state"]["registrationId"]
                document = request_document(
                    enrollment,
                    registration_id=registration_id,
                    current=record["assignment"],
                    evidence=_evidence(record),
                    payload=record["payload"],
                    hosts=self._hosts_for(enrollment),
                )
                return AllocationCall(webhook_url(enrollment), registration_id, document)
            except ServiceError as error:
                self._decided(pending, record, _failure(error))
                return None

    def decide(self, pending: PendingAllocation, answer: object) -> str:
        """Take what a webhook answered, and assign the device. Nothing happens when nobody waits for it any more.

        Arguments:
            pending: the registration.
            answer: parsed JSON, or the error for a webhook that could not be asked or did not answer.

        Returns:
            What was wrong with the answer, empty when nothing was.
        """
        with self._storage.transaction():
            record = self._waiting(pending)
            if record is None:
                return ""
            problem = ""
            try:
                if isinstance(answer, ServiceError):
                    raise answer
                hosts = self._hosts_for(self._enrollment_of(record))
                allocation = read_answer(answer, hosts).to_json()
            except ServiceError as error:
                allocation, problem = _failure(error), error.message
            self._decided(pending, record, allocation)
        return problem

    def _waiting(self, pending: PendingAllocation) -> Document | None:
        """The registration, unless it does not wait any more or a newer operation has overtaken this one."""
        record = self._registrations.get(pending.registration)
        if record is None or not record.get("waiting") or record["operation"] != pending.operation_id:
            return None
        return record

    def _ask_webhook(self, key: str, record: Document) -> None:
        record.update(waiting=True, due=None)
        self._pending.put(key, {"operation": record["operation"]})
        self._storage.when_committed(self._tell_of_pending)

    def _decided(self, pending: PendingAllocation, record: Document, allocation: Document | None) -> None:
        record.update(waiting=False, allocation=allocation)
        self._pending.delete(pending.registration)
        if record["polls"] == 0:
            self._settle(pending.registration, record, self._clock.now())
        self._keep(pending.registration, record)

    def _hosts_for(self, enrollment: Enrollment) -> list[str]:
        return [link.host for link in allowed(enrollment.hub_hosts, self._assignments.links())]

    # --- forgetting -----------------------------------------------------------------------------------------------

    def _forget(self, key: str) -> None:
        self._registrations.delete(key)
        self._due.delete(key)
        if self._pending.delete(key):
            self._storage.when_committed(self._tell_of_pending)
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

    def _overtake(self, key: str, earlier: Document, now: datetime) -> None:
        """Give the operation of a registration that begins anew a place of its own, with what it has come to."""
        created = earlier.get("registered", now.timestamp())
        self._remember(earlier["operation"], {"registration": key, "created": created, "state": _outcome(earlier)}, key)

    def _remember(self, operation_id: str, operation: Document, key: str) -> None:
        self._operations.put(operation_id, operation, parent=key)
        self._operation_count += 1
        self._operation_bytes += _size(operation)

    def _prune(self, now: datetime) -> None:
        """Forget overtaken operations that are too old, a few at a time, and the oldest when they are too many."""
        for operation in self._operations.page(limit=2):
            if operation.body["created"] < now.timestamp() - OPERATION_SECONDS:
                self._operations.delete(operation.key)
        if not self._are_too_many():
            return
        # both have only ever been added to, and others went away meanwhile
        self._operation_count, self._operation_bytes = self._operations.count(), self._operations.size()
        while self._are_too_many():
            # so many that counting again does not come soon
            for operation in self._operations.page(limit=_PRUNED_AT_ONCE):
                self._operations.delete(operation.key)
                self._operation_count -= 1
                self._operation_bytes -= _size(operation.body)
                if self._operation_count < 0.95 * MAX_OPERATIONS and self._operation_bytes < 0.9 * MAX_OPERATION_BYTES:
                    break

    def _are_too_many(self) -> bool:
        return self._operation_count > MAX_OPERATIONS or self._operation_bytes > MAX_OPERATION_BYTES

    def _status(self, operation_id: str, record: Document, outcome: Document | None, *, first: bool) -> OperationStatus:
        if outcome is not None:
            decided = {**self._proof(record), **outcome}
            status = Status(outcome["status"])
            secret = _hub_secret(record, decided) if status is Status.ASSIGNED else None
            # of an operation that was overtaken, only what it shows is remembered
            reason = record.get("reason", "") if outcome == record["state"] else ""
            return OperationStatus(operation_id, status, decided, secret=secret, reason=reason)
        state = {"registrationId": record["state"]["registrationId"], "status": Status.ASSIGNING.value}
        if record.get("waiting"):
            retry_after = RETRY_AFTER if self.pace.name == "azure" else _RETRY_SOON
        else:
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


def _outcome(record: Mapping[str, Any]) -> Document | None:
    """The state in which a registration has ended up, ``None`` while it is under way."""
    state: Document = record["state"]
    return None if state["status"] == Status.ASSIGNING.value else state


def _size(document: Document) -> int:
    """Bytes that a document takes in the store, about."""
    return len(ascii_json(document))


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


def _failure(error: ServiceError) -> Document:
    return {"errorCode": error.kind.code, "errorMessage": error.message}


def _evidence(record: Mapping[str, Any]) -> str:
    """With what a device proved itself, as a webhook is told."""
    if record.get("tpm"):
        return "tpm"
    return "x509" if record.get("leafThumbprint") else "symmetricKey"
