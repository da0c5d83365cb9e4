"""Puts into a new simulator what its settings say it begins with.

A simulator is new when it keeps nothing yet: the first time with its state folder, and after a reset. Whatever
somebody made or changed since then is never touched. All seeds are applied, or none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from dps_simulator.common.ports import Storage
from dps_simulator.errors.table import ServiceError

from .seeds_in_file import Seeds, hub_of_device
from .values import SettingsError


class Enrollments(Protocol):
    """Enrollments of one kind, as far as seeds need them."""

    def put(self, enrollment_id: str, document: dict[str, Any], /) -> object:
        """Create an enrollment from the fields of the API; raises ``ServiceError`` for one that is refused."""

    def all(self) -> Iterator[object]:
        """Every one there is."""


class Authorities(Protocol):
    """Uploaded CA certificates, as far as seeds need them."""

    def put(self, name: str, upload: Mapping[str, Any], /, *, must_be_new: bool) -> object:
        """Upload a certificate under a name; raises ``ServiceError`` for one that is refused."""

    def all(self) -> Sequence[object]:
        """Every one there is."""


class Hub(Protocol):
    """A hub, as far as seeds need it."""

    def devices(self, limit: int, /) -> Sequence[object]:
        """The first devices of the hub, at most so many."""

    def put_device(self, device_id: str, identity: dict[str, Any], /, *, initial_twin: Any) -> object:
        """Create a device with its twin."""


#: Collection and key of the note that the seeds were applied. A reset forgets it, as it forgets what came of them.
COLLECTION = "seeds"
_KEY = "applied"
#: Keys of a device's seed that its identity does not have.
_BESIDE_IDENTITY = ("hub", "twin")


def apply(
    seeds: Seeds,
    storage: Storage,
    *,
    authorities: Authorities,
    groups: Enrollments,
    individuals: Enrollments,
    hubs: Mapping[str, Hub],
) -> bool:
    """Put the seeds in, unless it was done before or there is something already; tells whether it was done.

    Arguments:
        seeds: see :class:`~dps_simulator.settings.seeds_in_file.Seeds`.
        storage: the store, where a note says that the seeds were applied.
        authorities: get the certificates.
        groups: get the enrollments of groups.
        individuals: get the individual enrollments.
        hubs: get the devices, each by its host name.

    Raises:
        SettingsError: a service does not take one of them; nothing has changed then. The text names file, table,
            number and field.
    """
    if not seeds:
        return False
    notes = storage.collection(COLLECTION)
    if notes.get(_KEY) is not None or not _is_empty(authorities, groups, individuals, hubs):
        return False
    hosts = list(hubs)
    takers: Mapping[str, Callable[[Mapping[str, Any]], object]] = {
        # in this order: groups refer to certificates
        "certificates": lambda seed: authorities.put(seed["name"], _upload(seed), must_be_new=True),
        "enrollment_groups": lambda seed: groups.put(seed["enrollmentGroupId"], dict(seed)),
        "enrollments": lambda seed: individuals.put(seed["registrationId"], dict(seed)),
        "devices": lambda seed: _put_device(hubs[hub_of_device(seed, hosts)], seed),
    }
    with storage.transaction():
        for table, take in takers.items():
            for number, seed in enumerate(getattr(seeds, table), 1):
                try:
                    take(seed)
                except ServiceError as error:
                    why = f" {error.reason}" if error.reason and error.reason not in error.message else ""
                    raise SettingsError(f"{seeds.place(table, number)}: {error.message}{why}") from error
        notes.put(_KEY, {"certificates": len(seeds.certificates), "devices": len(seeds.devices)})
    return True


def _is_empty(authorities: Authorities, groups: Enrollments, individuals: Enrollments, hubs: Mapping[str, Hub]) -> bool:
    """Whether nobody has made anything yet."""
    return not (
        any(hub.devices(1) for hub in hubs.values())
        or authorities.all()
        or any(next(book.all(), None) is not None for book in (groups, individuals))
    )


def _upload(seed: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body of an upload."""
    return {"properties": {name: value for name, value in seed.items() if name != "name"}}


def _put_device(hub: Hub, seed: Mapping[str, Any]) -> None:
    """Create a device with its twin."""
    identity = {name: value for name, value in seed.items() if name not in _BESIDE_IDENTITY}
    hub.put_device(seed["deviceId"], identity, initial_twin=seed.get("twin"))
