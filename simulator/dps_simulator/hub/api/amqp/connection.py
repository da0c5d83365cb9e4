"""One AMQP connection to a hub: who it is, and what each of its links is for.

A client proves itself in one of three ways: by tokens that it puts to ``$cbs``, one for each device or for the hub; by
SASL PLAIN, with a token as the password; or by its certificate in TLS. The proof is looked at when a link is attached.

Source: the official SDKs for Node, C, Java and Python (azure-iot-hub); Microsoft documentation, iot-hub-dev-guide-sas
("AMQP") for the user names of SASL PLAIN.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from dps_simulator.common.clock import Clock
from dps_simulator.common.ports import StorageError
from dps_simulator.common.trace import Trace
from dps_simulator.credentials.sas import SasError, SharedAccessSignature
from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.hub.api.access import SERVICE_CONNECT, HubAccess, sender_facts
from dps_simulator.hub.api.device import HubDeviceEndpoint
from dps_simulator.hub.devices import Identity
from dps_simulator.hub.hub import IotHub
from dps_simulator.protocols.amqp.errors import Condition
from dps_simulator.protocols.amqp.links import Delivery, Link, Sent
from dps_simulator.protocols.amqp.performatives import RECEIVER, SENDER, Error, Open, Outcome, SaslInit
from dps_simulator.protocols.ending import SERVICE, Ending, ending
from dps_simulator.wire.amqp import AmqpLine, amqp_error
from dps_simulator.wire.not_kept import not_kept
from dps_simulator.wire.presented import presented_certificates

from .device import (
    DeviceOverAmqp,
    MessagesToDevice,
    MethodAnswers,
    MethodRequests,
    Telemetry,
    TwinAnswers,
    TwinRequests,
)
from .ends import LinkEnd
from .tokens import CBS, Claim, Claims, TokenAnswers, TokenRequests, audience_path

_DEVICE = re.compile(r"/?devices/([^/]+)(?:/modules/([^/]+))?/(.+)", re.IGNORECASE)
#: User names of SASL PLAIN: a device, or a policy.
_DEVICE_NAME, _POLICY_NAME = re.compile(r"(.+)@sas\.([^.@]+)"), re.compile(r"(.+)@sas\.root\.([^.@]+)")


class _Row(NamedTuple):
    """What the links of a device are for: the end of its path, our role, and what stands there."""

    path: str
    role: bool
    make: Callable[[Link, DeviceOverAmqp], LinkEnd]
    for_modules: bool = True


_DEVICE_ENDS = (
    _Row("messages/events", RECEIVER, Telemetry),
    _Row("messages/devicebound", SENDER, MessagesToDevice, for_modules=False),
    _Row("twin", RECEIVER, TwinRequests),
    _Row("twin", SENDER, TwinAnswers),
    _Row("methods/devicebound", RECEIVER, MethodAnswers),
    _Row("methods/devicebound", SENDER, MethodRequests),
)


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """What a link of a service is for.

    Attributes:
        path: the address, without a slash before it.
        role: our role.
        make: makes what stands there; may refuse with :class:`~dps_simulator.errors.table.ServiceError`.
    """

    path: re.Pattern[str]
    role: bool
    make: Callable[[Link, HubConnection, re.Match[str]], LinkEnd]


class HubAmqpEndpoint:
    """Serves everybody who comes to one hub over AMQP.

    Arguments:
        devices: the endpoint for devices over MQTT, which shares the rules of access and the calls of methods.
        clock: gives the present time (aware, in UTC).
        trace: gets what goes over the wire as events.
        services: what there is beside the addresses of devices.
    """

    def __init__(
        self, *, devices: HubDeviceEndpoint, clock: Clock, trace: Trace, services: tuple[ServiceRow, ...] = ()
    ) -> None:
        self.devices = devices
        self.hub: IotHub = devices.hub
        self.access: HubAccess = devices.access
        self.clock = clock
        self.trace = trace
        self.services = services

    def application(self, line: AmqpLine) -> HubConnection:
        """What answers on one new connection.

        Arguments:
            line: the way back to the client.
        """
        return HubConnection(self, line)


class HubConnection:
    """One connection. Implements :class:`~dps_simulator.protocols.amqp.application.AmqpApplication`.

    Arguments:
        endpoint: what all connections of the hub share.
        line: the connection.
    """

    mechanisms = ("MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL")

    def __init__(self, endpoint: HubAmqpEndpoint, line: AmqpLine) -> None:
        self.endpoint = endpoint
        self.line = line
        self._claims = Claims()
        self._answers = TokenAnswers()
        self._devices: dict[str, DeviceOverAmqp] = {}
        #: whose a link is, where it is a device's
        self._owners: dict[Link, DeviceOverAmqp] = {}
        #: what a link needs to go on: the path of its token
        self._paths: dict[Link, tuple[str, ...]] = {}

    # ---- who it is

    def authenticate(self, init: SaslInit) -> None:
        """Everybody may come in; PLAIN brings the token for all that follows."""
        detail: dict[str, Any] = {"mechanism": init.mechanism}
        if init.mechanism == "PLAIN":
            self._plain(init.initial_response or b"", detail)
            return
        self.record("in", "connect", detail=detail)
        if init.mechanism in self.mechanisms:
            self.line.approve()
        else:
            self._deny(f"the mechanism {init.mechanism!r:.80} is not one of {', '.join(self.mechanisms)}")

    def _plain(self, response: bytes, detail: dict[str, Any]) -> None:
        name, _, password = response.partition(b"\x00")[2].partition(b"\x00")
        user_name, token = name.decode("utf-8", "replace"), password.decode("utf-8", "replace")
        self.record("in", "connect", detail={**detail, "userName": user_name})
        try:
            self._check_user_name(user_name)
            self.put_token("", token)
        except ServiceError as error:
            self._deny(error.reason or error.message, error.finding)
        else:
            self.line.approve()

    def _check_user_name(self, user_name: str) -> None:
        match = _POLICY_NAME.fullmatch(user_name) or _DEVICE_NAME.fullmatch(user_name)
        if match is None:
            text = "the user name is neither {device ID}@sas.{hub} nor {policy}@sas.root.{hub}"
            raise ServiceError(Hub.UNAUTHORIZED_ACCESS, reason=text)
        own = self.endpoint.hub.host.partition(".")[0]
        if match[2].lower() != own:
            text = f"the user name is for the hub {match[2]!r:.100}, not for {own!r}"
            raise ServiceError(Hub.UNAUTHORIZED_ACCESS, reason=text)

    def _deny(self, reason: str, finding: str = "") -> None:
        self.line.deny()
        detail = {"reason": reason, **({"finding": finding} if finding else {})}
        self.record("out", "connect", status=401, detail=detail)

    def responded(self, response: bytes) -> None:
        """No mechanism here has a second step."""
        self._deny("no answer was asked for")

    def opened(self, said: Open) -> None:
        """Everybody may open a connection; what a link is for needs a proof."""
        given = self.line.peer.certificates
        self.record("in", "open", detail={"certificates": presented_certificates(given)} if given else {})
        self.line.accept()

    def put_token(self, audience: str, text: str) -> None:
        """Keep a token if it is good.

        Arguments:
            audience: what the client says that it is for; what counts is what the token itself says.
            text: the token.

        Raises:
            ServiceError: it is not good.
        """
        try:
            token = SharedAccessSignature.parse(text)
        except SasError as error:
            raise self._refused_token(ServiceError(Hub.UNAUTHORIZED_ACCESS, reason=str(error)), audience) from error
        path = self._own_path(token)
        try:
            self._judge(path, text, token)
            self._claims.put(Claim(path, text, token.expiry))
        except ServiceError as error:
            raise self._refused_token(error, audience) from error
        self.record("in", "token", device=_name_in(path), status=200, detail={"audience": audience or "/".join(path)})
        self.endpoint.devices.expiries.add((self, path), token.expiry, lambda: self._token_expired(path))

    def _own_path(self, token: SharedAccessSignature) -> tuple[str, ...]:
        """What a token is for, where this machine's own name stands for the hub that it leads to."""
        host, *rest = token.resource_parts()
        host = host.partition(":")[0].lower()
        return self.endpoint.hub.host if host == self.line.peer.host.lower() else host, *rest

    def _refused_token(self, error: ServiceError, audience: str) -> ServiceError:
        detail = {"audience": audience, **error.why()}
        self.record("out", "token", status=error.kind.status, device=_name_in(audience_path(audience)), detail=detail)
        return error

    def _judge(self, path: tuple[str, ...], text: str, token: SharedAccessSignature) -> None:
        """Check a token when it comes, so that its sender hears of it; it is checked again when it is used."""
        access, hub = self.endpoint.access, self.endpoint.hub
        if token.key_name is not None:
            access.check_policy_token(text, path)
        else:
            name = _name_in(path)
            access.check_device(text, access.known(name, hub.identity(name)), where="the token is empty")

    def _token_expired(self, path: tuple[str, ...]) -> None:
        """A token is over: so are the links that depend on it. Whoever renewed it in time notices nothing."""
        if not self._claims.expired(path, self.endpoint.clock.now().timestamp()):
            return
        error = ServiceError(Hub.TOKEN_EXPIRED, reason="the token expired while the links were attached")
        self.record("out", "token", device=_name_in(path), status=error.kind.status, detail=error.why())
        for link in [link for link, needed in self._paths.items() if needed == path]:
            self._end(link, amqp_error(error))

    # ---- links

    def attached(self, link: Link) -> None:
        """Find what the link is for, and whether the client may have it."""
        direction = "sender" if link.role is RECEIVER else "receiver"
        address = _path_of(link.address)
        detail = {"link": direction, "address": link.address}
        match = _DEVICE.fullmatch(address)
        name = "" if match is None else "/".join(map(unquote, filter(None, match.groups()[:2])))
        self.record("in", "attach", device=name, detail=detail)
        try:
            if address == CBS:
                self._attach_cbs(link)
            elif match is not None:
                self._attach_device(link, name, match[3])
            else:
                self._attach_service(link, address)
        except StorageError as error:
            self._refuse(link, name, not_kept(Hub.INTERNAL, error))
        except ServiceError as error:
            self._refuse(link, name, error)

    def _attach_cbs(self, link: Link) -> None:
        if link.role is RECEIVER:
            link.owner = TokenRequests(link, self.put_token, self._answers)
        else:
            self._answers.attach(link)
            link.owner = self._answers
        link.accept()

    def _attach_device(self, link: Link, name: str, path: str) -> None:
        row = next((row for row in _DEVICE_ENDS if row.path == path.lower() and row.role is link.role), None)
        if row is None:
            raise ServiceError(
                Hub.ROUTE_NOT_FOUND, f"{link.address!r:.300} is not supported by this simulator as an address."
            )
        if "/" in name and not row.for_modules:
            text = "Messages for modules, and their inputs, need IoT Edge: not supported by this simulator."
            raise ServiceError(Hub.NOT_SUPPORTED, text)
        device = self._admitted(link, name)
        device.links.append(link)
        self._owners[link] = device
        link.owner = row.make(link, device)
        link.accept(properties=link.properties)

    def _admitted(self, link: Link, name: str) -> DeviceOverAmqp:
        """The device that a link is for. It is on this connection as long as it has links here.

        Raises:
            ServiceError: it may not come in.
        """
        endpoint, hub = self.endpoint, self.endpoint.hub
        identity = endpoint.access.known(name, hub.identity(name))
        claim = self._claims.find((hub.host, *identity.path))
        token = "" if claim is None else claim.token
        endpoint.access.check_device(token, identity, self.line.peer.certificates, where="no token was put to $cbs")
        device = self._devices.get(name)
        if device is None:
            device = self._open(name, identity, token)
        if claim is not None:
            self._paths[link] = claim.path
        return device

    def _open(self, name: str, identity: Identity, token: str) -> DeviceOverAmqp:
        hub = self.endpoint.hub
        fault = hub.connections.fault(name)
        if fault is not None:
            raise fault.error
        hub.throttle.take("connections_per_second", hub.host)
        device = self._devices[name] = DeviceOverAmqp(self, name, sender_facts(identity, token))
        previous = hub.connections.opened(name, device)
        if previous is not None:
            previous.drop(
                ServiceError(
                    Hub.CONNECTION_TAKEN_OVER, reason="the device connected a second time; the newer one stays"
                )
            )
        self.record("out", "connect", device=name, status=0)
        return device

    def _attach_service(self, link: Link, address: str) -> None:
        path = address.lstrip("/")
        for row in self.endpoint.services:
            match = row.path.fullmatch(path)
            if match is not None and row.role is link.role:
                self._check_service(link, path)
                link.owner = row.make(link, self, match)
                return
        raise ServiceError(
            Hub.ROUTE_NOT_FOUND, f"{link.address!r:.300} is not supported by this simulator as an address."
        )

    def _check_service(self, link: Link, address: str) -> None:
        """A service needs the right to connect, in a token that has not expired."""
        path = (self.endpoint.hub.host, *map(unquote, address.split("/")))
        claim = self._claims.find(path)
        if claim is None:
            raise ServiceError(Hub.UNAUTHORIZED_ACCESS, reason="no token of a shared access policy was put to $cbs")
        self.endpoint.access.check_policy_token(claim.token, claim.path, SERVICE_CONNECT)
        self._paths[link] = claim.path

    def _refuse(self, link: Link, name: str, error: ServiceError) -> None:
        link.refuse(amqp_error(error))
        detail = {"reason": error.reason or error.message}
        self.record("out", "attach", device=name, status=error.kind.status, detail=detail)

    def _end(self, link: Link, error: Error | None) -> None:
        link.detach(error)
        self.detached(link, error)

    def detached(self, link: Link, error: Error | None) -> None:
        """A link has ended."""
        owner, link.owner = link.owner, None
        self._paths.pop(link, None)
        if owner is not None:
            owner.ended()
        device = self._owners.pop(link, None)
        if device is not None:
            device.links.remove(link)
            if not device.links:
                del self._devices[device.name]
                device.closed()

    def drop(self, device: DeviceOverAmqp, error: ServiceError) -> None:
        """End the links of a device, and the connection when it is nobody else's.

        Arguments:
            device: the device.
            error: why.
        """
        told = amqp_error(error)
        alone = len(self._owners) == len(device.links) and self._paths.keys() <= self._owners.keys()
        for link in list(device.links):
            self._end(link, told)
        if alone:
            self.line.close(Error(condition=Condition.CONNECTION_FORCED, description=told.description))

    # ---- messages

    def received(self, delivery: Delivery) -> None:
        """A message."""
        owner = delivery.link.owner
        if owner is None:
            delivery.release()
        else:
            owner.received(delivery)

    def settled(self, sent: Sent, outcome: Outcome) -> None:
        """The client's word about a message."""
        owner = sent.link.owner
        if owner is not None:
            owner.settled(sent, outcome)

    def credited(self, link: Link) -> None:
        """The client takes messages."""
        if link.owner is not None:
            link.owner.credited()

    def disconnected(self, clean: bool, how: Ending | None = None) -> None:
        """The connection is gone, and all its links."""
        how = how or ending(clean)
        names = list(self._devices) or [""]
        for link in {**self._owners, **self._paths}:
            self.detached(link, None)
        for path in self._claims:
            self.endpoint.devices.expiries.remove((self, path))
        for name in names:
            direction = "out" if how.by == SERVICE else "in"
            self.record(direction, "disconnect", device=name, detail={"clean": clean, **how.told()})

    def record(
        self,
        direction: str,
        operation: str,
        *,
        device: str = "",
        status: int | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep something in the trace."""
        self.endpoint.trace.record(
            service="hub",
            host=self.endpoint.hub.host,
            device=device[:256],
            direction=direction,
            protocol=self.line.peer.transport,
            operation=operation,
            status=status,
            detail=detail,
        )


def _path_of(address: str) -> str:
    """The path of an address, which may be a whole URL."""
    if address.lower().startswith(("amqps://", "amqp://")):
        try:
            return urlsplit(address).path
        except ValueError:
            return ""
    return address


def _name_in(path: tuple[str, ...]) -> str:
    """The device or module that a path is about, empty when it is the hub."""
    if len(path) >= 3 and path[1].lower() == "devices":
        return f"{path[2]}/{path[4]}" if len(path) >= 5 and path[3].lower() == "modules" else path[2]
    return ""
