"""Who may use a hub: shared access policies for services; keys, certificates or a policy for devices.

Source: Microsoft documentation, iot-hub-dev-guide-sas and iot-hub-devguide-security.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import unquote

from dps_simulator.common.clock import Clock
from dps_simulator.common.http import Request
from dps_simulator.common.ports import DeviceCredentials
from dps_simulator.credentials.certificates import Certificate
from dps_simulator.credentials.chains import Finding, Problem, build_path, judge_path
from dps_simulator.credentials.evidence import X509Evidence, finding_of_unreadable
from dps_simulator.credentials.sas import SasError, SharedAccessSignature, decode_key
from dps_simulator.errors.table import Hub, ServiceError, ascii_json
from dps_simulator.hub.devices import CERTIFICATE_AUTHORITY, SELF_SIGNED, Identity
from dps_simulator.hub.modules import Module

REGISTRY_READ = "RegistryRead"
REGISTRY_WRITE = "RegistryWrite"
SERVICE_CONNECT = "ServiceConnect"
DEVICE_CONNECT = "DeviceConnect"

ALL_RIGHTS = frozenset({REGISTRY_READ, REGISTRY_WRITE, SERVICE_CONNECT, DEVICE_CONNECT})
#: The policies that every hub is created with. A policy with another name gets all rights here.
BUILT_IN_POLICIES: Mapping[str, frozenset[str]] = {
    "iothubowner": ALL_RIGHTS,
    "service": frozenset({SERVICE_CONNECT}),
    "device": frozenset({DEVICE_CONNECT}),
    "registryRead": frozenset({REGISTRY_READ}),
    "registryReadWrite": frozenset({REGISTRY_READ, REGISTRY_WRITE}),
}


#: Paths of a device's modules.
_OWN_MODULES = re.compile(r"/devices/([^/]+)/modules(?:/[^/]*)?/?", re.IGNORECASE)


class HubAccess:
    """Checks tokens for one hub. What is wrong goes into the error's ``reason``, which only the trace shows.

    Arguments:
        host: host name of the hub, e.g. ``contoso-hub-1.azure-devices.test``.
        policy_name: the hub's shared access policy.
        policy_key: the key of that policy, base64 of 16 to 64 bytes.
        clock: tells whether a token or a certificate has expired.
        authorities: gives the verified CA certificates whose devices may connect.

    Raises:
        SasError: the policy's key is not base64.
    """

    def __init__(
        self,
        *,
        host: str,
        policy_name: str,
        policy_key: str,
        clock: Clock,
        authorities: Callable[[], Sequence[Certificate]] = tuple,
    ) -> None:
        self._host = host.lower()
        self._policy_name = policy_name
        self._policy_key = decode_key(policy_key)
        self._rights = BUILT_IN_POLICIES.get(policy_name, ALL_RIGHTS)
        self._clock = clock
        self._authorities = authorities

    def check_service(self, request: Request, right: str) -> None:
        """Check the ``Authorization`` header of a service request.

        Raises:
            ServiceError: no token, a wrong one, an expired one, or one whose policy lacks the right.
        """
        header = request.headers.get("authorization")
        if not header:
            raise _refused("there is no Authorization header")
        token = _parse(header)
        path = (self._host, *(part for part in request.path.split("/") if part))
        # the same hub may be addressed by another name, e.g. localhost with a port
        audience = (_without_port(token.resource_parts()[0]), *token.resource_parts()[1:])
        if audience[0] == request.peer.host.lower():
            audience = (self._host, *audience[1:])
        self._check_audience(audience, path)
        self._check_policy(token, right)
        self._check_expiry(token)

    def check_registry(self, request: Request, right: str, identity: Callable[[str], Identity | None]) -> None:
        """Check a request to the service side, which may also be that of a device about its own modules.

        A device manages them with what it connects with. Source: iot-identity-service and the test tools of the SDK
        for C, which send the device's own token; that a certificate does as well is inferred.

        Arguments:
            request: what came in; its token stands in the header ``Authorization``.
            right: which right a policy needs for it, e.g. ``RegistryRead``.
            identity: finds a device in the hub's registry.

        Raises:
            ServiceError: see :meth:`check_service` and :meth:`check_device`.
        """
        own = _OWN_MODULES.fullmatch(request.path)
        header = request.headers.get("authorization")
        by_device = bool(request.peer.certificates) if not header else _parse(header).key_name is None
        if own is None or not by_device:
            self.check_service(request, right)
            return
        device_id = unquote(own[1])
        self.check_request(request, device_id, identity(device_id))

    def check_request(self, request: Request, address: str, identity: Identity | None) -> Identity:
        """Check a request of a device or module over HTTPS; every request brings its own proof.

        Arguments:
            request: what came in; its token stands in the header ``Authorization``.
            address: who the request says it is from, ``{device ID}`` or ``{device ID}/{module ID}``.
            identity: what the hub's registry has under this address.

        Returns:
            The device or module.

        Raises:
            ServiceError: see :meth:`known` and :meth:`check_device`.
        """
        known = self.known(address, identity)
        token, where = request.headers.get("authorization"), "there is no Authorization header"
        self.check_device(token, known, request.peer.certificates, where=where)
        return known

    def check_policy_token(self, text: str, path: Sequence[str], right: str = "") -> None:
        """Check the token of a shared access policy.

        Arguments:
            text: the token.
            path: what it is for, host name first.
            right: what the policy must permit, empty for nothing in particular.

        Raises:
            ServiceError: it is for another host, or not good; see :meth:`check_service`.
        """
        token = _parse(text)
        self._check_audience(path[:1], (self._host,))
        self._check_policy(token, right)
        self._check_expiry(token)

    def known(self, address: str, identity: Identity | None) -> Identity:
        """Who wants to use the hub, when it knows them.

        Arguments:
            address: who it says it is.
            identity: what the hub's registry has under this address, ``None`` for nothing.

        Raises:
            ServiceError: the registry has nothing.
        """
        if identity is None:
            raise _refused(f"the device {address!r:.280} is not registered in {self._host}")
        return identity

    def check_device(
        self,
        token: str | None,
        identity: Identity,
        certificates: Sequence[bytes] = (),
        *,
        where: str = "the MQTT password is empty",
    ) -> int | None:
        """Check what a device or module proves itself with: its token, or what it showed in the TLS handshake.

        Arguments:
            token: what it showed of a token, ``None`` or empty for nothing.
            identity: the device or module in the hub's registry.
            certificates: DER, the device's own first.
            where: says that there is no token, in terms of the protocol.

        Returns:
            The Unix time at which its token expires, ``None`` for a certificate.

        Raises:
            ServiceError: its proof is not good enough, see :meth:`check_service`, or it is disabled.
        """
        expiry = self._check_proof(token, identity, certificates, where)
        if identity.status != "enabled":
            raise _refused(f"the device {identity.device_id!r} is disabled")
        return expiry

    def _check_proof(
        self, password: str | None, identity: Identity, certificates: Sequence[bytes], where: str
    ) -> int | None:
        name, authentication = identity.address, identity.authentication
        who = f"the {'module' if isinstance(identity, Module) else 'device'} {name!r}"
        token = _parse(password) if password else None
        if token is None or token.key_name is None:
            if authentication.type == SELF_SIGNED:
                _check_thumbprint(who, authentication, certificates, token is not None)
                return None
            if authentication.type == CERTIFICATE_AUTHORITY:
                self._check_chain(who, name, certificates, token is not None)
                return None
            if token is None:
                shown = " but a certificate, and the hub knows its keys only" if certificates else ""
                raise _refused(f"the device sent no token ({where}){shown}")
        parts = token.resource_parts()
        wanted = (self._host, *identity.path)
        self._check_audience((_without_port(parts[0]), *parts[1:]), wanted)
        if token.key_name is not None:
            self._check_policy(token, DEVICE_CONNECT)
        else:
            if len(parts) != len(wanted):
                raise _refused(f"the token is for {'/'.join(parts)!r:.300}; a device signs for {'/'.join(wanted)!r}")
            keys = (authentication.primary_key, authentication.secondary_key)
            signed = [token.is_signed_by(decode_key(key)) for key in keys]
            if not any(signed):
                raise _refused(f"the token is signed with neither key of {who}")
        self._check_expiry(token)
        return token.expiry

    def _check_chain(self, who: str, name: str, certificates: Sequence[bytes], has_token: bool) -> None:
        """Judge a device by the authority that signed its certificate.

        Source: Microsoft documentation, iot-hub-x509ca-overview. That the common name is the device ID, and of a module
        ``{device ID}/{module ID}``, are documented, too; that what is wrong refuses the connection with the same code
        as a wrong token is inferred.
        """
        if not certificates:
            what = "a token" if has_token else "neither a certificate nor a token"
            raise _refused(f"{who} authenticates with a certificate of an authority, and it showed {what}")
        try:
            chain = X509Evidence.read(certificates).chain
        except ValueError as error:
            raise _unreadable(f"what {who} showed is unreadable", error) from error
        problem = self._problem_of(chain, name)
        if problem is not None:
            raise ServiceError(Hub.UNAUTHORIZED_ACCESS, reason=f"{who}: {problem.text}", finding=problem.finding.value)

    def _problem_of(self, chain: tuple[Certificate, ...], name: str) -> Problem | None:
        common_name = chain[0].common_name
        if common_name != name:
            text = f"the common name of its certificate is {common_name!r:.200}; it must be {name!r}"
            missing = common_name is None
            return Problem(Finding.COMMON_NAME_MISSING if missing else Finding.COMMON_NAME_MISMATCH, text)
        verified, now = self._authorities(), self._clock.now()
        path = build_path(chain, verified, now)
        anchor = next((place for place, each in enumerate(path.certificates) if place and each in verified), None)
        if anchor is not None:
            return judge_path(path.certificates[: anchor + 1], now)
        if path.problem is not None:
            return path.problem
        top = path.certificates[-1].subject_name
        if path.missing_issuer:
            return Problem(
                Finding.INTERMEDIATE_MISSING,
                f"the chain ends at {top!r:.200}, whose issuer {path.missing_issuer!r:.200} is neither shown nor among "
                "the verified CA certificates",
            )
        return Problem(
            Finding.UNKNOWN_AUTHORITY,
            f"no verified CA certificate is in its chain, which ends at {top!r:.200}; upload that one and prove that "
            "you hold its key",
        )

    def _check_audience(self, given: Sequence[str], wanted: Sequence[str]) -> None:
        """What the token is for must contain what is asked for, segment by segment."""
        if given[0] != self._host:
            raise _refused(f"the token is for the host {given[0]!r:.260}, not for {self._host!r}")
        # of a path only the IDs of device and module are case-sensitive
        fits = len(given) <= len(wanted) and all(
            mine == own or (place not in (2, 4) and mine.lower() == own.lower())
            for place, (mine, own) in enumerate(zip(given, wanted, strict=False))
        )
        if not fits:
            raise _refused(
                f"the token is for {'/'.join(given)!r:.300}, which does not contain {'/'.join(wanted)!r:.300}"
            )

    def _check_policy(self, token: SharedAccessSignature, right: str) -> None:
        if token.key_name != self._policy_name:
            raise _refused(f"there is no shared access policy {token.key_name or ''!r:.100}")
        if not token.is_signed_by(self._policy_key):
            raise _refused(f"the token is not signed with the key of the policy {self._policy_name!r}")
        if right and right not in self._rights:
            raise _refused(f"the policy {self._policy_name!r} lacks the right {right}")

    def _check_expiry(self, token: SharedAccessSignature) -> None:
        late = self._clock.now().timestamp() - token.expiry
        if late >= 0:
            raise ServiceError(Hub.TOKEN_EXPIRED, reason=f"the token expired {late:.0f} s ago")


def sender_facts(identity: Identity, token: str | None) -> dict[str, str]:
    """What the hub itself adds to a message about its sender, by the hub's name: who it is, and how it proved that.

    Source: Microsoft documentation, iot-hub-devguide-messages-construct (anti-spoofing properties).

    Arguments:
        identity: the device or module.
        token: the good token that it showed; ``None`` or empty for a certificate.
    """
    by_policy = bool(token) and SharedAccessSignature.parse(token or "").key_name is not None
    kind, scope = "sas" if token else "x509", "hub" if by_policy else "device"
    return {
        "iothub-connection-auth-generation-id": identity.generation,
        "iothub-connection-auth-method": ascii_json({"scope": scope, "type": kind, "issuer": "iothub"}).decode("ascii"),
    }


def _check_thumbprint(who: str, enrolled: DeviceCredentials, certificates: Sequence[bytes], has_token: bool) -> None:
    """Compare the device's own certificate with those that the hub knows.

    Its issuer and its validity do not count: the hub knows the very certificate. Source: Microsoft documentation,
    iot-hub troubleshooting ("Thumbprint does not match configuration"); that an expired certificate still fits is
    inferred.
    """
    known = [each.upper() for each in (enrolled.primary_thumbprint, enrolled.secondary_thumbprint) if each]
    shown = " and ".join(dict.fromkeys(known))
    if not certificates:
        what = "a token" if has_token else "neither a certificate nor a token"
        raise _refused(f"{who} authenticates with its certificate ({shown}), and it showed {what}")
    try:
        certificate = Certificate.from_der(certificates[0])
    except ValueError as error:
        raise _unreadable(f"the certificate that {who} showed is unreadable", error) from error
    own = (certificate.sha1_thumbprint, certificate.sha256_thumbprint)
    if not any(hmac.compare_digest(mine.encode(), each.encode()) for mine in own for each in known):
        raise _refused(
            f"Thumbprint does not match configuration: {who} shows the certificate "
            f"{certificate.sha256_thumbprint} (SHA-256; SHA-1 is {certificate.sha1_thumbprint}), the hub knows {shown}"
        )


def _parse(text: str) -> SharedAccessSignature:
    try:
        return SharedAccessSignature.parse(text)
    except SasError as error:
        raise _refused(f"the token is malformed: {error}") from error


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def _refused(reason: str) -> ServiceError:
    return ServiceError(Hub.UNAUTHORIZED_ACCESS, reason=reason)


def _unreadable(what: str, error: ValueError) -> ServiceError:
    finding = finding_of_unreadable(error).value
    return ServiceError(Hub.UNAUTHORIZED_ACCESS, reason=f"{what}: {error}", finding=finding)
