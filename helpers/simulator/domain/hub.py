"""One IoT hub: its registry of devices with their twins, its connections and its telemetry."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..clock import Clock
from ..errors import Hub, ServiceError, described
from .connections import Connections
from .devices import (
    authentication_body,
    changed_identity,
    check_device_id,
    check_precondition,
    new_identity,
    render_identity,
)
from .ports import DeviceCredentials, Document, Storage
from .query import Query, parse
from .telemetry import TelemetryBuffer
from .twins import (
    TwinChange,
    device_view,
    new_twin,
    patch_twin,
    portable_twin,
    render_twin,
    replace_twin,
    report,
    reset_twin,
    twin_etag,
)

#: Devices in one list, and rows in one page of a query.
MAX_PAGE = 1_000
#: Documents that are read from the store at a time.
_BATCH = 200


@dataclass(frozen=True, slots=True)
class QueryPage:
    """One page of a query's result.

    Attributes:
        items: twins, or rows when the query projects or aggregates.
        item_type: ``Twin`` or ``Raw``.
        continuation: the token of the next page, ``None`` on the last one.
    """

    items: list[Document]
    item_type: str
    continuation: str | None


class IotHub:
    r"""A hub. Implements :class:`.ports.LinkedHub`.

    Every change is one transaction; connected devices are told, or dropped, after it - inside a larger one, after that.

    Arguments:
        host: the hub's host name; kept in lower case.
        storage: where devices are kept, each under ``{host}\n{device ID}``.
        clock: the time.
    """

    def __init__(self, *, host: str, storage: Storage, clock: Clock) -> None:
        self._host = host.lower()
        self._storage = storage
        self._documents = storage.collection("device")
        self._clock = clock
        self._last_generation = ""
        self.connections = Connections(clock)
        self.telemetry = TelemetryBuffer()

    @property
    def host(self) -> str:
        """The hub's host name, in lower case."""
        return self._host

    # ---- devices

    def has_device(self, device_id: str) -> bool:
        """Whether the device is in the registry."""
        return self._documents.get(self._key(device_id)) is not None

    def identity(self, device_id: str) -> Document | None:
        """The identity as it is kept, with its keys; ``None`` when the device is unknown."""
        stored = self._documents.get(self._key(device_id))
        return None if stored is None else dict(stored["identity"])

    def device(self, device_id: str) -> Document:
        """The identity as the hub's API shows it.

        Raises:
            ServiceError: there is no such device.
        """
        return self._render(self._require(device_id)["identity"])

    def devices(self, top: int = MAX_PAGE) -> list[Document]:
        """The first identities in order of creation, at most 1000."""
        page = self._documents.page(limit=min(top, MAX_PAGE), parent=self._host)
        return [self._render(stored.body["identity"]) for stored in page]

    def put_device(self, device_id: str, body: object, if_match: str | None = None) -> Document:
        """Create a device, or with ``If-Match`` change one.

        Raises:
            ServiceError: a wrong field, a device that exists (without ``If-Match``) or does not (with it), or an ETag
                that does not match.
        """
        check_device_id(device_id)
        if not isinstance(body, Mapping):
            raise ServiceError(Hub.ARGUMENT_INVALID, f"The body must be a JSON object, not {described(body)}.")
        with self._storage.transaction():
            stored = self._documents.get(self._key(device_id))
            if stored is None:
                if if_match is not None:
                    raise _not_found(device_id)
                stored = self._new(device_id, body, None)
            elif if_match is None:
                raise ServiceError(Hub.DEVICE_EXISTS, reason=f"{device_id!r} exists and there is no If-Match header")
            else:
                check_precondition(if_match, stored["identity"]["etag"])
                stored["identity"] = changed_identity(stored["identity"], body, self._clock.now())
            self._save(device_id, stored)
        if stored["identity"]["status"] == "disabled":
            disabled = ServiceError(Hub.UNAUTHORIZED_ACCESS, reason=f"the device {device_id!r} was disabled")
            self._storage.when_committed(lambda: self.connections.drop(device_id, disabled))
        return self._render(stored["identity"])

    def delete_device(self, device_id: str, if_match: str | None = None) -> None:
        """Delete a device with its twin and drop its connection.

        Raises:
            ServiceError: there is no such device, or the ETag does not match.
        """
        with self._storage.transaction():
            check_precondition(if_match, self._require(device_id)["identity"]["etag"])
            self._remove(device_id)

    def statistics(self) -> Document:
        """How many devices there are, and how many of them may connect."""
        total = enabled = 0
        for stored in self._all():
            total += 1
            enabled += stored["identity"]["status"] == "enabled"
        return {
            "totalDeviceCount": total,
            "enabledDeviceCount": enabled,
            "disabledDeviceCount": total - enabled,
        }

    def clear(self) -> None:
        """Drop every connection and forget every device and message."""
        with self._storage.transaction():
            while page := self._documents.page(limit=_BATCH, parent=self._host):
                for stored in page:
                    self._documents.delete(stored.key)
        self._storage.when_committed(lambda: self.connections.drop_all(_device_gone("the hub was reset")))
        self._storage.when_committed(self.telemetry.clear)

    # ---- what the provisioning service does

    def provision_device(
        self,
        device_id: str,
        credentials: DeviceCredentials,
        *,
        iot_edge: bool,
        initial_twin: Mapping[str, Any] | None,
    ) -> None:
        """Create the device, or renew its credentials when it exists; see :class:`.ports.LinkedHub`."""
        body = {"authentication": authentication_body(credentials), "capabilities": {"iotEdge": iot_edge}}
        change: TwinChange | None = None
        with self._storage.transaction():
            stored = self._documents.get(self._key(device_id))
            if stored is None:
                self._save(device_id, self._new(device_id, body, initial_twin))
                return
            now = self._clock.now()
            changed = changed_identity(stored["identity"], body, now)
            compared = ("authentication", "capabilities")
            unchanged = all(changed[name] == stored["identity"][name] for name in compared)
            if unchanged and initial_twin is None:
                return
            if not unchanged:
                stored["identity"] = changed
            if initial_twin is not None:
                change = reset_twin(stored["twin"], initial_twin, now)
                stored["twin"] = change.twin
            self._save(device_id, stored)
        self._tell(device_id, change)

    def remove_device(self, device_id: str) -> Document | None:
        """Delete the device and return the content of its twin, ``None`` when it is unknown."""
        with self._storage.transaction():
            stored = self._documents.get(self._key(device_id))
            if stored is None:
                return None
            self._remove(device_id)
        return portable_twin(stored["twin"])

    # ---- twins

    def twin(self, device_id: str) -> Document:
        """The twin as the service side sees it.

        Raises:
            ServiceError: there is no such device.
        """
        stored = self._require(device_id)
        return self._render_twin(stored)

    def patch_twin(self, device_id: str, body: object, if_match: str | None = None) -> Document:
        """Merge into tags and desired properties; a connected device is told.

        Raises:
            ServiceError: no such device, wrong ETag, or the twin would break a rule.
        """
        return self._write_twin(device_id, body, if_match, patch_twin)

    def replace_twin(self, device_id: str, body: object, if_match: str | None = None) -> Document:
        """Replace tags and desired properties; a connected device is told.

        Raises:
            ServiceError: no such device, wrong ETag, or the twin would break a rule.
        """
        return self._write_twin(device_id, body, if_match, replace_twin)

    def device_twin(self, device_id: str) -> Document:
        """The twin as the device sees it.

        Raises:
            ServiceError: there is no such device.
        """
        return device_view(self._require(device_id)["twin"])

    def report(self, device_id: str, patch: object) -> int:
        """Merge into the reported properties; returns their new version.

        Raises:
            ServiceError: no such device, or the properties would break a rule.
        """
        with self._storage.transaction():
            stored = self._require(device_id)
            stored["twin"] = report(stored["twin"], patch, self._clock.now())
            self._save(device_id, stored)
        return int(stored["twin"]["reported"]["version"])

    # ---- subscriptions that outlive a connection

    def subscriptions(self, device_id: str) -> dict[str, int]:
        """Topic filters and granted QoS that the device's persistent session holds."""
        stored = self._documents.get(self._key(device_id))
        return {} if stored is None else dict(stored.get("subscriptions", {}))

    def keep_subscriptions(self, device_id: str, subscriptions: Mapping[str, int]) -> None:
        """Replace what the device's persistent session holds. An unknown device is ignored."""
        with self._storage.transaction():
            stored = self._documents.get(self._key(device_id))
            if stored is not None and stored.get("subscriptions", {}) != subscriptions:
                stored["subscriptions"] = dict(subscriptions)
                self._save(device_id, stored)

    # ---- queries

    def query(self, text: object, *, page_size: int = MAX_PAGE, continuation: str | None = None) -> QueryPage:
        """One page of a query over the twins.

        Raises:
            ServiceError: the query is not valid or not supported, or the token is not one of this query.
        """
        if not isinstance(text, str):
            raise ServiceError(Hub.ARGUMENT_INVALID, f"query must be a text in the query language, not {text!r:.60}.")
        query = parse(text)
        digest = hashlib.sha256(f"{self._host}\n{text}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
        start, given = _read_token(continuation, digest)
        size = min(page_size, MAX_PAGE)
        if query.aggregates:
            rows = query.summarise(twin for _, twin in self._matching(query, 0))[: query.top]
            items, following = rows[start : start + size], start + size
            more = following < len(rows)
        else:
            if query.top is not None:
                size = min(size, query.top - given)
            items, following, more = [], start, False
            for sequence, twin in self._matching(query, start):
                if len(items) == size:
                    more = True
                    break
                items.append(query.project(twin))
                following = sequence
            given += len(items)
            more = more and given != query.top
        return QueryPage(
            items,
            "Twin" if query.selects_twins else "Raw",
            _make_token(following, given, digest) if more else None,
        )

    # ---- inside

    def _key(self, device_id: str) -> str:
        return f"{self._host}\n{device_id}"

    def _require(self, device_id: str) -> Document:
        stored = self._documents.get(self._key(check_device_id(device_id)))
        if stored is None:
            raise _not_found(device_id)
        return stored

    def _new(self, device_id: str, body: Mapping[str, Any], initial_twin: Mapping[str, Any] | None) -> Document:
        now = self._clock.now()
        identity = new_identity(device_id, body, now, after=self._last_generation)
        self._last_generation = identity["generationId"]
        return {"identity": identity, "twin": new_twin(now, initial_twin)}

    def _save(self, device_id: str, stored: Mapping[str, Any]) -> None:
        self._documents.put(self._key(device_id), stored, parent=self._host)

    def _remove(self, device_id: str) -> None:
        def forget() -> None:
            self.connections.drop(device_id, _device_gone(f"the device {device_id!r} was deleted"))
            self.connections.forget(device_id)

        self._documents.delete(self._key(device_id))
        self._storage.when_committed(forget)

    def _render(self, identity: Mapping[str, Any]) -> Document:
        return render_identity(identity, self.connections.liveliness(identity["deviceId"]))

    def _render_twin(self, stored: Mapping[str, Any]) -> Document:
        identity = stored["identity"]
        return render_twin(identity, stored["twin"], self.connections.liveliness(identity["deviceId"]))

    def _write_twin(
        self, device_id: str, body: object, if_match: str | None, write: Callable[..., TwinChange]
    ) -> Document:
        with self._storage.transaction():
            stored = self._require(device_id)
            check_precondition(if_match, twin_etag(stored["twin"]))
            change = write(stored["twin"], body, self._clock.now())
            stored["twin"] = change.twin
            self._save(device_id, stored)
        self._tell(device_id, change)
        return self._render_twin(stored)

    def _tell(self, device_id: str, change: TwinChange | None) -> None:
        if change is None or change.desired_patch is None:
            return
        patch = change.desired_patch

        def tell() -> None:
            connection = self.connections.get(device_id)
            if connection is not None:
                connection.desired_changed(patch)

        self._storage.when_committed(tell)

    def _all(self) -> Iterator[Document]:
        for _, stored in self._from(0):
            yield stored

    def _from(self, after: int) -> Iterator[tuple[int, Document]]:
        while page := self._documents.page(after=after, limit=_BATCH, parent=self._host):
            for stored in page:
                yield stored.sequence, stored.body
            after = page[-1].sequence

    def _matching(self, query: Query, after: int) -> Iterator[tuple[int, Document]]:
        for sequence, stored in self._from(after):
            twin = self._render_twin(stored)
            if query.matches(twin):
                yield sequence, twin


def _not_found(device_id: str) -> ServiceError:
    return ServiceError(Hub.DEVICE_NOT_FOUND, f"The device {device_id!r} is not registered.")


def _device_gone(reason: str) -> ServiceError:
    return ServiceError(Hub.DEVICE_NOT_FOUND, reason=reason)


def _make_token(position: int, given: int, digest: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([position, given, digest]).encode()).decode("ascii")


def _read_token(token: str | None, digest: str) -> tuple[int, int]:
    """Where the page starts and how many rows were given before it."""
    if token is None:
        return 0, 0
    try:
        position, given, of = json.loads(base64.urlsafe_b64decode(token.encode("ascii")))
    except (ValueError, TypeError, RecursionError):
        position, given, of = -1, -1, None
    numbers = all(isinstance(number, int) and 0 <= number < 2**63 for number in (position, given))
    if of != digest or not numbers:
        raise ServiceError(
            Hub.ARGUMENT_INVALID,
            f"The continuation token {token!r:.60} does not belong to this query. Send the one of the previous page.",
        )
    return position, given
