"""Which hubs are linked to the provisioning service, and how it distributes devices over them.

A hub exists in the simulator or it does not; whether the provisioning service may put devices into it is another
matter. Linking and unlinking touch neither the hub nor its devices.

Source: ``IotHubDefinitionDescription`` of the published API description of Microsoft.Devices/provisioningServices, for
the fields; Microsoft documentation, iot-dps how-to-use-allocation-policies, for the weights. Latencies are measured on
Azure; here they are set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dps_simulator.common.hub_links import DEFAULT_POLICY, SERVICE_POLICIES, HubLink
from dps_simulator.common.identifiers import lookup_key
from dps_simulator.common.ports import Storage

_KEY = "links"


@dataclass(frozen=True, slots=True)
class _State:
    """What is stored: the policy, and the fields of every link, ``None`` for a hub that was unlinked."""

    policy: str
    hubs: Mapping[str, Mapping[str, Any] | None]
    links: tuple[HubLink, ...]


class LinkedHubs:
    """The links of the service, in the order in which they were made, and its allocation policy.

    They are kept in one document, and remembered, because every registration reads them. Only one object may write it.

    Arguments:
        storage: the store, in whose collections they outlive this process.
        initial: what is linked in the beginning. A hub that the stored links know, also as one that was unlinked,
            stays as it was left.
        policy: the allocation policy in the beginning.
        admit: asked with the number of links before another one is made; may refuse it.

    Raises:
        ValueError: the policy is none of :data:`SERVICE_POLICIES`.
    """

    def __init__(
        self,
        storage: Storage,
        initial: Iterable[HubLink] = (),
        policy: str = DEFAULT_POLICY,
        *,
        admit: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._storage = storage
        self._admit = admit
        self._documents = storage.collection("hub link")
        self._initial = tuple(initial)
        self._initial_policy = _checked_policy(policy)
        self._remembered: _State | None = None
        # whether something was written that may still be undone
        self._unsettled = False
        hubs = dict(self._read().hubs)
        added = {link.host: _stored(link) for link in self._initial if link.host not in hubs}
        if added:
            self._write(hubs | added)

    def all(self) -> tuple[HubLink, ...]:
        """Every link, in the order in which they were made."""
        return (self._remembered or self._read()).links

    def find(self, host: str) -> HubLink | None:
        """The link to a hub, ``None`` when the hub is not linked."""
        host = lookup_key(host)
        return next((link for link in self.all() if link.host == host), None)

    def put(self, link: HubLink) -> None:
        """Link a hub, or change how it is linked."""
        hubs = dict(self._read().hubs)
        if hubs.get(link.host) is None:
            self._admit(len(self.all()))
            # a hub that is linked again comes last, as one that was never linked
            hubs.pop(link.host, None)
        self._write({**hubs, link.host: _stored(link)})

    def remove(self, host: str) -> bool:
        """Unlink a hub; the hub and its devices stay. Tells whether it was linked."""
        host = lookup_key(host)
        hubs = self._read().hubs
        if hubs.get(host) is None:
            return False
        # remembered, so that the hub of a settings file is not linked again by the next start
        self._write({**hubs, host: None})
        return True

    def forget(self, host: str) -> None:
        """Remove every memory of a hub that does not exist any more."""
        host = lookup_key(host)
        self._write({known: fields for known, fields in self._read().hubs.items() if known != host})
        rest = tuple(link for link in self._initial if link.host != host)
        self._storage.when_committed(lambda: setattr(self, "_initial", rest))

    def restore(self) -> None:
        """Back to the links and the policy of the beginning; hubs that were linked since stay linked."""
        hubs = {link.host: _stored(link) for link in self._initial}
        hubs.update((link.host, _stored(HubLink(link.host))) for link in self.all() if link.host not in hubs)
        self._write(hubs, self._initial_policy)

    @property
    def allocation_policy(self) -> str:
        """How a hub is chosen for a device whose enrollment says nothing: one of :data:`SERVICE_POLICIES`."""
        return (self._remembered or self._read()).policy

    @allocation_policy.setter
    def allocation_policy(self, policy: str) -> None:
        """Choose another one; raises ``ValueError`` for one that a service cannot have."""
        self._write(self._read().hubs, _checked_policy(policy))

    def _read(self) -> _State:
        state = self._remembered
        if state is None:
            stored = self._documents.get(_KEY) or {"policy": self._initial_policy, "hubs": {}}
            links = tuple(HubLink(host, **fields) for host, fields in stored["hubs"].items() if fields is not None)
            state = _State(stored["policy"], stored["hubs"], links)
            if not self._unsettled:
                self._remembered = state
        return state

    def _write(self, hubs: Mapping[str, Mapping[str, Any] | None], policy: str | None = None) -> None:
        policy = policy or self._read().policy
        self._remembered, self._unsettled = None, True
        self._documents.put(_KEY, {"policy": policy, "hubs": hubs})
        self._storage.when_committed(self._settled)

    def _settled(self) -> None:
        self._unsettled = False


def _checked_policy(policy: str) -> str:
    if policy not in SERVICE_POLICIES:
        raise ValueError(f"allocationPolicy is {policy!r:.80}; it must be one of {', '.join(SERVICE_POLICIES)}.")
    return policy


def _stored(link: HubLink) -> Mapping[str, Any]:
    fields = asdict(link)
    del fields["host"]
    return fields
