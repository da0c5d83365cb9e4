"""Registrations: what a device that registers goes through, from ``unassigned`` to ``assigned`` in a hub.

Registering starts an operation; the client polls it until it is done. Nothing happens in the background: whoever
looks at a registration first brings it up to date, so a restart loses nothing and tests need no waiting.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from dps_simulator.common import etags
from dps_simulator.common.clock import Clock
from dps_simulator.common.identifiers import lookup_key
from dps_simulator.common.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Page, read_page
from dps_simulator.common.ports import Document, LinkedHub, Storage, StoredDocument
from dps_simulator.common.webhooks import PendingAllocation
from dps_simulator.errors.table import Dps, ServiceError
from dps_simulator.provisioning.attestation.symmetric_key import device_credentials
from dps_simulator.provisioning.enrollments.book import Enrollment, Enrollments
from dps_simulator.provisioning.enrollments.kinds import INDIVIDUAL, KINDS

from .allocation import allowed
from .assignment import Assignments, asks_webhook
from .custom_allocation import AllocationCall, read_answer, request_document, webhook_url
from .due import ASSIGNMENT_SECONDS, DueRegistrations
from .linked_hubs import LinkedHubs
from .operations import Overtaken, OvertakenOperations
from .record import AllocationAnswer, Failure, RegisteredTpm, Registration, RegistrationState
from .states import Event, OperationStatus, Pace, Status

#: Recorded (``&retry-after=3``). Always a whole number: one SDK never returns from a fraction.
RETRY_AFTER = 3
#: While a webhook is asked and nobody wants to wait: not 0, or one SDK would poll without a pause.
_RETRY_SOON = 1


class Registrations:
    """All registrations and their operations.

    Arguments:
        storage: the store, in whose collections they outlive this process.
        clock: gives the present time (aware, in UTC).
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
        self._assignments = Assignments(hubs, links or LinkedHubs(storage), storage)
        self._tenant = hashlib.sha256(id_scope.encode()).hexdigest()[:16]
        self._registrations = storage.collection("registration")
        self._operations = OvertakenOperations(storage)
        self._due = DueRegistrations(storage)
        self._pending = storage.collection("pendingAllocation")
        self._tell_of_pending: Callable[[], object] = lambda: None
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
            enrollment: where it belongs, as it is now.
            leaf_thumbprint: SHA-256 of the certificate that it showed, empty without one.
            tpm_keys: endorsement key and storage root key of its TPM, base64; ``None`` without one.
            api_version: the version with which it registers.
            payload: what it sends along for the webhook of a custom allocation, JSON.
        """
        now = self._clock.now()
        key = lookup_key(registration_id)
        with self._storage.transaction():
            self._settle_due(now)
            earlier = self._read(key)
            registration = Registration(
                enrollment_kind=enrollment.kind.name,
                enrollment_key=enrollment.key,
                key_spelling=registration_id,
                leaf_thumbprint=leaf_thumbprint,
                tpm=None if tpm_keys is None else RegisteredTpm(*tpm_keys),
                api_version=api_version,
                payload=payload,
                operation=f"5.{self._tenant}.{uuid.uuid4()}",
                registered=now.timestamp(),
                polls=self.pace.polls,
                due=now.timestamp() + ASSIGNMENT_SECONDS if self.pace.name == "azure" else None,
                state=RegistrationState.new(registration_id, None if earlier is None else earlier.state, now),
            )
            if earlier is not None:
                registration.place = earlier.place
                if registration.tpm is not None and registration.tpm.has_keys_of(earlier.tpm):
                    # until the hub gets a new one, it has this hub key
                    registration.tpm = earlier.tpm
                if earlier.waiting:
                    self._pending.delete(key)
            if self.pace.name == "instant" or asks_webhook(enrollment):
                self._settle(key, registration, now, enrollment)
            self._keep(key, registration, was_due=earlier is not None and earlier.is_due)
            if earlier is not None:
                self._overtake(key, earlier, now)
            self._operations.prune(now.timestamp())
        return self._status(registration.operation, registration, registration.state, enrollment, first=True)

    def poll(self, registration_id: str, operation_id: str) -> OperationStatus:
        """Ask how far an operation is.

        An operation that a newer one of the same registration overtook ends as that one does.

        Raises:
            ServiceError: the registration has no such operation.
        """
        key = lookup_key(registration_id)
        with self._storage.transaction():
            self._settle_due(self._clock.now())
            registration = self._read(key)
            is_newest = registration is not None and registration.operation == operation_id
            overtaken = None if is_newest else self._operations.find(operation_id)
            if registration is None or not (is_newest or (overtaken is not None and overtaken.registration == key)):
                raise ServiceError(
                    Dps.OPERATION_NOT_FOUND,
                    reason=f"registration {registration_id!r} has no operation {operation_id!r:.120}",
                )
            outcome = overtaken.state if overtaken is not None else None
            if outcome is None:
                self._count_poll(key, registration)
                outcome = registration.state
                if overtaken is not None and outcome.is_final:
                    self._operations.remember(operation_id, replace(overtaken, state=outcome))
        return self._status(operation_id, registration, outcome)

    # --- for the service API ------------------------------------------------------------------------------------

    def count(self) -> int:
        """How many registrations there are, in whatever state."""
        return self._registrations.count()

    def find(self, registration_id: str) -> Document | None:
        """The state of a registration as answers show it, or ``None``."""
        registration = self._current(lookup_key(registration_id))
        return None if registration is None else registration.state.to_json()

    def get(self, registration_id: str) -> Document:
        """The state of a registration as answers show it.

        Raises:
            ServiceError: the device never registered.
        """
        return self._require(registration_id).state.to_json()

    def look_up(self, registration_id: str) -> Document:
        """What a device is told that asks for its registration without registering.

        Raises:
            ServiceError: the device never registered.
        """
        registration = self._require(registration_id)
        return {**self._proof(registration), **registration.state.to_json()}

    def delete(self, registration_id: str, if_match: str | None = None) -> None:
        """Forget a registration; the device stays in its hub.

        Raises:
            ServiceError: the device never registered, or the tag is stale.
        """
        with self._storage.transaction():
            etags.check(if_match, self._require(registration_id).state.etag)
            self._forget(lookup_key(registration_id))

    def query(self, group_id: str, *, size: int = DEFAULT_PAGE_SIZE, continuation: str | None = None) -> Page:
        """A page of the registrations of an enrollment group.

        Raises:
            ServiceError: there is no such group, or the token is wrong.
        """
        group = self._enrollments.groups.get(group_id)
        with self._storage.transaction():
            self._settle_due(self._clock.now())
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
        registration = self._current(enrollment.key)
        if registration is None or not registration.belongs_to(enrollment):
            return {"registrationId": enrollment.identifier, "status": Status.UNASSIGNED.value}
        return registration.state.to_json()

    def settle(self) -> None:
        """Bring every registration up to date whose time has come. Reading one does the same."""
        with self._storage.transaction():
            self._settle_due(self._clock.now())

    def clear(self) -> None:
        """Forget registrations, operations and pending webhooks, as a reset of the simulator does; hubs stay."""
        for documents in (self._registrations, self._operations, self._due, self._pending):
            documents.clear()
        self._storage.when_committed(self._tell_of_pending)

    # --- the machine ------------------------------------------------------------------------------------------

    def _read(self, key: str) -> Registration | None:
        document = self._registrations.get(key)
        return None if document is None else Registration.from_document(document)

    def _current(self, key: str) -> Registration | None:
        """A registration, brought up to date."""
        with self._storage.transaction():
            self._settle_due(self._clock.now())
            return self._read(key)

    def _require(self, registration_id: str) -> Registration:
        registration = self._current(lookup_key(registration_id))
        if registration is None:
            raise ServiceError(Dps.REGISTRATION_NOT_FOUND, reason=f"{registration_id!r:.160} never registered")
        return registration

    def _settle_due(self, now: datetime) -> None:
        for key, moment in self._due.due(now.timestamp()):
            registration = self._read(key)
            if registration is not None:
                self._settle(key, registration, moment)
                self._keep(key, registration, was_due=True)

    def _count_poll(self, key: str, registration: Registration) -> None:
        if registration.state.is_final or registration.due is not None:
            return
        if registration.polls > 0:
            registration.polls -= 1
        elif registration.waiting:
            return
        else:
            self._settle(key, registration, self._clock.now())
        self._keep(key, registration)

    def _keep(self, key: str, registration: Registration, *, was_due: bool = False) -> None:
        self._registrations.put(key, registration.to_document(), parent=registration.parent)
        if registration.due is not None and registration.is_due:
            self._due.put(key, registration.due)
        elif was_due:
            self._due.remove(key)

    def _settle(
        self, key: str, registration: Registration, moment: datetime, enrollment: Enrollment | None = None
    ) -> None:
        """Decide a registration that is being assigned, or ask the webhook that has to.

        Arguments:
            key: under which it is kept.
            registration: which one.
            moment: when it is decided.
            enrollment: where it belongs, if that was just read.
        """
        facts: dict[str, Any] = {}
        registration.reason = ""
        try:
            enrollment = enrollment or self._enrollment_of(registration)
            event = Event.REFUSE if enrollment.is_disabled else Event.ASSIGN
            if event is Event.ASSIGN:
                asks = asks_webhook(enrollment)
                if asks and registration.allocation is None:
                    self._ask_webhook(key, registration)
                    return
                facts = self._assign(registration, enrollment, registration.allocation if asks else None)
        except ServiceError as error:
            facts = {"failure": Failure.of(error)}
            registration.reason = error.reason
        if "failure" in facts:
            event = Event.FAIL
        registration.state = registration.state.after(event, moment, **facts)
        registration.due = registration.payload = registration.allocation = None
        registration.polls = 0

    def _assign(
        self, registration: Registration, enrollment: Enrollment, answer: AllocationAnswer | Failure | None
    ) -> dict[str, Any]:
        """Put the device into its hub; what the state of its registration then says of it."""
        if isinstance(answer, Failure):
            return {"failure": answer}
        tpm = registration.tpm
        credentials = device_credentials(
            enrollment,
            registration.key_spelling,
            registration.leaf_thumbprint,
            "" if tpm is None else tpm.endorsement_key,
        )
        assigned = self._assignments.assign(
            enrollment,
            credentials,
            registration_id=registration.state.registration_id,
            api_version=registration.api_version,
            earlier=registration.place,
            answer=answer,
        )
        registration.place = assigned.place
        if tpm is not None:
            # not before the hub has it
            registration.tpm = replace(tpm, hub_key=credentials.primary_key if enrollment.is_for_tpm else "")
        payload = None if answer is None else answer.payload
        return {"place": assigned.place, "substatus": assigned.substatus, "payload": payload}

    def _enrollment_of(self, registration: Registration) -> Enrollment:
        return self._enrollments.of(KINDS[registration.enrollment_kind]).get(registration.enrollment_key)

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
            registration = self._waiting(pending)
            if registration is None:
                return None
            try:
                enrollment = self._enrollment_of(registration)
                if not asks_webhook(enrollment):
                    self._decided(pending, registration, None)
                    return None
                registration_id = registration.state.registration_id
                document = request_document(
                    enrollment,
                    registration_id=registration_id,
                    current=registration.place,
                    evidence=registration.evidence,
                    payload=registration.payload,
                    hosts=self._hosts_for(enrollment),
                )
                return AllocationCall(webhook_url(enrollment), registration_id, document)
            except ServiceError as error:
                self._decided(pending, registration, Failure.of(error))
                return None

    def decide(self, pending: PendingAllocation, answer: object) -> str:
        """Take what a webhook answered, and assign the device. Nothing happens when nobody waits for it any more.

        Arguments:
            pending: the registration.
            answer: parsed JSON, or the error for a webhook that could not be asked or did not answer.

        Returns:
            What was wrong with the answer, empty when nothing was.
        """
        allocation: AllocationAnswer | Failure
        with self._storage.transaction():
            registration = self._waiting(pending)
            if registration is None:
                return ""
            problem = ""
            try:
                if isinstance(answer, ServiceError):
                    raise answer
                allocation = read_answer(answer, self._hosts_for(self._enrollment_of(registration)))
            except ServiceError as error:
                allocation, problem = Failure.of(error), error.message
            self._decided(pending, registration, allocation)
        return problem

    def _waiting(self, pending: PendingAllocation) -> Registration | None:
        """The registration, unless it does not wait any more or a newer operation has overtaken this one."""
        registration = self._read(pending.registration)
        if registration is None or not registration.waiting or registration.operation != pending.operation_id:
            return None
        return registration

    def _ask_webhook(self, key: str, registration: Registration) -> None:
        registration.waiting, registration.due = True, None
        self._pending.put(key, {"operation": registration.operation})
        self._storage.when_committed(self._tell_of_pending)

    def _decided(
        self, pending: PendingAllocation, registration: Registration, allocation: AllocationAnswer | Failure | None
    ) -> None:
        registration.waiting, registration.allocation = False, allocation
        self._pending.delete(pending.registration)
        if registration.polls == 0:
            self._settle(pending.registration, registration, self._clock.now())
        self._keep(pending.registration, registration)

    def _hosts_for(self, enrollment: Enrollment) -> list[str]:
        return [link.host for link in allowed(enrollment.hub_hosts, self._assignments.links())]

    # --- forgetting -----------------------------------------------------------------------------------------------

    def _forget(self, key: str) -> None:
        self._registrations.delete(key)
        self._due.remove(key)
        if self._pending.delete(key):
            self._storage.when_committed(self._tell_of_pending)
        self._operations.forget(key)

    def _enrollment_deleted(self, enrollment: Enrollment) -> None:
        if enrollment.kind is INDIVIDUAL:
            registration = self._read(enrollment.key)
            if registration is not None and registration.belongs_to(enrollment):
                self._forget(enrollment.key)
            return
        while members := self._registrations.page(limit=MAX_PAGE_SIZE, parent=enrollment.key):
            for member in members:
                self._forget(member.key)

    def _overtake(self, key: str, earlier: Registration, now: datetime) -> None:
        """Give the operation of a registration that begins anew a place of its own, with what it has come to."""
        began = now.timestamp() if earlier.registered is None else earlier.registered
        outcome = earlier.state if earlier.state.is_final else None
        self._operations.remember(earlier.operation, Overtaken(key, began, outcome))

    # --- what devices are told ------------------------------------------------------------------------------------

    def _status(
        self,
        operation_id: str,
        registration: Registration,
        state: RegistrationState,
        enrollment: Enrollment | None = None,
        *,
        first: bool = False,
    ) -> OperationStatus:
        """What is told of an operation.

        Arguments:
            operation_id: the operation.
            registration: that of the device, with its newest operation.
            state: what the operation has come to.
            enrollment: where it belongs, if that was just read.
            first: whether the device just began to register.
        """
        if state.is_final:
            secret = None if state.place is None else registration.hub_secret(state.place)
            # of an operation that was overtaken, only what it shows is remembered
            reason = registration.reason if state == registration.state else ""
            shown = {**self._proof(registration, enrollment), **state.to_json()}
            return OperationStatus(operation_id, state.status, shown, secret=secret, reason=reason)
        if registration.waiting:
            retry_after = RETRY_AFTER if self.pace.name == "azure" else _RETRY_SOON
        else:
            # whoever counts polls does not want to wait for them
            retry_after = RETRY_AFTER if registration.due is not None else 0
        brief = {"registrationId": registration.state.registration_id, "status": Status.ASSIGNING.value}
        return OperationStatus(operation_id, Status.ASSIGNING, None if first else brief, retry_after)

    def _proof(self, registration: Registration, enrollment: Enrollment | None = None) -> Document:
        """What an answer to a device tells about its attestation: nothing for a symmetric key.

        For a TPM it tells the hub key, which is no text to be shown: see :attr:`OperationStatus.secret`.

        Source: the documented answers of iot-dps-https-x509-support (an empty object) and of
        iot-dps-https-sym-key-support (none); the group's name is a field of the published API description.
        """
        if not registration.leaf_thumbprint:
            return {}
        if registration.enrollment_kind == INDIVIDUAL.name:
            return {"x509": {}}
        group = enrollment or self._enrollments.groups.find(registration.enrollment_key)
        return {"x509": {} if group is None else {"enrollmentGroupId": group.identifier}}
