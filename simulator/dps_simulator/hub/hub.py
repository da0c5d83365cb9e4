"""One IoT hub: its registry of devices and modules with their twins, its connections and its messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any

from dps_simulator.common.clock import Clock
from dps_simulator.common.ports import DeviceCredentials, Document, Storage
from dps_simulator.common.throttling import Throttle
from dps_simulator.credentials.certificates import Certificate
from dps_simulator.errors.table import Hub, ServiceError

from .checks import check_id, json_object, wrong_value
from .cloud_to_device import CloudToDeviceQueues
from .connections import Connections
from .devices import NOT_GIVEN, Device, Identity, check_precondition, edge_device_of, new_device
from .feedback import FeedbackQueue
from .hub_queries import MAX_PAGE, TWIN_WORK, HubQueries, QueryPage, Steps, Work
from .hub_records import MAX_BATCH, HubRecords
from .modules import EDGE_MODULES, MAX_MODULES, Module, check_address, module_address, new_module, split_address
from .telemetry import TelemetryBuffer
from .twins import Twin, TwinChange, patch_twin, replace_twin, report

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
        clock: gives the present time (aware, in UTC).
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
        self.feedback = FeedbackQueue(host=self._host, storage=storage, clock=clock, generation=self._generation_of)
        #: who waits for feedback
        self.feedback_waits: list[Callable[[], object]] = []
        self.feedback.changed = self._feedback_changed
        self.cloud_to_device.ended = self.feedback.ended
        if not self._records.is_done(_EDGE_MODULES_GIVEN):
            self._give_edge_modules()

    @property
    def host(self) -> str:
        """The hub's host name, in lower case."""
        return self._host

    def transaction(self) -> AbstractContextManager[None]:
        """All changes inside are kept, or none. May be nested."""
        return self._storage.transaction()

    # ---- devices and modules

    def has_device(self, address: str) -> bool:
        """Whether the device, or module, is in the registry."""
        return self._records.find(address) is not None

    def identity(self, address: str) -> Identity | None:
        """The device or module, with its keys; ``None`` when it is unknown. A module has its device's status."""
        found = self._records.find(address)
        if not isinstance(found, Module):
            return found
        device = self._records.device(found.device_id)
        return None if device is None else replace(found, status=device.status)

    def device(self, address: str) -> Document:
        """The identity of a device or module as the hub's API shows it.

        Raises:
            ServiceError: there is no such device or module.
        """
        return self._rendered(self._require(address))

    def devices(self, top: int = MAX_PAGE) -> list[Document]:
        """The first identities in order of creation, at most 1000."""
        return [device for device in self.listed(top) if device is not None]

    def listed(self, top: int) -> Iterator[Document | None]:
        """The first identities, like :meth:`devices`, one by one; ``None`` where a step of the work ends."""
        work = Work()
        top = min(top, MAX_PAGE)
        for found in islice(self._records.devices(batch=min(top, MAX_BATCH)), top):
            yield self._rendered(found.identity)
            work.add(TWIN_WORK, found.size)
            if work.ends_step():
                yield None

    def modules(self, device_id: str) -> list[Document]:
        """The identities of a device's modules, in order of creation.

        Raises:
            ServiceError: there is no such device.
        """
        return [self._rendered(module) for module in self._records.modules_of(self._require_device(device_id))]

    def put_device(
        self,
        address: str,
        body: object,
        if_match: str | None = None,
        initial_twin: Mapping[str, Any] | None = None,
    ) -> Document:
        """Create a device or a module of one, or with ``If-Match`` change it.

        Arguments:
            address: the device or module.
            body: the fields of its identity.
            if_match: the ETag of the identity to change; ``None`` creates one.
            initial_twin: the twin of a new one, see :func:`~dps_simulator.hub.twins.new_twin`.

        Raises:
            ServiceError: a wrong field, one that exists (without ``If-Match``) or does not (with it), an ETag that does
                not match, a module of no device, or one too many.
        """
        device_id, module_id = check_address(address)
        fields = json_object("The body", body)
        with self._storage.transaction():
            device = self._require_device(device_id) if module_id else None
            found = self._records.find(address)
            if found is None:
                if if_match is not None:
                    raise _not_found(address)
                changed: Identity = (
                    self._new_module(device, module_id, fields, initial_twin)
                    if device
                    else self._new(device_id, fields, initial_twin)
                )
            elif if_match is None:
                kind = Hub.MODULE_EXISTS if module_id else Hub.DEVICE_EXISTS
                raise ServiceError(kind, reason=f"{address!r} exists and there is no If-Match header")
            else:
                check_precondition(if_match, found.etag)
                changed = found.changed(fields, self._clock.now())
                if isinstance(changed, Device) and isinstance(found, Device):
                    self._check_scopes(changed, found)
            changed = self._save(changed)
            if changed.status != (found.status if found else "enabled"):
                self._records.list_status(device_id, changed.status)
        if changed.status == "disabled":
            disabled = ServiceError(Hub.UNAUTHORIZED_ACCESS, reason=f"the device {device_id!r} was disabled")
            self._storage.when_committed(lambda: self._drop(changed, disabled))
        return self._rendered(changed)

    def delete_device(self, address: str, if_match: str | None = None) -> None:
        """Delete a device with its modules and messages, or a module; twins go, and connections are dropped.

        Raises:
            ServiceError: there is no such device or module, or the ETag does not match.
        """
        with self._storage.transaction():
            found = self._require(address)
            check_precondition(if_match, found.etag)
            if isinstance(found, Module):
                device = self._require_device(found.device_id)
                others = tuple(module_id for module_id in device.modules if module_id != found.module_id)
                self._records.save(replace(device, modules=others))
            self._remove(found)

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
            self.feedback.clear()
        self._storage.when_committed(lambda: self.connections.drop_all(_gone("the hub was reset")))
        self._storage.when_committed(self.telemetry.clear)

    def _generation_of(self, device_id: str) -> str:
        identity = self.identity(device_id)
        return "" if identity is None else identity.generation

    def _feedback_changed(self) -> None:
        for wake in list(self.feedback_waits):
            wake()

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
        found = self._records.device(device_id)
        is_same = found is not None and (found.authentication, found.is_edge) == (credentials, iot_edge)
        if is_same and not reset:
            return
        body = {"capabilities": {"iotEdge": iot_edge}}
        change: TwinChange | None = None
        now = self._clock.now()
        if found is None:
            changed = self._new(device_id, body, initial_twin, credentials)
        else:
            changed = found if is_same else replace(found.changed(body, now), authentication=credentials)
            if reset:
                change = replace_twin(found.twin, initial_twin, now)
                changed = replace(changed, twin=change.twin)
        with self._storage.transaction():
            self._save(changed)
        self._tell(device_id, change)

    def twin_content(self, device_id: str) -> Document | None:
        """The content of the device's twin without versions and metadata, ``None`` when the device is unknown."""
        device = self._records.device(device_id)
        return None if device is None else device.twin.content()

    def remove_device(self, device_id: str) -> Document | None:
        """Delete the device and return the content of its twin, ``None`` when it is unknown.

        Its modules are deleted with it, and nothing of them moves along to another hub (inferred: nowhere is it said
        that provisioning carries them over).
        """
        with self._storage.transaction():
            device = self._records.device(device_id)
            if device is None:
                return None
            self._remove(device)
        return device.twin.content()

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
        return self._require(address).twin.device_json()

    def report(self, address: str, patch: object) -> int:
        """Merge into the reported properties; returns their new version.

        Raises:
            ServiceError: no such device or module, or the properties would break a rule.
        """
        with self._storage.transaction():
            found = self._require(address)
            twin = report(found.twin, patch, self._clock.now())
            self._records.save(replace(found, twin=twin))
        return twin.reported.version

    def announce_model(self, address: str, model_id: str) -> None:
        """Keep which model a device or module says it follows; one that says nothing leaves it as it is (inferred).

        Source: Microsoft documentation, iot-develop concepts-convention: the model ID stands in the twin from then on.
        """
        if not model_id:
            return
        with self._storage.transaction():
            found = self._records.find(address)
            if found is not None and found.twin.model_id != model_id:
                self._records.save(replace(found, twin=replace(found.twin, model_id=model_id)))

    def query(self, text: object, *, page_size: int = MAX_PAGE, continuation: str | None = None) -> Steps:
        """One page of a query over the twins, in steps; see :meth:`~dps_simulator.hub.hub_queries.HubQueries.run`."""
        return self._queries.run(text, page_size=page_size, continuation=continuation)

    # ---- subscriptions that outlive a connection

    def subscriptions(self, address: str) -> dict[str, int]:
        """Topic filters and granted QoS that the persistent session of a device or module holds."""
        found = self._records.find(address)
        return {} if found is None else dict(found.subscriptions)

    def keep_subscriptions(self, address: str, subscriptions: Mapping[str, int]) -> None:
        """Replace what a persistent session holds. An unknown device or module is ignored."""
        with self._storage.transaction():
            found = self._records.find(address)
            if found is not None and found.subscriptions != subscriptions:
                self._records.save(replace(found, subscriptions=subscriptions))

    # ---- inside

    def _require(self, address: str) -> Identity:
        device_id, module_id = check_address(address)
        found = self._records.find(address)
        if found is None:
            raise _not_found(address if module_id and self.has_device(device_id) else device_id)
        return found

    def _require_device(self, device_id: str) -> Device:
        device = self._records.device(check_id(device_id))
        if device is None:
            raise _not_found(device_id)
        return device

    def _make_room(self) -> None:
        self.throttle.claim("devices", self._records.total, self._host)

    def _new(
        self,
        device_id: str,
        body: Mapping[str, Any],
        initial_twin: Mapping[str, Any] | None,
        credentials: DeviceCredentials = NOT_GIVEN,
    ) -> Device:
        self._make_room()
        now, last = self._clock.now(), self._last_generation
        device = new_device(device_id, body, now, after=last, credentials=credentials, initial_twin=initial_twin)
        self._last_generation = device.generation
        self._check_scopes(device)
        return device

    def _new_module(
        self, device: Device, module_id: str, body: Mapping[str, Any], initial_twin: Mapping[str, Any] | None
    ) -> Module:
        if len(set(device.modules) - set(EDGE_MODULES)) >= MAX_MODULES:
            raise ServiceError(
                Hub.TOO_MANY_MODULES, f"The device {device.device_id!r} has {MAX_MODULES} modules, which is the most."
            )
        self._make_room()
        module = self._made_module(device.device_id, module_id, body, initial_twin)
        self._records.save(replace(device, modules=(*device.modules, module_id)))
        return module

    def _made_module(
        self,
        device_id: str,
        module_id: str,
        body: Mapping[str, Any],
        initial_twin: Mapping[str, Any] | None = None,
    ) -> Module:
        now, last = self._clock.now(), self._last_generation
        module = new_module(device_id, module_id, body, now, after=last, initial_twin=initial_twin)
        self._last_generation = module.generation
        return module

    def _save(self, identity: Identity) -> Identity:
        """Keep a device with the modules that an Edge device has by itself and any other device has not, or a module.

        Returns:
            What is kept.
        """
        if isinstance(identity, Device):
            modules = identity.modules
            for module_id in EDGE_MODULES:
                address = module_address(identity.device_id, module_id)
                if identity.is_edge and module_id not in modules:
                    self._records.save(self._made_module(identity.device_id, module_id, {}))
                    modules = (*modules, module_id)
                elif not identity.is_edge and module_id in modules:
                    modules = tuple(each for each in modules if each != module_id)
                    self._remove(self._require(address))
            identity = replace(identity, modules=modules)
        self._records.save(identity)
        return identity

    def _give_edge_modules(self) -> None:
        """Give Edge devices their modules in a state that was written before they had any."""
        with self._storage.transaction():
            for found in self._records.devices():
                if isinstance(found.identity, Device) and found.identity.is_edge:
                    self._save(found.identity)
            self._records.note_done(_EDGE_MODULES_GIVEN)

    def _check_scopes(self, device: Device, before: Device | None = None) -> None:
        """Refuse a scope that no other Edge device has; what was before may stay.

        Source: the end-to-end tests of the SDK for Node, where it has to fail. The code is inferred, and that it is
        the same for ``parentScopes``.
        """
        known = () if before is None else before.scopes_above
        for scope in device.scopes_above:
            edge_id = edge_device_of(scope)
            edge = None if edge_id in ("", device.device_id) else self._records.device(edge_id)
            if scope not in known and (edge is None or edge.scope != scope):
                name = "parentScopes" if device.is_edge else "deviceScope"
                raise wrong_value(name, scope, "the deviceScope of an Edge device in this hub")

    def _remove(self, identity: Identity) -> None:
        def forget() -> None:
            self._drop(identity, _gone(f"{identity.address!r} was deleted"))
            for gone in identity.addresses:
                self.connections.forget(gone)

        self._records.remove(identity)
        for gone in identity.addresses:
            self.cloud_to_device.forget(gone)
        self._storage.when_committed(forget)

    def _drop(self, identity: Identity, error: ServiceError) -> None:
        for dropped in identity.addresses:
            self.connections.drop(dropped, error)

    def _rendered(self, identity: Identity) -> Document:
        address = identity.address
        return identity.to_json(self.connections.liveliness(address), self.cloud_to_device.waiting(address))

    def _rendered_twin(self, identity: Identity) -> Document:
        address = identity.address
        return identity.twin_json(self.connections.liveliness(address), self.cloud_to_device.waiting(address))

    def _write_twin(
        self, address: str, body: object, if_match: str | None, write: Callable[[Twin, object, datetime], TwinChange]
    ) -> Document:
        with self._storage.transaction():
            found = self._require(address)
            check_precondition(if_match, found.twin.etag)
            change = write(found.twin, body, self._clock.now())
            changed = replace(found, twin=change.twin)
            self._records.save(changed)
        self._tell(address, change)
        return self._rendered_twin(changed)

    def _tell(self, address: str, change: TwinChange | None) -> None:
        if change is None or change.desired_patch is None:
            return
        patch = change.desired_patch

        def tell() -> None:
            connection = self.connections.get(address)
            if connection is not None:
                connection.desired_changed(patch)

        self._storage.when_committed(tell)


def _not_found(address: str) -> ServiceError:
    device_id, module_id = split_address(address)
    if module_id:
        return ServiceError(Hub.MODULE_NOT_FOUND, f"The device {device_id!r} has no module {module_id!r}.")
    return ServiceError(Hub.DEVICE_NOT_FOUND, f"The device {device_id!r} is not registered.")


def _gone(reason: str) -> ServiceError:
    return ServiceError(Hub.DEVICE_NOT_FOUND, reason=reason)
