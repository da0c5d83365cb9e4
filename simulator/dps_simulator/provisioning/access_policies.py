"""Shared access policies of the provisioning service: names, each with two keys and the rights that they give.

Two keys, so that one can be replaced while the clients still use the other.

Source: ``SharedAccessSignatureAuthorizationRule`` of the published API description of
Microsoft.Devices/provisioningServices; Microsoft documentation, iot-dps how-to-control-access, for the rights.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dps_simulator.common.field_checks import checked_object
from dps_simulator.common.identifiers import lookup_key
from dps_simulator.common.ports import Document, Storage
from dps_simulator.credentials.symmetric_keys import SymmetricKey, decoded
from dps_simulator.errors.table import ResourceManager, ServiceError, described

SERVICE_CONFIG = "ServiceConfig"
ENROLLMENT_READ = "EnrollmentRead"
ENROLLMENT_WRITE = "EnrollmentWrite"
DEVICE_CONNECT = "DeviceConnect"
REGISTRATION_READ = "RegistrationStatusRead"
REGISTRATION_WRITE = "RegistrationStatusWrite"
RIGHTS = (SERVICE_CONFIG, ENROLLMENT_READ, ENROLLMENT_WRITE, DEVICE_CONNECT, REGISTRATION_READ, REGISTRATION_WRITE)
#: What some rights contain beside themselves. Inferred: the policy that may do everything was recorded with no more
#: than :data:`OWNER_RIGHTS` (azure-cli, recorded test test_dps_lifecycle).
CONTAINED: Mapping[str, frozenset[str]] = {
    ENROLLMENT_WRITE: frozenset({ENROLLMENT_READ, REGISTRATION_READ, REGISTRATION_WRITE}),
    REGISTRATION_WRITE: frozenset({REGISTRATION_READ}),
}
OWNER_RIGHTS = (SERVICE_CONFIG, DEVICE_CONNECT, ENROLLMENT_WRITE)

#: More policies are refused (simulator-only limit).
MAX_POLICIES = 100
KEY_BYTES = 32
SHORTEST_KEY, LONGEST_KEY = 16, 64

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_OWNER = "owner"
_FIELDS = ("keyName", "primaryKey", "secondaryKey", "rights")


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """One policy.

    Attributes:
        name: by which tokens name it; there are no two whose names differ in case only.
        primary_key, secondary_key: base64; either signs tokens.
        rights: out of :data:`RIGHTS`.
    """

    name: str
    primary_key: str = field(repr=False)
    secondary_key: str = field(repr=False)
    rights: tuple[str, ...]

    def allows(self, right: str) -> bool:
        """Whether the policy gives this right, by itself or because another one contains it."""
        return any(right == own or right in CONTAINED.get(own, ()) for own in self.rights)

    def decoded_keys(self) -> tuple[bytes, bytes]:
        """The bytes of the primary and of the secondary key, either of which signs tokens."""
        return SymmetricKey.of(self.primary_key).data, SymmetricKey.of(self.secondary_key).data

    def to_json(self) -> Document:
        """The policy as the API writes it, keys included."""
        return {
            "keyName": self.name,
            "primaryKey": self.primary_key,
            "secondaryKey": self.secondary_key,
            "rights": ", ".join(self.rights),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> AccessPolicy:
        """The one that a stored document describes."""
        return cls(**{**document, "rights": tuple(document["rights"])})


class AccessPolicies:
    """All policies of a service. One of them, the owner's, always exists: the simulator's own clients use it.

    Arguments:
        storage: the store, in whose collections they outlive this process.
        owner_name: name of the owner's policy, as the settings say.
        owner_key: its primary key, as the settings say, base64. Once it was replaced here, the new one counts, until
            the settings name yet another.
        changed: called after every change that is kept.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        owner_name: str,
        owner_key: str,
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        self.changed = changed
        self._storage = storage
        self._documents = storage.collection("access policy")
        self._owners = storage.collection("access policy of the owner")
        with storage.transaction():
            self._settle_owner(owner_name, owner_key)

    @property
    def owner(self) -> AccessPolicy:
        """The policy of the settings, which always exists and has all rights."""
        name = (self._owners.get(_OWNER) or {})["name"]
        return AccessPolicy.from_document(self._documents.get(lookup_key(name)) or {})

    def all(self) -> Sequence[AccessPolicy]:
        """All policies, in the order in which they were made."""
        return [AccessPolicy.from_document(stored.body) for stored in self._documents.page(limit=MAX_POLICIES)]

    def find(self, name: str) -> AccessPolicy | None:
        """The policy with this name, or ``None``."""
        document = self._documents.get(lookup_key(name))
        return None if document is None else AccessPolicy.from_document(document)

    def get(self, name: str) -> AccessPolicy:
        """The policy with this name.

        Raises:
            ServiceError: there is none.
        """
        policy = self.find(name)
        if policy is None:
            raise ServiceError(
                ResourceManager.POLICY_NOT_FOUND,
                f"There is no access policy {name!r:.120}; there are {', '.join(each.name for each in self.all())}.",
            )
        return policy

    def put(self, policy: AccessPolicy) -> None:
        """Make a policy, or replace the one with its name. That it makes sense, :meth:`read` has checked."""
        with self._storage.transaction():
            self._keep(policy)
            self._storage.when_committed(self.changed)

    def remove(self, name: str) -> bool:
        """Remove a policy; tells whether there was one.

        Raises:
            ServiceError: it is the owner's.
        """
        if lookup_key(name) == lookup_key(self.owner.name):
            raise _owner_is_needed(self.owner.name)
        with self._storage.transaction():
            self._storage.when_committed(self.changed)
            return self._documents.delete(lookup_key(name))

    def replace_all(self, policies: Sequence[AccessPolicy]) -> None:
        """Keep exactly these policies.

        Raises:
            ServiceError: the owner's is not among them.
        """
        kept = {lookup_key(policy.name) for policy in policies}
        with self._storage.transaction():
            if lookup_key(self.owner.name) not in kept:
                raise _owner_is_needed(self.owner.name)
            for policy in self.all():
                if lookup_key(policy.name) not in kept:
                    self._documents.delete(lookup_key(policy.name))
            for policy in policies:
                self._keep(policy)
            self._storage.when_committed(self.changed)

    def restore(self) -> None:
        """Back to the one policy of the owner with all its rights; its keys stay."""
        self.replace_all([replace(self.owner, rights=OWNER_RIGHTS)])

    def read(self, where: str, value: object) -> Sequence[AccessPolicy]:
        """The policies that a request describes. Nothing is changed.

        A key that is not given is that of the present policy, and a new one for a new policy. The first is inferred,
        the second is what azure-cli relies on.

        Arguments:
            where: name of the field, for errors.
            value: the list.

        Raises:
            ServiceError: the list or a policy in it is not possible; keys are not repeated.
        """
        if not isinstance(value, list):
            raise _invalid(f"{where} is {described(value)}; it must be a list of policies.")
        if len(value) > MAX_POLICIES:
            raise _invalid(f"{where} has {len(value)} policies; at most {MAX_POLICIES} are possible.")
        policies = [self._read_one(f"{where}[{index}]", item) for index, item in enumerate(value)]
        names = [lookup_key(policy.name) for policy in policies]
        for policy in policies:
            if names.count(lookup_key(policy.name)) > 1:
                raise _invalid(f"{where} has the policy {policy.name!r} more than once.")
        if lookup_key(self.owner.name) not in names:
            raise _owner_is_needed(self.owner.name)
        return policies

    def _read_one(self, where: str, value: object) -> AccessPolicy:
        given = checked_object(where, value)
        unknown = sorted(set(given) - set(_FIELDS))
        if unknown:
            raise _invalid(f"{where} has the unknown field {unknown[0]!r:.80}; known are {', '.join(_FIELDS)}.")
        name = given.get("keyName")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            shown = f"{name!r:.120}" if isinstance(name, str) else described(name)
            raise _invalid(f"{where}.keyName is {shown}; it must have 1 to 64 letters, digits and . _ -")
        rights = _read_rights(f"{where}.rights", given.get("rights"))
        present = self.find(name)
        primary, secondary = (present.primary_key, present.secondary_key) if present is not None else ("", "")
        return AccessPolicy(
            name=name if present is None else present.name,
            primary_key=_read_key(f"{where}.primaryKey", given.get("primaryKey"), primary),
            secondary_key=_read_key(f"{where}.secondaryKey", given.get("secondaryKey"), secondary),
            rights=rights,
        )

    def _settle_owner(self, name: str, key: str) -> None:
        """Make the policy of the owner, or the present one what the settings say."""
        seed = hashlib.sha256(key.encode()).hexdigest()
        known = self._owners.get(_OWNER)
        if known is None:
            policy = AccessPolicy(name, key, new_key(), OWNER_RIGHTS)
        else:
            # the state may have been emptied of all but its owner's keys
            policy = self.find(known["name"]) or AccessPolicy(
                name, known["primary_key"], known["secondary_key"], OWNER_RIGHTS
            )
            if lookup_key(known["name"]) != lookup_key(name):
                self._documents.delete(lookup_key(known["name"]))
            policy = replace(policy, name=name)
            if not hmac.compare_digest(known["seed"], seed):
                policy = replace(policy, primary_key=key)
        self._owners.put(_OWNER, {"name": name, "seed": seed})
        self._keep(policy)

    def _keep(self, policy: AccessPolicy) -> None:
        self._documents.put(lookup_key(policy.name), asdict(policy))
        owner = self._owners.get(_OWNER) or {}
        if lookup_key(policy.name) == lookup_key(owner["name"]):
            keys = {"primary_key": policy.primary_key, "secondary_key": policy.secondary_key}
            self._owners.put(_OWNER, {**owner, **keys})


def new_key() -> str:
    """A key that nobody knows yet, base64."""
    return SymmetricKey.new(KEY_BYTES).text


def _read_rights(where: str, value: object) -> tuple[str, ...]:
    spelled = {right.lower(): right for right in RIGHTS}
    if not isinstance(value, str) or len(value) > 200:
        raise _invalid(f"{where} is {described(value)}; it must be a text such as 'EnrollmentRead, EnrollmentWrite'.")
    words = [word.strip() for word in value.split(",")]
    for word in words:
        if word.lower() not in spelled:
            raise _invalid(f"{where} contains {word!r:.80}; a right is one of {', '.join(RIGHTS)}.")
    return tuple(dict.fromkeys(spelled[word.lower()] for word in words))


def _read_key(where: str, value: object, present: str) -> str:
    if value is None:
        return present or new_key()
    expected = f"it must be base64 of {SHORTEST_KEY} to {LONGEST_KEY} bytes (its value is not shown)"
    if not isinstance(value, str):
        raise _invalid(f"{where} is {described(value)}; {expected}.")
    data = decoded(value)
    if data is None:
        raise _invalid(f"{where} is not base64; {expected}.")
    if not SHORTEST_KEY <= len(data) <= LONGEST_KEY:
        raise _invalid(f"{where} has {len(data)} bytes; {expected}.")
    return value


def _owner_is_needed(name: str) -> ServiceError:
    return ServiceError(
        ResourceManager.OWNER_POLICY_NEEDED,
        f"The access policy {name!r} cannot be removed: this simulator's own clients use it. Give its keys and rights "
        "along with those of the others, or leave authorizationPolicies out altogether.",
    )


def _invalid(text: str) -> ServiceError:
    return ServiceError(ResourceManager.INVALID_REQUEST, text)
