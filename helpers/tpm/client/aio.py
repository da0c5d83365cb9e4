"""Registering a device by its TPM, for asyncio.

The requests go through aiohttp, so a cancelled registration ends at once and leaves no connection behind; only the TPM,
which knows nothing of asyncio, is used on a thread, for some milliseconds.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import aiohttp
from azure.iot.device import RegistrationResult
from azure.iot.device.exceptions import ClientError, ConnectionFailedError, OperationTimeout

from helpers.tpm.activation import ActivationBlob

from .client_options import CONNECT_TIMEOUT, TIMEOUT, ClientOptions
from .provisioning import (
    TpmRegistration,
    challenge_of,
    explained,
    no_way,
    registered,
    timed_out_connecting,
    unanswered,
    untrusted,
)
from .registration_exchange import MAX_ANSWER_SIZE, Activate, Answer, Finished, Send

_T = TypeVar("_T")
#: After how many turns of its loop asyncio has closed a socket whose connection is gone; it takes some four.
_TURNS = 100


class TpmProvisioningDeviceClient(TpmRegistration):
    """Registers a device by its TPM; like the synchronous client, with ``await``.

    SOCKS proxies are for the synchronous client only, as aiohttp knows none.
    """

    async def register(self) -> RegistrationResult:
        """Register the device: answer the service's challenge in the TPM, and take the key for the hub in.

        Arguments, result and errors are those of the synchronous client. When it is cancelled after the challenge was
        opened, the TPM has no hub key until the device registers again.
        """
        exchange = await _on_a_thread(self._begin)
        with explained(exchange):
            async with _Connection(self._options) as connection:
                while not isinstance(step := exchange.step, Finished):
                    if isinstance(step, Activate):
                        await _on_a_thread(self._activate, exchange, step)
                    else:
                        exchange.answered(await connection.send(step))
        return registered(step)

    async def request_challenge(self) -> ActivationBlob:
        """Ask for a challenge and leave it unanswered; the TPM is not changed."""
        exchange = await _on_a_thread(self._begin)
        with explained(exchange):
            async with _Connection(self._options) as connection:
                while isinstance(step := exchange.step, Send):
                    exchange.answered(await connection.send(step))
            return challenge_of(step)


async def _on_a_thread(function: Callable[..., _T], *arguments: object) -> _T:
    """Run a function on a thread. Who is cancelled meanwhile waits for its end: a TPM is not left in the middle."""
    running = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        if not running.cancelled():
            # nobody hears of its failure any more
            running.exception()
        raise


class _Connection:
    """The connection of one registration.

    Arguments:
        options: where and how.
    """

    def __init__(self, options: ClientOptions) -> None:
        self._host = options.host
        self._trust = options.trust
        self._proxy = options.proxy()
        self._sockets: list[socket.socket] = []
        if self._proxy.startswith("socks"):
            raise ClientError(
                "The asynchronous client knows no SOCKS proxies; use the synchronous one, or an HTTP proxy."
            )

    async def __aenter__(self) -> _Connection:
        # trust_env stays off: the environment's proxy is among the options already
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(socket_factory=self._new_socket),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT, sock_connect=CONNECT_TIMEOUT),
            auto_decompress=False,
            skip_auto_headers=["User-Agent", "Content-Type"],
        )
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self._session.close()
        # of a request that was broken off, aiohttp leaves the socket open until the other side says good-bye as well
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for _ in range(_TURNS):
            if all(one.fileno() == -1 for one in self._sockets):
                return
            await asyncio.sleep(0)

    def _new_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, *_ = address
        self._sockets.append(socket.socket(family, kind, protocol))
        return self._sockets[-1]

    async def send(self, step: Send) -> Answer:
        """Wait as asked for, send the request, and read the answer.

        Raises:
            ConnectionFailedError, ClientError, OperationTimeout, ServiceError: there is none.
        """
        if step.pause:
            await asyncio.sleep(step.pause)
        try:
            async with self._session.request(
                step.method,
                f"https://{self._host}{step.target}",
                headers=step.headers,
                data=step.body or None,
                allow_redirects=False,
                ssl=self._trust,
                proxy=self._proxy or None,
            ) as response:
                body = b""
                while len(body) <= MAX_ANSWER_SIZE and (chunk := await response.content.readany()):
                    body += chunk
                return Answer(response.status, body, response.headers.get("Retry-After", ""))
        except aiohttp.ConnectionTimeoutError as error:
            raise OperationTimeout(timed_out_connecting(self._host)) from error
        except TimeoutError as error:
            raise unanswered(step) from error
        except aiohttp.ClientSSLError as error:
            raise ClientError(untrusted(self._host)) from error
        except aiohttp.ClientHttpProxyError as error:
            says = f"{error.status} {error.message}"
            raise ConnectionFailedError(no_way(self._host, proxy=True, says=says)) from error
        except aiohttp.ClientProxyConnectionError as error:
            raise ConnectionFailedError(no_way(self._host, proxy=True)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionFailedError(no_way(self._host)) from error
