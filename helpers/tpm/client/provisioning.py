"""Registering a device by its TPM: the client that the device SDK for Python does not have, in its shape.

::

    client = TpmProvisioningDeviceClient.create_from_tpm(provisioning_host, id_scope, tpm)
    result = client.register()
    result.registration_state.assigned_hub, result.registration_state.device_id

The asynchronous one is in :mod:`helpers.tpm.client.aio`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import requests
from azure.iot.device import RegistrationResult
from azure.iot.device.exceptions import ClientError, ConnectionFailedError, OperationTimeout, ServiceError
from requests.adapters import HTTPAdapter

# what urllib3 raises while an answer is read; requests has a name for it, and its type stubs do not
from requests.exceptions import BaseHTTPError  # type: ignore[attr-defined]

from helpers.tpm.activation import ActivationBlob
from helpers.tpm.device import TpmDevice
from helpers.tpm.errors import ActivationError, TpmError

from .client_options import CONNECT_TIMEOUT, TIMEOUT, USER_AGENT, ClientOptions
from .registration_exchange import MAX_ANSWER_SIZE, Activate, Answer, Finished, RegistrationExchange, Send, Step
from .tokens import tpm_sas_token

#: Where both clients say what they do, at level INFO, in the words of the SDK where it has any.
logger = logging.getLogger("helpers.tpm")

_CHUNK = 16 * 1024
_Client = TypeVar("_Client", bound="TpmRegistration")

_FAILED = "Failed registering with Provisioning Service"
#: What a failed registration says when it had already begun to change the TPM.
KEY_IS_GONE = (
    "The challenge took the place of the hub key that the TPM had before, so the device cannot sign for its hub now: "
    "register again."
)


class TpmRegistration:
    """What both clients have in common; made by :meth:`create_from_tpm`.

    Attributes:
        provisioning_payload: what the device tells the service about itself with the registration; anything that JSON
            can express, ``None`` for nothing.
    """

    def __init__(self, options: ClientOptions, id_scope: str, tpm: TpmDevice, registration_id: str) -> None:
        self._options = options
        self._id_scope = id_scope
        self._tpm = tpm
        self._registration_id = registration_id
        self.provisioning_payload: Any = None

    @classmethod
    def create_from_tpm(
        cls: type[_Client],
        provisioning_host: str,
        id_scope: str,
        tpm: TpmDevice,
        registration_id: str = "",
        **options: Any,
    ) -> _Client:
        """Create a client that registers a device by its TPM, over HTTPS (MQTT carries no TPM attestation).

        Arguments:
            provisioning_host: host of the provisioning service.
            id_scope: the ID scope of the provisioning service.
            tpm: the device's TPM, which stays yours to close.
            registration_id: the device's name; empty: the one that is derived from the endorsement key.
            options: those of the SDK's clients: ``server_verification_cert`` (PEM text), ``proxy_options``, ``cipher``
                and ``sastoken_ttl``. ``websockets`` and ``keep_alive`` are taken, too, and mean nothing over HTTPS.
                Without ``proxy_options``, the proxy of the environment counts (HTTPS_PROXY, NO_PROXY).

        Raises:
            TypeError: an option that is not known.
            ValueError: a value that cannot be used.
        """
        if registration_id and not registration_id.strip():
            raise ValueError("Registration Id can not be blank. Leave it out to take the one of the endorsement key.")
        return cls(ClientOptions.read(provisioning_host, id_scope, options), id_scope, tpm, registration_id)

    @property
    def registration_id(self) -> str:
        """The name under which the device registers."""
        return self._registration_id or self._tpm.registration_id

    def _begin(self) -> RegistrationExchange:
        """Ask the TPM who the device is."""
        logger.info("Registering with Provisioning Service...")
        with explained():
            return RegistrationExchange(
                id_scope=self._id_scope,
                registration_id=self.registration_id,
                endorsement_key=self._tpm.endorsement_key,
                storage_root_key=self._tpm.storage_root_key,
                payload=self.provisioning_payload,
                user_agent=USER_AGENT,
            )

    def _activate(self, exchange: RegistrationExchange, step: Activate) -> None:
        """Take a key in, and sign with it what is asked for."""
        logger.info("Opening the challenge in the TPM..." if step.resource else "Taking the hub key into the TPM...")
        self._tpm.activate(step.blob)
        # signing may fail as well, and the key before is gone by then
        exchange.replaced_key = True
        token = None
        if step.resource:
            seconds = self._options.token_seconds
            token = tpm_sas_token(self._tpm, step.resource, key_name=step.key_name, seconds=seconds)
        exchange.activated(token)


class TpmProvisioningDeviceClient(TpmRegistration):
    """Registers a device by its TPM, and waits for it: the synchronous client, made by :meth:`create_from_tpm`."""

    def register(self) -> RegistrationResult:
        """Register the device: answer the service's challenge in the TPM, and take the key for the hub in.

        May be called again: every registration gives the device a new hub key.

        Returns:
            The result, of the SDK's own class. Its status is always ``assigned``.

        Raises:
            ConnectionFailedError: the service cannot be reached.
            OperationTimeout: the service stays busy.
            ClientError: everything else; its cause says what, as it does in the SDK. A ``ServiceError`` comes from
                the service, a :class:`~helpers.tpm.errors.TpmError` from the TPM.
        """
        exchange = self._begin()
        with explained(exchange), _Connection(self._options) as connection:
            while not isinstance(step := exchange.step, Finished):
                if isinstance(step, Activate):
                    self._activate(exchange, step)
                else:
                    exchange.answered(connection.send(step))
        return registered(step)

    def request_challenge(self) -> ActivationBlob:
        """Ask for a challenge and leave it unanswered: the first of the two requests that register a device.

        The TPM is not changed. A challenge that another program is just about to answer is worthless from now on.

        Raises:
            ClientError: as :meth:`register`.
        """
        exchange = self._begin()
        with explained(exchange), _Connection(self._options) as connection:
            while isinstance(step := exchange.step, Send):
                exchange.answered(connection.send(step))
            return challenge_of(step)


def registered(step: Finished) -> RegistrationResult:
    """The result of a registration that came to its end; says so in the log, in the words of the SDK."""
    logger.info("Successfully registered with Provisioning Service")
    return step.result


def challenge_of(step: Step) -> ActivationBlob:
    """The challenge that a registration waits for the TPM to open."""
    return ActivationBlob.parse(step.blob if isinstance(step, Activate) else b"")


@contextmanager
def explained(exchange: RegistrationExchange | None = None) -> Iterator[None]:
    """Give every failure of a registration the SDK's class for it, and say what became of the TPM.

    Arguments:
        exchange: the registration, once it has begun.
    """
    try:
        yield
    except (ServiceError, TpmError) as error:
        logger.info(_FAILED)
        raise ClientError(_headline(error) + _lost(exchange)) from error
    except (ClientError, OperationTimeout) as error:
        logger.info(_FAILED)
        if lost := _lost(exchange):
            raise type(error)(f"{error}{lost}") from error.__cause__
        raise


def _lost(exchange: RegistrationExchange | None) -> str:
    return f" {KEY_IS_GONE}" if exchange is not None and exchange.replaced_key else ""


def _headline(error: Exception) -> str:
    if isinstance(error, ServiceError):
        return "The provisioning service did not register the device."
    if isinstance(error, ActivationError):
        return "The TPM cannot open what the provisioning service sent."
    return "The TPM of the device failed."


class _TrustAdapter(HTTPAdapter):
    """Trusts what the context trusts, and nothing that requests or the environment would add.

    Arguments:
        trust: the context.
    """

    def __init__(self, trust: Any) -> None:
        self._trust = trust
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, ssl_context=self._trust, **options)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=self._trust, **options)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        # the original loads the certificates of certifi into the context
        conn.cert_reqs = "CERT_REQUIRED"


class _Connection:
    """The connection of one registration.

    Arguments:
        options: where and how.
    """

    def __init__(self, options: ClientOptions) -> None:
        self._host = options.host
        self._session = requests.Session()
        # the environment's proxy is among the options already; certificates and passwords have no business here
        self._session.trust_env = False
        self._session.headers.clear()
        self._session.mount("https://", _TrustAdapter(options.trust))
        if proxy := options.proxy():
            self._session.proxies = {"https": proxy}

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *problem: object) -> None:
        self._session.close()

    def send(self, step: Send) -> Answer:
        """Wait as asked for, send the request, and read the answer.

        Raises:
            ConnectionFailedError, ClientError, OperationTimeout: there is none.
        """
        if step.pause:
            time.sleep(step.pause)
        deadline = time.monotonic() + TIMEOUT
        try:
            with self._session.request(
                step.method,
                f"https://{self._host}{step.target}",
                headers=dict(step.headers),
                data=step.body or None,
                allow_redirects=False,
                stream=True,
                timeout=(CONNECT_TIMEOUT, TIMEOUT),
            ) as response:
                body = self._body(step, response, deadline)
                return Answer(response.status_code, body, response.headers.get("Retry-After", ""))
        except requests.exceptions.ConnectTimeout as error:
            raise OperationTimeout(timed_out_connecting(self._host)) from error
        except requests.Timeout as error:
            raise unanswered(step) from error
        except requests.exceptions.SSLError as error:
            raise ClientError(untrusted(self._host)) from error
        except requests.exceptions.ProxyError as error:
            raise ConnectionFailedError(no_way(self._host, proxy=True)) from error
        except requests.RequestException as error:
            raise ConnectionFailedError(no_way(self._host)) from error

    def _body(self, step: Send, response: requests.Response, deadline: float) -> bytes:
        """Read the body as it arrives, up to one byte more than is allowed.

        Raises:
            ServiceError: it comes too slowly.
            ConnectionFailedError: it breaks off.
        """
        body = b""
        try:
            # read(), as opposed to read1(), would wait for as many bytes as it was asked for
            while len(body) <= MAX_ANSWER_SIZE and (chunk := response.raw.read1(_CHUNK)):
                body += chunk
                if time.monotonic() > deadline:
                    raise unanswered(step)
        except BaseHTTPError as error:
            if time.monotonic() > deadline:
                raise unanswered(step) from error
            raise ConnectionFailedError(no_way(self._host)) from error
        return body


def timed_out_connecting(host: str) -> str:
    """What people read when nobody accepts the connection."""
    return f"Could not connect to {host}, port 443, within {CONNECT_TIMEOUT:.0f} seconds."


def unanswered(step: Send) -> ServiceError:
    """What the SDK says when the service is silent."""
    return ServiceError(
        f"Operation timed out before provisioning service could respond for {step.name} operation ({TIMEOUT:.0f} s)"
    )


def untrusted(host: str) -> str:
    """What people read when the certificate of the service is not trusted."""
    return (
        f"The TLS exchange with {host} failed. Give the certificate of its authority as server_verification_cert "
        "(dps.device_options has it)."
    )


def no_way(host: str, *, proxy: bool = False, says: str = "") -> str:
    """What people read when there is no connection; ``says`` is what a proxy answered."""
    by = " through the proxy" if proxy else ""
    answer = f", which says {says}" if says else ""
    return (
        f"Could not connect to the provisioning server {host}{by}{answer}. "
        "Check its name, and the options of the client."
    )
