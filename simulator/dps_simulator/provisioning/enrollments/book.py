"""Enrollments: which devices may register, individually or as a group, and what becomes of them.

Source: recorded answers of the service (2023-05-19) for shapes and statuses; where a rule is inferred it says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dps_simulator.common import etags
from dps_simulator.common.clock import Clock
from dps_simulator.common.identifiers import RegistrationId, lookup_key
from dps_simulator.common.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Page, read_page
from dps_simulator.common.ports import Document, Storage, StoredDocument
from dps_simulator.credentials.symmetric_keys import SymmetricKey
from dps_simulator.errors.table import Dps, ServiceError, described
from dps_simulator.errors.timestamps import azure_timestamp

from .attestation_fields import (
    CA_REFERENCES,
    CLIENT_CERTIFICATES,
    ENDORSEMENT_KEY,
    PRIMARY,
    SECONDARY,
    SIGNING_CERTIFICATES,
    SYMMETRIC_KEY,
    TPM,
    X509,
    shown_attestation,
)
from .fields import FIELDS, read_fields
from .kinds import GROUP, INDIVIDUAL, EnrollmentKind, Situation


class ReprovisionPolicy(NamedTuple):
    """What happens when a device registers again.

    Attributes:
        update_hub_assignment: whether the hub is chosen anew.
        migrate_device_data: whether the twin moves along; else the device begins again with its initial twin.
    """

    update_hub_assignment: bool = True
    migrate_device_data: bool = True


@dataclass(frozen=True, slots=True, repr=False)
class Enrollment:
    """One stored enrollment.

    Attributes:
        kind: individual enrollment or group.
        document: all fields, keys included, in the names of the API. It does not change any more.
        identifier: the registration ID or group name, as it was written.
        key: the identifier without regard to case.
        attestation_type: ``symmetricKey``, ``x509`` or ``tpm``.
        is_for_tpm: whether devices prove themselves with a TPM.
        allocation_policy: how a hub is chosen; ``None`` leaves it to the service.
    """

    kind: EnrollmentKind
    document: Document
    identifier: str = field(init=False, compare=False)
    key: str = field(init=False, compare=False)
    attestation_type: str = field(init=False, compare=False)
    is_for_tpm: bool = field(init=False, compare=False)
    allocation_policy: str | None = field(init=False, compare=False)
    _keys: tuple[SymmetricKey, ...] | None = field(init=False, compare=False, default=None)

    def __post_init__(self) -> None:
        """Read what is asked for most often."""
        identifier = str(self.document[self.kind.id_field])
        object.__setattr__(self, "identifier", identifier)
        object.__setattr__(self, "key", lookup_key(identifier))
        attestation_type = str(self.document["attestation"]["type"])
        object.__setattr__(self, "attestation_type", attestation_type)
        object.__setattr__(self, "is_for_tpm", attestation_type == TPM)
        object.__setattr__(self, "allocation_policy", self.document.get("allocationPolicy"))

    @property
    def keys(self) -> tuple[SymmetricKey, ...]:
        """Primary and secondary symmetric key; nothing for another attestation. Decoded when they are asked for."""
        if self._keys is None:
            texts = self.document["attestation"].get(SYMMETRIC_KEY)
            keys = () if texts is None else tuple(map(SymmetricKey.of, (texts["primaryKey"], texts["secondaryKey"])))
            object.__setattr__(self, "_keys", keys)
            return keys
        return self._keys

    @property
    def thumbprints(self) -> tuple[str, ...]:
        """SHA-256 thumbprints of the enrolled certificates, the primary one first: of one or two, or of none."""
        return tuple(slot["info"]["sha256Thumbprint"] for slot in self._slots().values())

    def slot_of(self, thumbprint: str) -> str:
        """Whether it is the ``primary`` or the ``secondary`` certificate that has this SHA-256 thumbprint."""
        return next(name for name, slot in self._slots().items() if slot["info"]["sha256Thumbprint"] == thumbprint)

    @property
    def authority_names(self) -> tuple[str, ...]:
        """Names of the uploaded CA certificates that a group refers to, the primary one first."""
        slots = self.document["attestation"].get(X509, {}).get(CA_REFERENCES, {})
        return tuple(slots[name] for name in (PRIMARY, SECONDARY) if name in slots)

    @property
    def endorsement_key(self) -> str:
        """The endorsement key of the enrolled TPM, base64; empty for another attestation."""
        return str(self.document["attestation"].get(TPM, {}).get(ENDORSEMENT_KEY, ""))

    @property
    def is_disabled(self) -> bool:
        """Whether devices are kept from being assigned."""
        return bool(self.document["provisioningStatus"] == "disabled")

    @property
    def device_id(self) -> str | None:
        """The device ID that the enrollment prescribes; ``None`` lets the device have its registration ID for one."""
        return self.document.get("deviceId")

    @property
    def is_iot_edge(self) -> bool:
        """Whether the device becomes an IoT Edge device."""
        return bool(self.document.get("capabilities", {}).get("iotEdge", False))

    @property
    def initial_twin(self) -> Mapping[str, Any] | None:
        """What the twin of a new device begins with, ``{"tags": {…}, "properties": {"desired": {…}}}``, or ``None``."""
        return self.document.get("initialTwin")

    @property
    def hub_hosts(self) -> tuple[str, ...]:
        """The hubs among which to choose, empty for all."""
        single = self.document.get("iotHubHostName")
        return (single,) if single else tuple(self.document.get("iotHubs", ()))

    @property
    def reprovision_policy(self) -> ReprovisionPolicy:
        """What happens when a device registers again."""
        policy = self.document.get("reprovisionPolicy")
        if not policy:
            return ReprovisionPolicy()
        return ReprovisionPolicy(policy["updateHubAssignment"], policy["migrateDeviceData"])

    def to_json(self, *, with_keys: bool = False, registration_state: Mapping[str, Any] | None = None) -> Document:
        """The enrollment as answers show it.

        Arguments:
            with_keys: PUT answers contain symmetric keys, GET and query answers do not (recorded).
            registration_state: GET answers of individual enrollments contain it (recorded).
        """
        shown = dict(self.document)
        shown["attestation"] = shown_attestation(shown["attestation"], with_keys=with_keys)
        if registration_state is not None:
            shown["registrationState"] = dict(registration_state)
        return {name: shown[name] for name in FIELDS if name in shown}

    def attestation_mechanism(self) -> Document:
        """Type and keys, the answer of ``attestationmechanism``; for certificates what PUT answers (inferred)."""
        return shown_attestation(self.document["attestation"], with_keys=True)

    def certificates_named(self, subject: str) -> tuple[str, ...]:
        """The enrolled certificates with this subject, base64 of their DER form, the primary one first."""
        return tuple(slot["certificate"] for slot in self._slots().values() if slot["info"]["subjectName"] == subject)

    def _slots(self) -> Document:
        """The enrolled certificates by ``primary`` and ``secondary``, in this order."""
        parts = self.document["attestation"].get(X509, {})
        slots: Document = parts.get(CLIENT_CERTIFICATES) or parts.get(SIGNING_CERTIFICATES) or {}
        return {name: slots[name] for name in (PRIMARY, SECONDARY) if name in slots}

    def __repr__(self) -> str:
        return f"Enrollment({self.kind.name}, {self.identifier!r})"


class EnrollmentBook:
    """All enrollments of one kind.

    Arguments:
        kind: individual enrollments or groups.
        storage: the store, in whose collections they outlive this process.
        clock: gives the times of creation and change.
        linked_hub_hosts: tells the host names of the hubs that are linked now.
        authority_names: tells the names of the CA certificates that are uploaded now.
    """

    def __init__(
        self,
        kind: EnrollmentKind,
        storage: Storage,
        clock: Clock,
        linked_hub_hosts: Callable[[], Sequence[str]],
        authority_names: Callable[[], Sequence[str]],
    ) -> None:
        self.kind = kind
        self._storage = storage
        self._documents = storage.collection(kind.collection)
        # which enrollments have a certificate or a TPM, or refer to an authority: one document for each
        self._by_evidence = storage.collection(f"{kind.collection} by certificate")
        self._authority_names = authority_names
        self._clock = clock
        self._linked_hub_hosts = linked_hub_hosts
        self._creation_listeners: list[Callable[[Enrollment], None]] = []
        self._deletion_listeners: list[Callable[[Enrollment], None]] = []
        self._replacement_listeners: list[Callable[[Enrollment, Enrollment], None]] = []

    def when_created(self, listener: Callable[[Enrollment], None]) -> None:
        """Call the listener, in the same transaction, before an enrollment comes into being; it may refuse that."""
        self._creation_listeners.append(listener)

    def when_deleted(self, listener: Callable[[Enrollment], None]) -> None:
        """Call the listener, in the same transaction, for every enrollment that is deleted."""
        self._deletion_listeners.append(listener)

    def when_replaced(self, listener: Callable[[Enrollment, Enrollment], None]) -> None:
        """Call the listener, in the same transaction, with every enrollment that is replaced and its replacement."""
        self._replacement_listeners.append(listener)

    def find(self, identifier: str) -> Enrollment | None:
        """The enrollment with this registration or group ID, whose case does not count, or ``None``."""
        return self.with_key(lookup_key(identifier))

    def with_key(self, key: str) -> Enrollment | None:
        """The enrollment whose identifier has this key, see :class:`RegistrationId`, or ``None``."""
        document = self._documents.get(key)
        return None if document is None else Enrollment(self.kind, document)

    def get(self, identifier: str) -> Enrollment:
        """The enrollment with this registration or group ID, whose case does not count.

        Raises:
            ServiceError: there is none; the kind says with which error.
        """
        enrollment = self.find(identifier)
        if enrollment is None:
            raise ServiceError(self.kind.not_found, reason=f"no {self.kind.label} {identifier!r:.160}")
        return enrollment

    def with_thumbprint(self, thumbprint: str) -> Enrollment | None:
        """An enrollment (the oldest, if there are several) that has the certificate, or ``None``.

        Arguments:
            thumbprint: SHA-256, as in :attr:`Enrollment.thumbprints`.
        """
        return self._indexed(thumbprint)

    def with_authority(self, name: str) -> Enrollment | None:
        """A group (the oldest, if there are several) that refers to the uploaded CA certificate, or ``None``."""
        return self._indexed(f"authority {lookup_key(name)}")

    def with_endorsement_key(self, key: str) -> Enrollment | None:
        """An enrollment (the oldest, if there are several) of the TPM with this endorsement key, or ``None``.

        Arguments:
            key: base64, as in :attr:`Enrollment.endorsement_key`.
        """
        return self._indexed(_endorsement_key_entry(key))

    def _indexed(self, parent: str) -> Enrollment | None:
        for entry in self._by_evidence.page(limit=1, parent=parent):
            return self.with_key(entry.body["enrollment"])
        return None

    def put(
        self, identifier: str, body: object, if_match: str | None = None, *, unseen: Collection[str] = ()
    ) -> Enrollment:
        """Create an enrollment (without a precondition) or replace one (with ``If-Match``).

        An update that gives no keys keeps them. Creating what exists is a conflict
        (source: azure-sdk-for-python issue 35187); replacing what does not exist is "not found" (inferred).

        Arguments:
            identifier: registration ID or group name in the address.
            body: the request's body, parsed from JSON; of whatever type.
            if_match: the tag that the enrollment must have, or ``*``.
            unseen: fields that the client's version of the API does not know. They are not read, and stay as they are.

        Raises:
            ServiceError: conflict, not found, stale tag, or a wrong field.
        """
        name = RegistrationId(identifier, field=self.kind.id_field)
        with self._storage.transaction():
            stored = self.with_key(name.key)
            before = None if stored is None else stored.document
            if before is None and if_match is not None:
                why = f"If-Match asks for an update, but there is no {identifier!r}"
                raise ServiceError(self.kind.not_found, reason=why)
            if before is not None and if_match is None:
                why = f"an update of {identifier!r} needs If-Match with its etag or *"
                raise ServiceError(self.kind.exists, reason=why)
            if before is not None:
                etags.check(if_match, before["etag"])
            hosts, authorities = tuple(self._linked_hub_hosts()), tuple(self._authority_names())
            situation = Situation(self.kind, hosts, before, authorities)
            seen = {name: body[name] for name in body if name not in unseen} if isinstance(body, Mapping) else body
            document = read_fields(seen, name, situation)
            if before is not None:
                document.update({name: before[name] for name in unseen if name in before})
            now = self._clock.now()
            document["etag"] = etags.new_etag(now)
            document["lastUpdatedDateTimeUtc"] = updated = azure_timestamp(now)
            document["createdDateTimeUtc"] = updated if before is None else before["createdDateTimeUtc"]
            enrollment = Enrollment(self.kind, document)
            if stored is None:
                for announce in self._creation_listeners:
                    announce(enrollment)
            self._documents.put(enrollment.key, document)
            self._index(enrollment.key, before=_evidence_of(stored), now=_evidence_of(enrollment))
            if stored is not None:
                for listener in self._replacement_listeners:
                    listener(stored, enrollment)
        return enrollment

    def delete(self, identifier: str, if_match: str | None = None) -> None:
        """Remove the enrollment; its registrations go with it, the devices stay in their hubs.

        Without a precondition it is removed whatever its tag (recorded).
        Source: Microsoft documentation, iot-dps how-to-unprovision-devices (deleting does not touch the hub);
        that registration records go at once is inferred.

        Raises:
            ServiceError: there is none, or the tag is stale.
        """
        with self._storage.transaction():
            enrollment = self.get(identifier)
            etags.check(if_match, enrollment.document["etag"])
            self._documents.delete(enrollment.key)
            self._index(enrollment.key, before=_evidence_of(enrollment), now=frozenset())
            for listener in self._deletion_listeners:
                listener(enrollment)

    def query(self, query: object, *, size: int = DEFAULT_PAGE_SIZE, continuation: str | None = None) -> Page:
        """A page of enrollments, in order of creation; :meth:`shown` makes JSON of them.

        Arguments:
            query: any text; the service lists everything whatever it says. Source: azure-iot-sdk-csharp issue 794;
                the Azure CLI, whose text is no query at all; the samples of the SDKs for C and Node, which say ``*``.
            size: at most so many.
            continuation: token of the page before.

        Raises:
            ServiceError: the query is no text, or the token is wrong.
        """
        if not isinstance(query, str):
            shown = described(query)
            raise ServiceError(Dps.INVALID_BODY, f"query is {shown}; it must be a text such as 'SELECT *'.")
        return read_page(self._documents, scope=self.kind.collection, size=size, continuation=continuation)

    def shown(self, document: StoredDocument) -> Document:
        """A document of a query's page as answers show it."""
        return Enrollment(self.kind, document.body).to_json()

    def all(self) -> Iterator[Enrollment]:
        """Every enrollment, in order of creation."""
        after, more = 0, True
        while more:
            page = self._documents.page(after=after, limit=MAX_PAGE_SIZE)
            for stored in page:
                after = stored.sequence
                yield Enrollment(self.kind, stored.body)
            more = len(page) == MAX_PAGE_SIZE

    def count(self) -> int:
        """How many enrollments of this kind there are."""
        return self._documents.count()

    def clear(self) -> None:
        """Forget all of them, as a reset of the simulator does; no listener is called."""
        self._documents.clear()
        self._by_evidence.clear()

    def _index(self, key: str, *, before: frozenset[str], now: frozenset[str]) -> None:
        """Bring the look-up by evidence up to date."""
        for parent in before - now:
            self._by_evidence.delete(f"{parent} {key}")
        for parent in now - before:
            self._by_evidence.put(f"{parent} {key}", {"enrollment": key}, parent=parent)


def _evidence_of(enrollment: Enrollment | None) -> frozenset[str]:
    """Under what an enrollment is found by a certificate or a TPM."""
    if enrollment is None:
        return frozenset()
    names = (f"authority {lookup_key(name)}" for name in enrollment.authority_names)
    keys = [_endorsement_key_entry(enrollment.endorsement_key)] if enrollment.is_for_tpm else []
    return frozenset((*enrollment.thumbprints, *names, *keys))


def _endorsement_key_entry(key: str) -> str:
    return f"endorsement key {hashlib.sha256(key.encode()).hexdigest()}"


class Enrollments:
    """Individual enrollments and enrollment groups.

    Arguments:
        storage: the store, in whose collections they outlive this process.
        clock: gives the times of creation and change.
        linked_hub_hosts: tells the host names of the hubs that are linked now.
        authority_names: tells the names of the CA certificates that are uploaded now.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        linked_hub_hosts: Callable[[], Sequence[str]],
        authority_names: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self.individuals, self.groups = (
            EnrollmentBook(kind, storage, clock, linked_hub_hosts, authority_names) for kind in (INDIVIDUAL, GROUP)
        )

    def of(self, kind: EnrollmentKind) -> EnrollmentBook:
        """The book of a kind: that of the groups for ``GROUP``, else that of the individual enrollments."""
        return self.groups if kind is GROUP else self.individuals

    def clear(self) -> None:
        """Forget all of them, without telling anybody."""
        self.individuals.clear()
        self.groups.clear()
