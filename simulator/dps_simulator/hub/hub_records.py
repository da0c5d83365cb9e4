"""What a hub keeps of devices and modules, with the indexes that answer without reading all of them.

Each is one document under its address (see :mod:`dps_simulator.hub.modules`). Devices that are disabled are listed once
more by themselves: they are few, and so they can be counted and found without reading the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dps_simulator.common.ports import Documents, Storage, StoredDocument

from .devices import Device, Identity
from .modules import Module

#: Documents that are read from the store at a time, and bytes after which no more are. A twin within the limits may,
#: with its metadata, take more than 1 MB.
MAX_BATCH, _BATCH_BYTES = 50, 128 * 1024
#: What counts for a record whose size is not known.
_LARGE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Found:
    """A device or module on a walk through many.

    Attributes:
        place: where it stands in the order of the walk.
        identity: the device or module.
        size: about how many bytes it takes: a measure of the work that it makes.
    """

    place: int
    identity: Identity
    size: int


class HubRecords:
    r"""The devices and modules of one hub.

    Arguments:
        storage: where they are kept, each under ``{host}\n{address}``.
        host: the hub's host name, in lower case.
    """

    def __init__(self, storage: Storage, host: str) -> None:
        self._host = host
        self._devices = storage.collection("device")
        self._modules = storage.collection("module")
        self._disabled = storage.collection("disabled device")
        self._indexed = storage.collection("hub index")
        if self._indexed.get(host) is None:
            with storage.transaction():
                self._make_index()

    # ---- what was done once

    def is_done(self, step: str) -> bool:
        """Whether a step that brings the records of an older version up to date was noted by :meth:`note_done`."""
        return step in (self._indexed.get(self._host) or {})

    def note_done(self, step: str) -> None:
        """Note a step, so that it is not done at every start."""
        self._indexed.put(self._host, {**(self._indexed.get(self._host) or {}), step: True}, parent=self._host)

    # ---- single records

    def find(self, address: str) -> Identity | None:
        """The device or module with this address, or ``None``."""
        if "/" not in address:
            return self.device(address)
        document = self._modules.get(self._key(address))
        return None if document is None else Module.from_document(document)

    def device(self, device_id: str) -> Device | None:
        """The device with this ID, or ``None``."""
        document = self._devices.get(self._key(device_id))
        return None if document is None else Device.from_document(document)

    def save(self, identity: Identity) -> None:
        """Insert or replace one. Who changes a device's status calls :meth:`list_status`, too."""
        self._of(identity).put(self._key(identity.address), identity.to_document(), parent=self._host)

    def list_status(self, device_id: str, status: str) -> None:
        """Keep the list of disabled devices true."""
        if status == "disabled":
            self._disabled.put(self._key(device_id), {"deviceId": device_id}, parent=self._host)
        else:
            self._disabled.delete(self._key(device_id))

    def remove(self, identity: Identity) -> None:
        """Delete one; with a device go its modules."""
        for address in identity.addresses[1:]:
            self._modules.delete(self._key(address))
        if identity.status == "disabled":
            self._disabled.delete(self._key(identity.address))
        self._of(identity).delete(self._key(identity.address))

    def clear(self) -> None:
        """Delete all records of this hub; those of other hubs in the same store stay."""
        for documents in (self._devices, self._modules, self._disabled):
            documents.clear(parent=self._host)

    # ---- many records

    def counts(self) -> dict[str, int]:
        """How many devices are ``enabled`` and how many ``disabled``; modules do not count."""
        disabled = self._disabled.count(self._host)
        return {"enabled": self._devices.count(self._host) - disabled, "disabled": disabled}

    def total(self) -> int:
        """How many devices and modules there are."""
        return self._devices.count(self._host) + self._modules.count(self._host)

    def modules_of(self, device: Device) -> Iterator[Module]:
        """A device's modules, in order of creation."""
        for address in device.addresses[1:]:
            module = self.find(address)
            if isinstance(module, Module):
                yield module

    def devices(self, after: int = 0, batch: int = MAX_BATCH) -> Iterator[Found]:
        """All devices in the order of creation, those behind the place ``after``, read so many at a time at most."""
        for stored in self._walk(self._devices, after, batch):
            yield Found(stored.sequence, Device.from_document(stored.body), stored.size)

    def modules(self, after: int = 0) -> Iterator[Found]:
        """All modules in the order of creation, those behind the place ``after``."""
        for stored in self._walk(self._modules, after):
            yield Found(stored.sequence, Module.from_document(stored.body), stored.size)

    def disabled(self, after: int = 0) -> Iterator[Found]:
        """The disabled devices, each with its place in the order in which they were disabled."""
        for stored in self._walk(self._disabled, after):
            device = self.device(stored.body["deviceId"])
            if device is not None:
                yield Found(stored.sequence, device, _LARGE)

    def named(self, device_ids: Iterable[str], after: int = 0, *, modules: bool) -> Iterator[Found | None]:
        """The devices with these IDs, or their modules, each with its generation as its place.

        They have to be looked up before their order is known; ``None`` comes for each that was, without being it yet.
        """
        found: list[tuple[int, str]] = []
        for device_id in device_ids:
            device = self.device(device_id)
            if device is None:
                yield None
                continue
            for identity in self.modules_of(device) if modules else (device,):
                found.append((int(identity.generation), identity.address))
                yield None
        for place, address in sorted(found):
            found_again = self.find(address) if place > after else None
            yield None if found_again is None else Found(place, found_again, _LARGE)

    # ---- inside

    def _key(self, address: str) -> str:
        return f"{self._host}\n{address}"

    def _of(self, identity: Identity) -> Documents:
        return self._modules if isinstance(identity, Module) else self._devices

    def _walk(self, documents: Documents, after: int, batch: int = MAX_BATCH) -> Iterator[StoredDocument]:
        while page := documents.page(after=after, limit=batch, parent=self._host, max_bytes=_BATCH_BYTES):
            yield from page
            after = page[-1].sequence

    def _make_index(self) -> None:
        """List the disabled devices of a state that was written before there was such a list."""
        for found in self.devices():
            if found.identity.status == "disabled":
                self.list_status(found.identity.device_id, "disabled")
        self._indexed.put(self._host, {}, parent=self._host)
