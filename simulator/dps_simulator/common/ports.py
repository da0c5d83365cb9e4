"""What the domain needs from outside, as protocols that the store and the hub implement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

Document = dict[str, Any]
"""A JSON object."""


class StorageError(Exception):
    """What is kept cannot be read or changed now, and whoever asked is not to blame.

    Arguments:
        text: what is wrong, where, and what to do, for whoever runs the simulator.
        brief: what a client is told, which sees neither the files nor the disk.
    """

    def __init__(self, text: str, brief: str = "This simulator cannot use its state; its log says more.") -> None:
        super().__init__(text)
        self.brief = brief


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document together with its place in the order of insertion.

    Attributes:
        sequence: grows with every insertion; replacing a document keeps its number.
        key: the document's key within its collection.
        body: the document.
        size: bytes of its JSON, a measure of the work that it makes.
    """

    sequence: int
    key: str
    body: Document = field(repr=False)
    size: int = 0


class Documents(Protocol):
    """One collection of JSON documents, each under a key and optionally under a parent."""

    def get(self, key: str) -> Document | None:
        """The document, or ``None``."""

    def put(self, key: str, body: Mapping[str, Any], parent: str = "") -> int:
        """Insert or replace; tells how many bytes the JSON of the document has."""

    def delete(self, key: str) -> bool:
        """Remove; tells whether it was there."""

    def page(
        self, *, after: int = 0, limit: int, parent: str | None = None, max_bytes: int | None = None
    ) -> Sequence[StoredDocument]:
        """Up to ``limit`` documents in order of insertion, those with a sequence above ``after``.

        With ``max_bytes`` no more are read once they take so many bytes together; the first one always is.
        """

    def count(self, parent: str | None = None) -> int:
        """How many documents there are."""

    def size(self) -> int:
        """Bytes of all documents together, as JSON."""

    def clear(self, parent: str | None = None) -> None:
        """Remove all documents of the collection, or those with this parent."""


class Storage(Protocol):
    """All collections, and one transaction around changes to several of them."""

    def collection(self, name: str) -> Documents:
        """The collection with this name; the same name always gives the same documents."""

    def transaction(self) -> AbstractContextManager[None]:
        """All changes inside are kept, or none (when an exception leaves the block). May be nested."""

    def when_committed(self, action: Callable[[], object]) -> None:
        """Run an action once the changes made so far are kept, never when they are undone; outside, at once."""


@dataclass(frozen=True, slots=True)
class DeviceCredentials:
    """How a device may authenticate to a hub.

    Attributes:
        type: ``sas``, ``selfSigned`` or ``certificateAuthority`` (names of the hub's API).
        primary_key, secondary_key: base64 keys, for ``sas``.
        primary_thumbprint, secondary_thumbprint: hexadecimal, for ``selfSigned``.
    """

    type: str = "sas"
    primary_key: str = field(default="", repr=False)
    secondary_key: str = field(default="", repr=False)
    primary_thumbprint: str = ""
    secondary_thumbprint: str = ""


class LinkedHub(Protocol):
    """What the provisioning service does with a hub that is linked to it."""

    @property
    def host(self) -> str:
        """The hub's host name in lower case, e.g. ``contoso-hub-1.azure-devices.test``."""

    def twin_content(self, device_id: str) -> Mapping[str, Any] | None:
        """The device's twin in the shape of an initial twin plus ``reported``; ``None`` without such a device."""

    def provision_device(
        self,
        device_id: str,
        credentials: DeviceCredentials,
        *,
        iot_edge: bool,
        initial_twin: Mapping[str, Any],
        reset: bool,
    ) -> None:
        """Create the device, or renew its credentials when it exists. All of this happens, or nothing.

        ``initial_twin`` (``{"tags": {…}, "properties": {"desired": {…}}}``, ``reported`` in it for a twin that moves)
        becomes the twin of a new device. An existing device keeps its twin, or with ``reset`` gets these tags and
        desired properties.
        """

    def remove_device(self, device_id: str) -> Mapping[str, Any] | None:
        """Delete the device and return what :meth:`twin_content` gave."""
