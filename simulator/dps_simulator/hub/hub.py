"""One IoT hub: its registry of devices and modules with their twins, its connections and its messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import Any

from dps_simulator.common.clock import Clock
from dps_simulator.common.ports import DeviceCredentials, Document, Storage
from dps_simulator.common.throttling import Throttle
from dps_simulator.credentials.certificates import Certificate
from dps_simulator.errors.table import Hub, ServiceError, described

from .cloud_to_device import CloudToDeviceQueues
from .connections import Connections
from .devices import (
    authentication_body,
    changed_identity,
    check_device_id,
    check_precondition,
    edge_device_of,
    new_identity,
    render_identity,
    scopes_above,
    wrong_value,
)
from .hub_queries import MAX_PAGE, TWIN_WORK, HubQueries, QueryPage, Steps, Work
from .hub_records import MAX_BATCH, HubRecords
from .modules import (
    EDGE_MODULES,
    MAX_MODULES,
    changed_module,
    check_address,
    check_module_id,
    module_address,
    new_module,
    render_module,
    split_address,
)
from .telemetry import TelemetryBuffer
from .twins import (
    TwinChange,
    device_view,
    new_twin,
    patch_twin,
    portable_twin,
    render_module_twin,
    render_twin,
    replace_twin,
    report,
    reset_twin,
    twin_etag,
)

__all__ = ["MAX_PAGE", "IotHub", "QueryPage", "Steps"]

#: What is noted in the state, once for each hub.
_EDGE_MODULES_GIVEN = "edge modules"


class IotHub:
    r"""A hub. Implements :class:`~dps_simulator.common.ports.LinkedHub`.

    Every change is one transaction; connected devices are told, or dropped, after it - inside a larger one, after that.
    Twins, connections and subscriptions go by an address: a device ID, or ``{device ID}/{module ID}``.

    Arguments:
        host: the hub's host name; kept in lower case.
        storage: where devices and modules are kept.
        clock: the time.
        authorities: gives the CA certificates whose devices may connect. On Azure every hub has its own; here all hubs
            share the verified ones of the provisioning service (simulator-only).
        throttle: the limits of the hub; ``None`` for none.
    """

    def __init__(
        self,
        *,
        host: str,
        storage: Storage,
        clock: Clock,
        authorities: Callable[[], Sequence[Certificate]] = tuple,
        throttle: Throttle | None = None,
    ) -> None:
        self._host = host.lower()
        self._storage = storage
        self._records = HubRecords(storage, self._host)
        self._queries = HubQueries(self._host, self._records, self._rendered_twin)
        self._clock = clock
        self._last_generation = ""
        self.authorities = authorities
        self.throttle = throttle or Throttle(clock)
        self.connections = Connections(clock)
        self.telemetry = TelemetryBuffer()
        self.cloud_to_device = CloudToDeviceQueues(
            host=self._host,
            storage=storage,
            clock=clock,
            has_device=self.has_device,
            connections=self.connections,
            admit=lambda: self.throttle.take("cloud_to_device_per_minute", self._host),
        )
        if not self._records.is_done(_EDGE_MODULES_GIVEN):
            self._give_edge_modules()

    @property
    def host(self) -> str:
        """The hub's host name, in lower case."""
        return self._host

    def transaction(self) -> AbstractContextManager[None]:
        """All changes inside are kept, or none. May be nested."""
        return self._storage.transaction()

    # ---- devices

    def has_device(self, device_id: str) -> bool:
        """Whether the device is in the registry; the address of a module asks for that module."""
        return self._records.find(device_id) is not None

    def identity(self, address: str) -> Document | None:
        """The identity as it is kept, with its keys; ``None`` when it is unknown. A module has its device's status."""
        record = self._records.find(address)
        device_id, module_id = split_address(address)
        if record is None or not module_id:
            return None if record is None else dict(record["identity"])
        device = self._records.find(device_id)
        return None if device is None else {**record["identity"], "status": device["identity"]["status"]}

    def device(self, device_id: str) -> Document:
        """The identity as the hub's API shows it.

        Raises:
            ServiceError: there is no such device.
        """
        return self._rendered(self._require(check_device_id(device_id)))

    def devices(self, top: int = MAX_PAGE) -> list[Document]:
        """The first identities in order of creation, at most 1000."""
        return [device for device in self.listed(top) if device is not None]

    def listed(self, top: int) -> Iterator[Document | None]:
        """The first identities, like :meth:`devices`, one by one; ``None`` where a step of the work ends."""
        work = Work()
        top = min(top, MAX_PAGE)
        for found in islice(self._records.devices(batch=min(top, MAX_BATCH)), top):
            yield self._rendered(found.record)
            work.add(TWIN_WORK, found.size)
            if work.ends_step():
                yield None

    def put_device(
        self,
        device_id: str,
        body: object,
        if_match: str | None = None,
        initial_twin: Mapping[str, Any] | None = None,
    ) -> Document:
        """Create a device, or with ``If-Match`` change one.

        Arguments:
            device_id: the device.
            body: the fields of its identity.
            if_match: the ETag of the identity to change; ``None`` creates one.
            initial_twin: the twin of a new device, see :func:`~dps_simulator.hub.twins.new_twin`.

        Raises:
            ServiceError: a wrong field, a device that exists (without ``If-Match``) or does not (with it), or an ETag
                that does not match.
        """
        check_device_id(device_id)
        fields = _object(body)
        with self._storage.transaction():
            record = self._records.find(device_id)
            before = "enabled"
            if record is None:
                if if_match is not None:
                    raise _not_found(device_id)
                record = self._new(device_id, fields, initial_twin)
            elif if_match is None:
                raise ServiceError(Hub.DEVICE_EXISTS, reason=f"{device_id!r} exists and there is no If-Match header")
            else:
                check_precondition(if_match, record["identity"]["etag"])
                before = record["identity"]["status"]
                changed = changed_identity(record["identity"], fields, self._clock.now())
                self._check_scopes(changed, record["identity"])
                record["identity"] = changed
            self._save_device(device_id, record)
            status = record["identity"]["status"]
            if status != before:
                self._records.list_status(device_id, status)
        if status == "disabled":
            disabled = ServiceError(Hub.UNAUTHORIZED_ACCESS, reason=f"the device {device_id!r} was disabled")
            self._storage.when_committed(lambda: self._drop(device_id, record, disabled))
        return self._rendered(record)

    def delete_device(self, device_id: str, if_match: str | None = None) -> None:
        """Delete a device with its modules, twins and messages, and drop its connections.

        Raises:
            ServiceError: there is no such device, or the ETag does not match.
        """
        with self._storage.transaction():
            record = self._require(check_device_id(device_id))
            check_precondition(if_match, record["identity"]["etag"])
            self._remove(device_id, record)

    def statistics(self) -> Document:
        """How many devices there are, and how many of them may connect."""
        counts = self._records.counts()
        return {
            "totalDeviceCount": sum(counts.values()),
            "enabledDeviceCount": counts["enabled"],
            "disabledDeviceCount": counts["disabled"],
        }

    def clear(self) -> None:
        """Drop every connection and forget every device, module and message."""
        with self._storage.transaction():
            self._records.clear()
            self.cloud_to_device.clear()
        self._storage.when_committed(lambda: self.connections.drop_all(_gone("the hub was reset")))
        self._storage.when_committed(self.telemetry.clear)

    # ---- modules

    def modules(self, device_id: str) -> list[Document]:
        """The identities of a device's modules, in order of creation.

        Raises:
            ServiceError: there is no such device.
        """
        device = self._require(check_device_id(device_id))
        return [self._rendered(record) for record in self._records.modules_of(device_id, device)]

    def module(self, device_id: str, module_id: str) -> Document:
        """The identity of a module as the hub's API shows it.

        Raises:
            ServiceError: there is no such device or module.
        """
        check_module_id(module_id)
        return self._rendered(self._require(module_address(device_id, module_id)))

    def put_module(
        self,
        device_id: str,
        module_id: str,
        body: object,
        if_match: str | None = None,
        initial_twin: Mapping[str, Any] | None = None,
    ) -> tuple[Document, bool]:
        """Create a module of a device, or with ``If-Match`` change one; see :meth:`put_device`.

        Returns:
            The identity, and whether it is new.

        Raises:
            ServiceError: as for a device; there is no such device; or it would have too many modules.
        """
        check_module_id(module_id)
        fields = _object(body)
        address = module_address(device_id, module_id)
        with self._storage.transaction():
            device = self._require(check_device_id(device_id))
            record = self._records.find(address)
            is_new = record is None
            if record is None:
                if if_match is not None:
                    raise _not_found(address)
                modules = device.setdefault("modules", [])
                if len(set(modules) - set(EDGE_MODULES)) >= MAX_MODULES:
                    raise ServiceError(
                        Hub.TOO_MANY_MODULES, f"The device {device_id!r} has {MAX_MODULES} modules, which is the most."
                    )
                self._make_room()
                record = self._new_module(device_id, module_id, fields, initial_twin)
                modules.append(module_id)
                self._records.save(device_id, device)
            elif if_match is None:
                raise ServiceError(Hub.MODULE_EXISTS, reason=f"{address!r} exists and there is no If-Match header")
            else:
                check_precondition(if_match, record["identity"]["etag"])
                record["identity"] = changed_module(record["identity"], fields)
            self._records.save(address, record)
        return self._rendered(record), is_new

    def delete_module(self, device_id: str, module_id: str, if_match: str | None = None) -> None:
        """Delete a module with its twin and drop its connection.

        Raises:
            ServiceError: there is no such device or module, or the ETag does not match.
        """
        check_module_id(module_id)
        address = module_address(device_id, module_id)
        with self._storage.transaction():
            record = self._require(address)
            check_precondition(if_match, record["identity"]["etag"])
            device = self._require(device_id)
            device["modules"].remove(module_id)
            self._records.save(device_id, device)
            self._remove(address, record)

    # ---- what the provisioning service does

    def provision_device(
        self,
        device_id: str,
        credentials: DeviceCredentials,
        *,
        iot_edge: bool,
        initial_twin: Mapping[str, Any],
        reset: bool,
    ) -> None:
        """Create the device, or renew its credentials when it exists.

        See :class:`~dps_simulator.common.ports.LinkedHub`.

        Its modules, if it has any, stay as they are: the provisioning service knows nothing of modules.
        """
        body = {"authentication": authentication_body(credentials), "capabilities": {"iotEdge": iot_edge}}
        record = self._records.find(device_id)
        if record is None:
            with self._storage.transaction():
                self._save_device(device_id, self._new(device_id, body, initial_twin))
            return
        unchanged = all(record["identity"][name] == body[name] for name in body)
        if unchanged and not reset:
            return
        now = self._clock.now()
        change: TwinChange | None = None
        if not unchanged:
            record["identity"] = changed_identity(record["identity"], body, now)
        if reset:
            change = reset_twin(record["twin"], initial_twin, now)
            record["twin"] = change.twin
        with self._storage.transaction():
            self._save_device(device_id, record)
        self._tell(device_id, change)

    def twin_content(self, device_id: str) -> Document | None:
        """The content of the device's twin without versions and metadata, ``None`` when the device is unknown."""
        record = self._records.find(device_id)
        return None if record is None else portable_twin(record["twin"])

    def remove_device(self, device_id: str) -> Document | None:
        """Delete the device and return the content of its twin, ``None`` when it is unknown.

        Its modules are deleted with it, and nothing of them moves along to another hub (inferred: nowhere is it said
        that provisioning carries them over).
        """
        with self._storage.transaction():
            record = self._records.find(device_id)
            if record is None:
                return None
            self._remove(device_id, record)
        return portable_twin(record["twin"])

    # ---- twins

    def twin(self, address: str) -> Document:
        """The twin as the service side sees it.

        Raises:
            ServiceError: there is no such device or module.
        """
        return self._rendered_twin(self._require(address))

    def patch_twin(self, address: str, body: object, if_match: str | None = None) -> Document:
        """Merge into tags and desired properties; whoever is connected is told.

        Raises:
            ServiceError: no such device or module, wrong ETag, or the twin would break a rule.
        """
        return self._write_twin(address, body, if_match, patch_twin)

    def replace_twin(self, address: str, body: object, if_match: str | None = None) -> Document:
        """Replace tags and desired properties; whoever is connected is told.

        Raises:
            ServiceError: no such device or module, wrong ETag, or the twin would break a rule.
        """
        return self._write_twin(address, body, if_match, replace_twin)

    def device_twin(self, address: str) -> Document:
        """The twin as the device or module itself sees it.

        Raises:
            ServiceError: there is no such device or module.
        """
        return device_view(self._require(address)["twin"])

    def report(self, address: str, patch: object) -> int:
        """Merge into the reported properties; returns their new version.

        Raises:
            ServiceError: no such device or module, or the properties would break a rule.
        """
        with self._storage.transaction():
            record = self._require(address)
            record["twin"] = report(record["twin"], patch, self._clock.now())
            self._records.save(address, record)
        return int(record["twin"]["reported"]["version"])

    def announce_model(self, address: str, model_id: str) -> None:
        """Keep which model a device or module says it follows; one that says nothing leaves it as it is (inferred).

        Source: Microsoft documentation, iot-develop concepts-convention: the model ID stands in the twin from then on.
        """
        if not model_id:
            return
        with self._storage.transaction():
            record = self._records.find(address)
            if record is not None and record["twin"].get("modelId") != model_id:
                record["twin"]["modelId"] = model_id
                self._records.save(address, record)

    def query(self, text: object, *, page_size: int = MAX_PAGE, continuation: str | None = None) -> Steps:
        """One page of a query over the twins, in steps; see :meth:`~dps_simulator.hub.hub_queries.HubQueries.run`."""
        return self._queries.run(text, page_size=page_size, continuation=continuation)

    # ---- subscriptions that outlive a connection

    def subscriptions(self, address: str) -> dict[str, int]:
        """Topic filters and granted QoS that the persistent session of a device or module holds."""
        record = self._records.find(address)
        return {} if record is None else dict(record.get("subscriptions", {}))

    def keep_subscriptions(self, address: str, subscriptions: Mapping[str, int]) -> None:
        """Replace what a persistent session holds. An unknown device or module is ignored."""
        with self._storage.transaction():
            record = self._records.find(address)
            if record is not None and record.get("subscriptions", {}) != subscriptions:
                record["subscriptions"] = dict(subscriptions)
                self._records.save(address, record)

    # ---- inside

    def _require(self, address: str) -> Document:
        device_id, module_id = check_address(address)
        record = self._records.find(address)
        if record is None:
            raise _not_found(address if module_id and self.has_device(device_id) else device_id)
        return record

    def _make_room(self) -> None:
        self.throttle.claim("devices", self._records.total, self._host)

    def _new(self, device_id: str, body: Mapping[str, Any], initial_twin: Mapping[str, Any] | None) -> Document:
        self._make_room()
        now = self._clock.now()
        identity = new_identity(device_id, body, now, after=self._last_generation)
        self._last_generation = identity["generationId"]
        self._check_scopes(identity)
        return {"identity": identity, "twin": new_twin(now, initial_twin)}

    def _new_module(
        self, device_id: str, module_id: str, body: Mapping[str, Any], initial_twin: Mapping[str, Any] | None = None
    ) -> Document:
        now = self._clock.now()
        identity = new_module(device_id, module_id, body, now, after=self._last_generation)
        self._last_generation = identity["generationId"]
        return {"identity": identity, "twin": new_twin(now, initial_twin)}

    def _save_device(self, device_id: str, record: Document) -> None:
        """Keep a device, and the modules that an Edge device has by itself and any other device has not."""
        modules = record.get("modules", [])
        is_edge = record["identity"]["capabilities"]["iotEdge"]
        for module_id in EDGE_MODULES:
            address = module_address(device_id, module_id)
            if is_edge and module_id not in modules:
                self._records.save(address, self._new_module(device_id, module_id, {}))
                modules.append(module_id)
            elif not is_edge and module_id in modules:
                modules.remove(module_id)
                self._remove(address, self._require(address))
        if modules:
            record["modules"] = modules
        self._records.save(device_id, record)

    def _give_edge_modules(self) -> None:
        """Give Edge devices their modules in a state that was written before they had any."""
        with self._storage.transaction():
            for found in self._records.devices():
                identity = found.record["identity"]
                if identity["capabilities"]["iotEdge"]:
                    self._save_device(identity["deviceId"], found.record)
            self._records.note_done(_EDGE_MODULES_GIVEN)

    def _check_scopes(self, identity: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> None:
        """Refuse a scope that no other Edge device has; what was before may stay.

        Source: the end-to-end tests of the SDK for Node, where it has to fail. The code is inferred, and that it is
        the same for ``parentScopes``.
        """
        known = () if before is None else scopes_above(before)
        for scope in scopes_above(identity):
            edge_id = edge_device_of(scope)
            edge = None if edge_id in ("", identity["deviceId"]) else self._records.find(edge_id)
            if scope not in known and (edge is None or edge["identity"]["deviceScope"] != scope):
                raise wrong_value(
                    "parentScopes" if identity["capabilities"]["iotEdge"] else "deviceScope",
                    scope,
                    "the deviceScope of an Edge device in this hub",
                )

    def _remove(self, address: str, record: Mapping[str, Any]) -> None:
        def forget() -> None:
            self._drop(address, record, _gone(f"{address!r} was deleted"))
            for gone in _addresses(address, record):
                self.connections.forget(gone)

        self._records.remove(address, record)
        for gone in _addresses(address, record):
            self.cloud_to_device.forget(gone)
        self._storage.when_committed(forget)

    def _drop(self, address: str, record: Mapping[str, Any], error: ServiceError) -> None:
        for dropped in _addresses(address, record):
            self.connections.drop(dropped, error)

    def _rendered(self, record: Mapping[str, Any]) -> Document:
        identity = record["identity"]
        address = _address_of(identity)
        render = render_module if "moduleId" in identity else render_identity
        return render(identity, self.connections.liveliness(address), self.cloud_to_device.waiting(address))

    def _rendered_twin(self, record: Mapping[str, Any]) -> Document:
        identity = record["identity"]
        address = _address_of(identity)
        render = render_module_twin if "moduleId" in identity else render_twin
        liveliness, waiting = self.connections.liveliness(address), self.cloud_to_device.waiting(address)
        return render(identity, record["twin"], liveliness, waiting)

    def _write_twin(
        self, address: str, body: object, if_match: str | None, write: Callable[..., TwinChange]
    ) -> Document:
        with self._storage.transaction():
            record = self._require(address)
            check_precondition(if_match, twin_etag(record["twin"]))
            change = write(record["twin"], body, self._clock.now())
            record["twin"] = change.twin
            self._records.save(address, record)
        self._tell(address, change)
        return self._rendered_twin(record)

    def _tell(self, address: str, change: TwinChange | None) -> None:
        if change is None or change.desired_patch is None:
            return
        patch = change.desired_patch

        def tell() -> None:
            connection = self.connections.get(address)
            if connection is not None:
                connection.desired_changed(patch)

        self._storage.when_committed(tell)


def _object(body: object) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise ServiceError(Hub.ARGUMENT_INVALID, f"The body must be a JSON object, not {described(body)}.")
    return body


def _address_of(identity: Mapping[str, Any]) -> str:
    device_id = str(identity["deviceId"])
    return module_address(device_id, identity["moduleId"]) if "moduleId" in identity else device_id


def _addresses(address: str, record: Mapping[str, Any]) -> Iterator[str]:
    """The address itself and, of a device, those of its modules."""
    yield address
    for module_id in record.get("modules", ()):
        yield module_address(address, module_id)


def _not_found(address: str) -> ServiceError:
    device_id, module_id = split_address(address)
    if module_id:
        return ServiceError(Hub.MODULE_NOT_FOUND, f"The device {device_id!r} has no module {module_id!r}.")
    return ServiceError(Hub.DEVICE_NOT_FOUND, f"The device {device_id!r} is not registered.")


def _gone(reason: str) -> ServiceError:
    return ServiceError(Hub.DEVICE_NOT_FOUND, reason=reason)
