"""Calls of the webhooks of custom allocations: the only connections that the simulator opens by itself.

A webhook is called over HTTPS with its certificate checked, or over plain HTTP on this machine. Redirects are not
followed. At most so many calls are under way at once; whoever waits longest comes first. What was not answered when the
simulator stops is asked again by the next one, because it stands in the state.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import logging
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp

from dps_simulator.common.ports import StorageError
from dps_simulator.common.webhooks import MAX_ANSWER_SIZE, PendingAllocation, WebhookRequest

_LOGGER = logging.getLogger(__name__)

#: Calls under way at once (simulator-only limit).
MAX_CALLS = 16
#: Seconds until the state is asked again after it failed (simulator-only).
RETRY = 5.0
_HEADERS = {
    "Content-Type": "application/json; charset=utf-8",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "dps-simulator",
}


class WebhookError(Exception):
    """A webhook cannot be called. The text says why, and holds no key."""


class WebhookEndpoint(Protocol):
    """Who knows what to ask, and wants to know the answers. Every method runs on the event loop."""

    def pending(self, limit: int) -> Sequence[PendingAllocation]:
        """Who waits, those that have waited longest first."""

    def request(self, pending: PendingAllocation) -> WebhookRequest | None:
        """What to ask, ``None`` when nothing is to be asked any more."""

    def answered(self, pending: PendingAllocation, status: int, body: bytes) -> None:
        """The webhook answered; the body is at most one byte longer than :data:`MAX_ANSWER_SIZE`."""

    def failed(self, pending: PendingAllocation, reason: str) -> None:
        """The webhook could not be asked, or did not answer."""

    def given_up(self, pending: PendingAllocation) -> None:
        """The call was abandoned, because nobody waits for it any more."""


class Webhooks:
    """Calls webhooks for everybody who waits for one.

    Arguments:
        endpoint: what to ask.
        timeout: seconds that one call may take.
        authority: PEM file with authorities to trust beside those of this machine.
        retry: seconds until the state is asked again that could not be read or changed.

    Raises:
        WebhookError: the file cannot be used.
    """

    def __init__(
        self, endpoint: WebhookEndpoint, *, timeout: float, authority: Path | None = None, retry: float = RETRY
    ) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        self._retry = retry
        self._authority = authority
        self._context: ssl.SSLContext | None = None
        self._session: aiohttp.ClientSession | None = None
        self._calls: dict[PendingAllocation, asyncio.Task[None]] = {}
        self._abandoned: set[PendingAllocation] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = False
        if authority is not None:
            self._context = self._new_context()

    def start(self) -> None:
        """Begin on this event loop, with those that waited when the simulator stopped."""
        self._loop = asyncio.get_running_loop()
        self.wake()

    def wake(self) -> None:
        """Somebody may be waiting. Does nothing before the start and after the stop."""
        if self._loop is not None and not self._woken:
            self._woken = True
            self._loop.call_soon(self._look)

    async def stop(self) -> None:
        """Abandon all calls; returns when they are gone."""
        self._loop = None
        for call in self._calls.values():
            call.cancel()
        await asyncio.gather(*self._calls.values(), return_exceptions=True)
        # where all had ended before, Python 3.12 and later return before what follows an end has run
        self._calls.clear()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _look(self) -> None:
        """Begin calls for those that wait, and abandon those for which nobody does."""
        self._woken = False
        if self._loop is None:
            return
        try:
            pending = self._endpoint.pending(MAX_CALLS + len(self._abandoned))
        except StorageError:
            self._later(lambda: None)
            return
        for known, call in self._calls.items():
            # calls under way are among those that have waited longest
            if known not in pending:
                call.cancel()
        self._abandoned.intersection_update(pending)
        for waiting in pending:
            if len(self._calls) < MAX_CALLS and waiting not in self._calls and waiting not in self._abandoned:
                call = self._loop.create_task(self._call(waiting))
                self._calls[waiting] = call
                call.add_done_callback(functools.partial(self._ended, waiting))

    def _ended(self, pending: PendingAllocation, _: asyncio.Task[None]) -> None:
        self._calls.pop(pending, None)
        self.wake()

    async def _call(self, pending: PendingAllocation) -> None:
        try:
            request = self._endpoint.request(pending)
            if request is None:
                return
            try:
                status, body = await self._post(request)
            except WebhookError as error:
                self._endpoint.failed(pending, str(error))
            else:
                self._endpoint.answered(pending, status, body)
        except asyncio.CancelledError:
            self._endpoint.given_up(pending)
            raise
        except StorageError:
            # such as a full disk: it stays pending, and is asked again later
            self._endpoint.given_up(pending)
            self._abandoned.add(pending)
            self._later(functools.partial(self._abandoned.discard, pending))
        except Exception:
            # it stays pending; asking again and again would not help
            _LOGGER.exception("the call of a webhook failed")
            self._endpoint.given_up(pending)
            self._abandoned.add(pending)

    def _later(self, first: Callable[[], object]) -> None:
        """Look again when the state may have recovered."""

        def again() -> None:
            first()
            self.wake()

        if self._loop is not None:
            self._loop.call_later(self._retry, again)

    async def _post(self, request: WebhookRequest) -> tuple[int, bytes]:
        host, secure = checked_address(request.url)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # a connection that is used again may just have been closed by the other side
                connector=aiohttp.TCPConnector(limit=MAX_CALLS, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                auto_decompress=False,
                trust_env=False,
            )
        if secure and self._context is None:
            self._context = self._new_context()
        try:
            async with self._session.post(
                request.url,
                data=request.body,
                headers=_HEADERS,
                allow_redirects=False,
                ssl=self._context if secure and self._context is not None else True,
            ) as response:
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > MAX_ANSWER_SIZE:
                        break
                return response.status, bytes(body[: MAX_ANSWER_SIZE + 1])
        except TimeoutError as error:
            raise WebhookError(f"the webhook at {host} did not answer within {self._timeout:g} s.") from error
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
            raise WebhookError(
                f"the certificate of the webhook at {host} is not trusted, or it speaks no TLS. A certificate "
                "authority of your own goes into the setting webhook_authority."
            ) from error
        except aiohttp.ClientConnectorError as error:
            reason = error.os_error.strerror or type(error.os_error).__name__
            raise WebhookError(f"the webhook at {host} cannot be reached: {reason}.") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise WebhookError(f"the webhook at {host} gave no valid answer ({type(error).__name__}).") from error

    def _new_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._authority is not None:
            try:
                context.load_verify_locations(self._authority)
            except (OSError, ssl.SSLError) as error:
                raise WebhookError(
                    f"webhook_authority: {self._authority} cannot be used ({error.strerror or error}); it must be a "
                    "PEM file with certificates of authorities."
                ) from error
        return context


def checked_address(url: str) -> tuple[str, bool]:
    """The host of a webhook's address, and whether it is called over TLS.

    Raises:
        WebhookError: the address is none, holds a password, or leads over plain HTTP to another machine.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host, parts = "", urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise WebhookError("webhookUrl is no address; it must begin with https:// and a host name.")
    if parts.username is not None or parts.password is not None:
        raise WebhookError("webhookUrl holds a user name; a key for the webhook goes into its query.")
    if parts.scheme == "http" and not _is_this_machine(host):
        raise WebhookError(
            f"webhookUrl leads to {host:.260} without TLS; it must begin with https://. "
            "Plain http:// is for this machine."
        )
    return host, parts.scheme == "https"


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
