"""Puts into a new simulator what its settings say it begins with.

A simulator is new when it keeps nothing yet: the first time with its state folder, and after a reset. Whatever
somebody made or changed since then is never touched. All seeds are applied, or none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dps_simulator.common.ports import Storage
from dps_simulator.errors.table import ServiceError

from .seeds_in_file import Seeds
from .values import SettingsError

#: Collection and key of the note that the seeds were applied. A reset forgets it, as it forgets what came of them.
COLLECTION = "seeds"
_KEY = "applied"


def apply(seeds: Seeds, storage: Storage, takers: Mapping[str, Callable[[Mapping[str, Any]], object]]) -> None:
    """Put the seeds in, and note that they were. Who calls, looks with :func:`are_due` first.

    Arguments:
        seeds: see :class:`~dps_simulator.settings.seeds_in_file.Seeds`.
        storage: the store, where a note says that the seeds were applied.
        takers: what takes a seed of each table, in the order in which they need each other.

    Raises:
        SettingsError: a service does not take one of them; nothing has changed then. The text names file, table,
            number and field.
    """
    with storage.transaction():
        for table, take in takers.items():
            for number, seed in enumerate(getattr(seeds, table), 1):
                try:
                    take(seed)
                except ServiceError as error:
                    why = f" {error.reason}" if error.reason and error.reason not in error.message else ""
                    raise SettingsError(f"{seeds.place(table, number)}: {error.message}{why}") from error
        notes = storage.collection(COLLECTION)
        notes.put(_KEY, {"certificates": len(seeds.certificates), "devices": len(seeds.devices)})


def are_due(seeds: Seeds, storage: Storage) -> bool:
    """Whether there are seeds that were not applied since the last reset."""
    return bool(seeds) and storage.collection(COLLECTION).get(_KEY) is None
